"""Downloads one file from a host outside of a vendor's API, without the account's key."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import UnreadableAnswer
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Request, Response

if TYPE_CHECKING:
    import requests

#: Bytes of a download.
LARGEST_FILE = 256 * 1024 * 1024
#: The file as it lies there, packed once.
_AS_IT_IS = {"Accept": "*/*", "Accept-Encoding": "identity"}


class Download(Http):
    """A worker's client for files of another host. The limits of time are those of the account; an answer has twice its timeout.

    :param host: the address before the names of the files.
    :param file: takes the body of an answer 200; its content is that of the last try.
    """

    def __init__(self, account: Account, host: str, file: BinaryIO):
        super().__init__(replace(account, base_url=host, secret="", settings={}, session={}, requests_per_second=None))
        self._file = file

    def fetch(self, name: str) -> Response:
        """Ask for a file. The body of an answer 200 is in the file, and not in the answer.

        :raises VendorUnavailable: without an answer. It moved no money.
        """
        return self.send(Request("GET", f"/{name}", "download catalogue", headers=_AS_IT_IS))

    def read_once(self, request: Request) -> Response:
        return self._ask(request)  # a packed file shows its own end

    def _body_of(self, answer: requests.Response) -> bytes:
        if answer.status_code != 200:
            return super()._body_of(answer)
        self._file.seek(0)
        self._file.truncate()
        for part in answer.raw.stream(65536, decode_content=False):
            self._file.write(part)
            if self._file.tell() > LARGEST_FILE:
                raise UnreadableAnswer(
                    f"{self.account.vendor}: the file at {answer.url} is longer than {LARGEST_FILE} bytes. "
                    "This call moves no money."
                )
        return b""
