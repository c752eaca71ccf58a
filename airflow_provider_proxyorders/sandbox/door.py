"""Where buyers connect: a listening socket that can let them wait, as an overloaded host or a slow network does.

One rule: a connection that is kept back is not made yet, so the buyer cannot have sent a byte on it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from airflow_provider_proxyorders.sandbox.proxy_pool import HOST

_BACKLOG = 4096
#: Connections that fill a queue of length 0; the system takes one more than asked for.
_FILLERS = 4


class Door:
    """The listening socket.

    :param protocols: makes the protocol of a new connection.
    """

    def __init__(self, protocols: Callable[[], asyncio.Protocol]):
        self._protocols = protocols
        self._opening: asyncio.Task[None] | None = None

    async def open(self, port: int) -> int:
        """Start to listen.

        :returns: the port.
        :raises OSError: when the port is taken.
        """
        self._server = await asyncio.get_running_loop().create_server(self._protocols, HOST, port, backlog=_BACKLOG)
        return int(self._server.sockets[0].getsockname()[1])

    def shut_for(self, seconds: float) -> None:
        """Let nobody connect for a while: the system drops what would begin a connection, and the buyer's tries again."""
        if self._opening is None:
            listening = self._server.sockets[0].dup()
            self._server.close()
            listening.listen(0)
            fillers = [socket.socket() for _ in range(_FILLERS)]
            for filler in fillers:
                filler.setblocking(False)
                with suppress(BlockingIOError):
                    filler.connect(listening.getsockname())
            self._opening = asyncio.get_running_loop().create_task(self._open_again(listening, fillers, seconds))

    async def _open_again(self, listening: socket.socket, fillers: Sequence[socket.socket], seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            self._server = await asyncio.get_running_loop().create_server(self._protocols, sock=listening, backlog=_BACKLOG)
        except asyncio.CancelledError:
            listening.close()
        finally:
            for filler in fillers:
                filler.close()
            self._opening = None

    def close(self) -> None:
        """Stop to listen."""
        if self._opening is not None:
            self._opening.cancel()
        self._server.close()
