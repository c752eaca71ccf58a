"""Hand-made TCP servers on 127.0.0.1 with the answers of badly made servers, and a memory of all requests."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

#: No server of a test talks longer than this, in seconds.
LONGEST = 20.0


def answer(body: bytes = b"{}", status: int = 200, headers: str = "") -> bytes:
    """A whole and proper HTTP answer."""
    head = f"HTTP/1.1 {status} Word\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode("latin-1") + body


@dataclass
class Asked:
    """One request as it came over the wire."""

    line: str
    headers: dict[str, str]
    body: bytes


class Talk:
    """One connection, as the script of a test sees it."""

    def __init__(self, sock: socket.socket, wire: Wire):
        self.sock, self.wire = sock, wire
        self._rest = b""
        self._until = time.monotonic() + LONGEST

    def hear(self) -> Asked:
        """The next request of this connection, read to its end.

        :raises ConnectionError: when the other side has hung up.
        """
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        line, *rows = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}
        length = int(headers.get("content-length", 0))
        while len(self._rest) < length:
            self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        asked = Asked(line, headers, body)
        self.wire.asked.append(asked)
        return asked

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the other side hung up")
        self._rest += data

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: Callable[[], bytes], every: float) -> None:
        """Say a little now and then, until the other side hangs up."""
        while time.monotonic() < self._until and not self.wire.over.is_set():
            self.say(data())
            time.sleep(every)


Script = Callable[[Talk], None]


@dataclass
class Wire:
    """A server that follows its script on every connection, then hangs up.

    :param connections: how many were made.
    :param asked: every request, in the order in which they were read whole.
    """

    port: int
    scheme: str
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


@contextlib.contextmanager
def wire(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[Wire]:
    """Run a server with a script for as long as the block lasts."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Wire(listener.getsockname()[1], "https" if tls else "http")

    def talk(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            sock.settimeout(LONGEST)
            secured = tls.wrap_socket(sock, server_side=True) if tls else sock
            with secured:
                script(Talk(secured, server))

    def serve() -> None:
        with listener:
            while True:
                sock, _ = listener.accept()
                if server.over.is_set():
                    sock.close()
                    return
                server.connections += 1
                threading.Thread(target=talk, args=(sock,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        socket.create_connection(("127.0.0.1", server.port)).close()  # it waits for nothing else
        thread.join(5)


def proper(talk: Talk) -> None:
    """The script of a well-made server: one answer after the other on a kept connection."""
    while True:
        talk.hear()
        talk.say(answer(b'{"fine": true}'))


@contextlib.contextmanager
def deaf() -> Iterator[str]:
    """An address of a host with a full queue: it exists and takes no connection."""
    with contextlib.ExitStack() as kept:
        listener = kept.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = kept.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def free_port() -> int:
    """A port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side for 127.0.0.1 with an untrusted certificate, and the certificate itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = folder / "server.key"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return context, pem
