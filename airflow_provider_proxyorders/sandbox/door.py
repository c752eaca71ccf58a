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
#: Turns of the loop from an accepted socket to connection_made (one to begin, one to be told), and one to spare.
_TURNS_TO_BE_MADE = 3


class Door:
    """The listening socket.

    :param protocols: makes the protocol of a new connection.
    """

    def __init__(self, protocols: Callable[[], asyncio.Protocol]):
        self._protocols = protocols
        self._opening: asyncio.Task[None] | None = None
        self._listening = False

    async def open(self, port: int) -> int:
        """Start to listen.

        :returns: the port.
        :raises OSError: when the port is taken.
        """
        self._server = await asyncio.get_running_loop().create_server(self._protocols, HOST, port, backlog=_BACKLOG)
        self._listening = True
        return int(self._server.sockets[0].getsockname()[1])

    async def shut_for(self, seconds: float) -> None:
        """Let nobody connect for a while: the system drops what would begin a connection, and the buyer's tries again."""
        if self._listening:
            listening = self._server.sockets[0].dup()
            await self._stop_listening()
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
            self._listening = True
        except asyncio.CancelledError:
            listening.close()
        finally:
            for filler in fillers:
                filler.close()
            self._opening = None

    async def close(self) -> None:
        """Stop to listen. Who was let in just before is known to the protocols when this returns."""
        if self._opening is not None:
            self._opening.cancel()
        if self._listening:
            await self._stop_listening()

    async def _stop_listening(self) -> None:
        """Close the server once its accepted sockets have a transport: asyncio loses those that wait for theirs."""
        server, loop, self._listening = self._server, asyncio.get_running_loop(), False
        loop.remove_reader(server.sockets[0].fileno())
        for _ in range(_TURNS_TO_BE_MADE):
            await asyncio.sleep(0)
        server.close()
