"""Connections for ``requests`` with a time limit for each whole answer.

One rule: the limit counts for head and body together. With a limit for each part alone, a server with one byte now and then
would hold a worker for ever.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Mapping
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

#: The time limit of the whole answer, as a multiple of that of one part.
WHOLE = 2


class _TimedBytes(io.RawIOBase):
    """The bytes of one answer, until its time is up."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, part: float):
        self._raw, self._socket, self._part = raw, sock, part
        self._deadline = time.monotonic() + WHOLE * part

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._socket.settimeout(min(self._part, left))  # a request on a kept connection sets its own
        return self._raw.readinto(buffer)

    def close(self) -> None:
        super().close()
        self._raw.close()


class _TimedAnswer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any):
        super().__init__(sock, *args, **options)
        part = sock.gettimeout()
        if part:
            self.fp = io.BufferedReader(_TimedBytes(self.fp.detach(), sock, part))


class _Connection(HTTPConnection):
    response_class = _TimedAnswer


class _SecureConnection(HTTPSConnection):
    response_class = _TimedAnswer


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


#: What a pool manager of urllib3 takes as ``pool_classes_by_scheme``.
POOLS: Mapping[str, type[HTTPConnectionPool]] = {"http": _Pool, "https": _SecurePool}
