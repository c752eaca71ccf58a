"""A SOCKS5 server for the tests of the proxy check: with a login, and with a count of what went through."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LOGIN = (b"user", b"p:w@1")


class _Handler(socketserver.StreamRequestHandler):
    server: SocksServer

    def handle(self) -> None:
        _, count = self.rfile.read(2)
        if 2 not in self.rfile.read(count):
            self.wfile.write(b"\x05\xff")
            return
        self.wfile.write(b"\x05\x02")
        self.rfile.read(1)
        login = tuple(self.rfile.read(self.rfile.read(1)[0]) for _ in range(2))
        self.wfile.write(bytes([1, login != LOGIN]))
        if login != LOGIN:
            return
        _, _, _, kind = self.rfile.read(4)
        assert kind == 3, "the proxy looks the name up"
        host = self.rfile.read(self.rfile.read(1)[0]).decode()
        port = int.from_bytes(self.rfile.read(2), "big")
        self.server.asked.append((host, port))
        try:
            page = socket.create_connection((host, port), timeout=5)
        except OSError:
            self.wfile.write(b"\x05\x05\x00\x01" + bytes(6))
            return
        self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
        with page:
            back = threading.Thread(target=_pump, args=(page, self.connection), daemon=True)
            back.start()
            _pump(self.connection, page)
            back.join(5)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(4096):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class SocksServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, int]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextmanager
def socks_server() -> Iterator[SocksServer]:
    with SocksServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
