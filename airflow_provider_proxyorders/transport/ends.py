"""Whether an answer is known to be whole.

A broken connection looks like the end of an answer. The proof of an end is a length, the last chunk, or the last bracket of JSON.
One rule: without such a proof a reading call is made again, and both answers must be equal.
"""

from __future__ import annotations

from airflow_provider_proxyorders.transport.unreached import Unreached
from airflow_provider_proxyorders.wire.messages import Response


def is_proven_whole(response: Response) -> bool:
    """Whether an answer says where it ends. The libraries refuse one that is shorter than it says.

    An answer other than 2xx passes: its status is whole and decides.
    """
    length = response.headers.get("content-length", "").strip()
    if not response.ok or response.status == 204 or (length.isascii() and length.isdigit()):
        return True
    if response.headers.get("transfer-encoding", "").lower().rpartition(",")[2].strip() == "chunked":
        return True
    return response.body.lstrip()[:1] in (b"{", b"[") and response.data_or_none() is not None


def agreed(first: Response, second: Response) -> Response:
    """What two answers to one question prove together.

    :raises Unreached: the second lacks a proof of its end too, and differs.
    """
    if is_proven_whole(second) or (first.status, first.body) == (second.status, second.body):
        return second
    raise Unreached("two answers without a proof of their end differ")
