"""The peers' vendor on 127.0.0.1. It takes the order first and then loses the answer of the first POST.

Two rules. Every POST is an order and is taken before its answer is lost; a repeated ``Idempotency-Key`` gets the first order
again. Only the answer of the first order suffers. The vendor runs as a process of its own::

    POST /_set {"fault": "time-out" | "500" | "reset" | "hold" | "blocked" | ""}    forgets all orders
    GET /_orders                                                                    number of orders

``time-out`` stays silent for ``PATIENCE`` seconds and hangs up, as a vendor's load balancer does. ``hold`` stays silent for long.
``blocked`` answers well, but the order ends as ``blocked``.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE = 2.0
LONG = 30.0


class Vendor(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.fault = ""
        self.orders: list[str] = []
        self.keys: dict[str, str] = {}

    def take(self, key: str | None) -> tuple[str, str]:
        """Take an order; returns its id and what goes wrong with its answer."""
        with self.lock:
            if key and key in self.keys:
                return self.keys[key], ""
            order_id = f"order-{len(self.orders) + 1}"
            self.orders.append(order_id)
            if key:
                self.keys[key] = order_id
            return order_id, self.fault if len(self.orders) == 1 else ""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that went away: they are the purpose of this server."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Vendor

    def do_GET(self) -> None:
        if self.path == "/_orders":
            return self.answer(200, {"orders": len(self.server.orders)})
        status = "blocked" if self.server.fault == "blocked" else "delivered"
        connector = {
            "status": {"setup_state": "connected"},
            "service": "example",
            "schema": "example",
            "schedule_type": "manual",
            "succeeded_at": "2020-01-02T00:00:00Z",
            "failed_at": "2020-01-01T00:00:00Z",
            "paused": False,
        }
        return self.answer(200, {"id": self.path.rpartition("/")[2], "status": status, "data": connector})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/_set":
            with self.server.lock:
                self.server.fault = json.loads(body)["fault"]
                self.server.orders, self.server.keys = [], {}
            return self.answer(200, {})
        order_id, fault = self.server.take(self.headers.get("Idempotency-Key"))
        if fault == "500":
            return self.answer(500, {"error": "something went wrong"})
        if fault in ("time-out", "hold"):
            time.sleep(PATIENCE if fault == "time-out" else LONG)
        if fault in ("time-out", "hold", "reset"):
            return self.hang_up(reset=fault == "reset")
        # one answer that has what each of the peers looks for
        data = {"id": order_id, "orderId": order_id}
        return self.answer(200, {"id": order_id, "object": "payment_intent", "status": "success", "data": data})

    def answer(self, status: int, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self, *, reset: bool) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


if __name__ == "__main__":
    vendor = Vendor()
    print(vendor.server_address[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), vendor.shutdown()), daemon=True).start()  # ends with its starter
    vendor.serve_forever()
