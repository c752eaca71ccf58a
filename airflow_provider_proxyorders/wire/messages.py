"""Requests, responses and flows between a vendor and its driver, without I/O.

One rule: a vendor operation is a generator. It yields :class:`Request` and receives :class:`Response`. Login, paging and
retries are ``yield``s in one function, and the sync and the async driver share every line.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, TypeVar

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, dump_json, load_json

T = TypeVar("T")


#: A vendor operation: yields requests, is sent responses, returns its result.
Flow = Generator["Request", "Response", T]


#: Stands in a path where the account's key belongs. No part of a path looks like it, since a colon in one is percent-encoded. The
#: transport puts the key in as the request leaves, so no message, log and recording can show it.
KEY_IN_PATH = ":key"

#: The longest pause in seconds: a day. A longer one is a mistake, such as a unix time in the place of seconds.
LONGEST_ASKED = 86400.0


@dataclass(frozen=True)
class Request:
    """One HTTP request, relative to the account's base URL.

    :param path: with :data:`KEY_IN_PATH` in place of a key.
    :param name: the operation in two words, for logs and fault rules, for example ``create order``.
    :param params: query parameters in order; a name may repeat.
    :param json: the body, Decimals allowed; ``None`` sends an empty one. Texts leave it out, since a login's body holds the key.
    :param spends: whether it moves money. Such a request is the last of its flow, and its driver sends it at most once.
    :param delivers: whether its answer is read for proxies and codes, so that its texts stay as they are.
    :param order_id: the order that it is about, for messages; "" = no single one.
    """

    method: str
    path: str
    name: str = ""
    params: Sequence[tuple[str, str]] = ()
    json: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    spends: bool = False
    delivers: bool = False
    order_id: str = ""

    def with_headers(self, headers: Mapping[str, str]) -> Request:
        merged = {**self.headers, **headers}  # replace() takes three times as long
        described = (self.method, self.path, self.name, self.params, self.json, merged, self.spends, self.delivers)
        return Request(*described, self.order_id)

    @cached_property
    def body(self) -> bytes | None:
        """The exact bytes to send."""
        return None if self.json is None else dump_json(self.json).encode()


@dataclass(frozen=True)
class Response:
    """One HTTP answer, read to its end.

    :param headers: names in lower case.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def data(self) -> Any:
        """The body read as JSON, numbers as Decimal or int.

        :raises UnreadableBody: for an empty body, HTML, truncated and other invalid JSON.
        """
        return load_json(self.body)

    def data_or_none(self) -> Any:
        """Like :meth:`data`, but ``None`` for invalid JSON. For error answers, since their status already decides."""
        try:
            return self.data()
        except UnreadableBody:
            return None

    @property
    def retry_after(self) -> float | None:
        """The seconds of ``Retry-After``, in either of its forms, at most :data:`LONGEST_ASKED`.

        A missing or unreadable header gives ``None``.
        """
        asked = self._asked
        return None if asked is None else min(asked, LONGEST_ASKED)

    @property
    def cut_pause(self) -> str:
        """A sentence about a ``Retry-After`` that is cut; else ""."""
        asked = self._asked
        if asked is None or asked <= LONGEST_ASKED:
            return ""
        return f" It asks for a pause of {asked:.0f} s; the pause is cut to {LONGEST_ASKED:.0f} s."

    @property
    def _asked(self) -> float | None:
        """The seconds of ``Retry-After`` as the vendor writes them."""
        raw = self.headers.get("retry-after", "").strip()
        if raw.isascii() and raw.isdigit():
            return min(float(raw[:20]), 1e15)
        until = _date(raw)
        return None if until is None else max(0.0, (until - datetime.now(timezone.utc)).total_seconds())

    @property
    def date(self) -> datetime | None:
        """The vendor's time in ``Date``, in whole seconds; ``None`` if it is missing or unreadable, or is that of a cache."""
        return None if "age" in self.headers else _date(self.headers.get("date", ""))


def _date(raw: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(raw)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
