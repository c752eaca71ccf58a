"""Answers with a time limit for each as a whole.

One rule: the limit counts for head and body together. With a limit for each part alone, a server with one byte now and then
would hold a worker for ever.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

#: The time limit of the whole answer, as a multiple of that of one part.
WHOLE = 2


class _TimedBytes(io.RawIOBase):
    """The bytes of one answer, until its time is up."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, part: float, whole: float):
        self._raw, self._socket, self._part = raw, sock, part
        self._deadline = time.monotonic() + whole

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


class TimedAnswer(http.client.HTTPResponse):
    """An answer that ends in time.

    :cvar whole: its time limit, as a multiple of that of one part.
    """

    whole = WHOLE

    def __init__(self, sock: socket.socket, *args: Any, **options: Any):
        super().__init__(sock, *args, **options)
        part = sock.gettimeout()
        if part:
            self.fp = io.BufferedReader(_TimedBytes(self.fp.detach(), sock, part, self.whole * part))


class TimedTunnel(TimedAnswer):
    """A proxy's answer to CONNECT, within the time that its socket has left."""

    whole = 1
