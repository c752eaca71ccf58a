"""A hostile vendor: it stands before the sandbox and writes secrets and templates into every field of every answer.

Two rules. It knows what a vendor knows: the key, and what a request brings. And a field that decides nothing takes anything: only
ids, states, times, numbers and logins stay as they are, so that the orders go on.
"""

from __future__ import annotations

import base64
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, urlsplit
from zlib import crc32

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, dump_json, load_json
from airflow_provider_proxyorders.sandbox import Sandbox

#: Whoever renders a template of the vendor writes their product.
FACTORS = (918_273_645_546_373, 827_364_554_637_281)
RENDERED = str(FACTORS[0] * FACTORS[1])
#: The same as :data:`TEMPLATE` after the gate: its beginning is divided.
TEMPLATE = f"{{{{ {FACTORS[0]} * {FACTORS[1]} }}}}"
DIVIDED = TEMPLATE.replace("{{", "{\ufffd{")
#: Fields without which an order cannot go on. All other texts are spoilt.
DECIDES = frozenset(
    {
        *(
            "id",
            "ids",
            "order_id",
            "AccountID",
            "merchant_order_id",
            "descr",
            "status",
            "data",
            "access_token",
            "item_product_type",
        ),
        *("expire_date", "created_at", "completed_at", "time_added", "date", "date_end", "ip", "host", "port", "user", "pass"),
        *("username", "password", "codes", "proxies", "currency", "price", "balance", "active", "country", "version", "type"),
        *("AccountType", "expires", "expiration", "period", "count"),
    }
)
#: Fields that every object gets if it lacks them, but maps from ids.
MORE = ("note", "label", "message", "detail", "reason", "block_reason", "error_message", "comment")
#: Headers that say how an answer travels.
_TRAVEL = frozenset({"transfer-encoding", "connection", "content-length", "date", "server", "keep-alive"})


def hostile_texts(secret: str) -> tuple[str, ...]:
    """What a hostile vendor writes: the secret as it is and encoded, templates that name it, and signs that steer a terminal."""
    encoded = base64.b64encode(secret.encode()).decode()
    return (
        f"your key is {secret}",
        f"?key={quote(secret, safe='')}&",
        f"Basic {encoded}",
        f"Basic {base64.b64encode(f'user:{secret}'.encode()).decode()}",
        TEMPLATE,
        "{{ conn.iproyal_default.password }}{{ conn.voodoo_default.password }}",
        f"{{% for each in [1] %}}{TEMPLATE}{{% endfor %}}",
        f"{{\0{TEMPLATE[1:]} {{\u200b{TEMPLATE[1:]} {{{TEMPLATE}",
        f"\x1b[31mred\x1b[0m\r\n[2026-01-01] INFO - {secret}\u202e\u2066{TEMPLATE}",
        f"{'x' * 240}{secret}",
    )


class Hostile:
    """The relay.

    :param keys: the API key of each vendor.
    :ivar spoilt: how many fields of each vendor were spoilt, and ``strange``: whether lists hold orders with hostile ids.
    """

    def __init__(self, box: Sandbox, keys: Mapping[str, str]):
        self.target = urlsplit(box.url("iproyal"))
        self.keys = dict(keys)
        self.spoilt: Counter[str] = Counter()
        self.strange = False
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def before(cls, box: Sandbox, keys: Mapping[str, str]) -> Iterator[Hostile]:
        """Serve on a free port until the block ends."""
        hostile = cls(box, keys)
        hostile._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Relay", (_Relay,), {"hostile": hostile}))
        hostile._server.daemon_threads = True
        thread = threading.Thread(target=hostile._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield hostile
        finally:
            hostile._server.shutdown()
            hostile._server.server_close()

    _server: ThreadingHTTPServer

    def url(self, vendor: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{vendor}"

    def spoil(self, vendor: str, path: str, token: str, body: bytes) -> bytes:
        """The answer of a vendor with hostile texts."""
        try:
            data = load_json(body)
        except UnreadableBody:
            return body
        texts = (*hostile_texts(self.keys[vendor]), *(hostile_texts(token)[:4] if token else ()))
        data = self._spoilt(data, vendor, texts)
        if self.strange and path.endswith("/orders") and isinstance(data, dict) and data.get("data"):
            data["data"] += [{**data["data"][0], "id": each} for each in (texts[0], texts[7], {"key": self.keys[vendor]})]
        return dump_json(data).encode()

    def _spoilt(self, value: Any, vendor: str, texts: tuple[str, ...], name: str = "") -> Any:
        if isinstance(value, dict):
            mapping = all(field.isdigit() for field in value)  # of ids to things, or empty
            more = {} if mapping else {field: field for field in MORE if value.get(field) in (None, "")}
            return {field: self._spoilt(item, vendor, texts, str(field)) for field, item in {**value, **more}.items()}
        if isinstance(value, list):
            return [self._spoilt(item, vendor, texts, name) for item in value]
        if not isinstance(value, str) or name in DECIDES:
            return value
        with self._lock:
            self.spoilt[vendor] += 1
        return (
            f"{value} {texts[crc32(value.encode()) % len(texts)]}"  # the same name everywhere, so that it still names one thing
        )


class _Relay(BaseHTTPRequestHandler):
    hostile: Hostile
    protocol_version = "HTTP/1.1"

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        vendor, path = self.path.lstrip("/").partition("/")[0], self.path.partition("?")[0]
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _TRAVEL}
        connection = HTTPConnection(str(self.hostile.target.hostname), self.hostile.target.port, timeout=60)
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException):  # a fault of the sandbox: it travels on
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        finally:
            connection.close()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        content = self.hostile.spoil(vendor, path, token, content)
        self.send_response(answer.status, f"{self.hostile.keys[vendor]} {TEMPLATE}")
        for name, value in answer.getheaders():
            if name.lower() not in _TRAVEL:
                self.send_header(name, value)
        self.send_header("X-Request-Id", self.hostile.keys[vendor])
        self.send_header("Set-Cookie", f"key={quote(self.hostile.keys[vendor], safe='')}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _relay

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
