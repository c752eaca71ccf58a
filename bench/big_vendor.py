"""A vendor with any number of orders on 127.0.0.1: IPRoyal's list, prices and balance, ProxyScrape's statuses and sub-accounts.

Two rules. An answer is made of the number of an order alone, so a million orders take no memory. Each call is counted::

    GET /_counts      calls since the last such question, and the most that were there together
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: The number of IPRoyal's newest order, and one order a minute before it.
NEWEST, MINUTE = 5_000_000, timedelta(minutes=1)
#: How long an order lasts.
TERM = timedelta(days=30)


class Vendor(ThreadingHTTPServer):
    """:param orders: how many orders IPRoyal lists. :param delay: seconds that each call takes."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, orders: int, delay: float):
        super().__init__(("127.0.0.1", 0), Handler)
        self.orders, self.delay = orders, delay
        #: a small account has orders of the same time as a large one
        self.stride = max(1, 100_000 // orders)
        self.lock, self.counts = threading.Lock(), Counter[str]()
        self.inside = self.most = 0
        self.began = datetime.now(timezone.utc).replace(microsecond=0)

    def lists(self, number: int) -> bool:
        """Whether an order is one of its own."""
        place, rest = divmod(NEWEST - number, self.stride)
        return rest == 0 and 0 <= place < self.orders

    def row(self, number: int) -> dict[str, Any]:
        ends = self.began - (NEWEST - number) * MINUTE + TERM
        return {
            "id": number,
            "status": "confirmed" if ends > self.began else "expired",
            "quantity": 1,
            "product_name": "ISP",
            "plan_name": "30 Days",
            "location": "Malta",
            "expire_date": f"{ends:%Y-%m-%d %H:%M:%S}",
            "proxy_data": {"proxies": ["203.0.113.1:8000:user:password"]},
            "extended_history": [],
            "auto_extend_settings": None,
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Vendor

    def do_GET(self) -> None:
        vendor, parts = self.server, urlsplit(self.path)
        if parts.path == "/_counts":
            with vendor.lock:
                told = {**vendor.counts, "at once": vendor.most}
                vendor.counts.clear()
                vendor.most = 0
            return self.answer(told)
        with vendor.lock:
            vendor.inside += 1
            vendor.most = max(vendor.most, vendor.inside)
        if vendor.delay:
            time.sleep(vendor.delay)
        kind, answer = self.made(parts.path, parse_qs(parts.query))
        with vendor.lock:
            vendor.inside -= 1
            vendor.counts[kind] += 1
        self.answer(answer)

    def made(self, path: str, query: dict[str, list[str]]) -> tuple[str, Any]:
        vendor = self.server
        if path == "/orders" and "order_ids[]" in query:
            numbers = [int(each) for each in query["order_ids[]"]]
            rows = [vendor.row(number) for number in numbers if vendor.lists(number)]
            return "by id", {"data": rows, "meta": {"current_page": 1, "last_page": 1}}
        if path == "/orders":
            page, size = int(query["page"][0]), int(query["per_page"][0])
            places = range((page - 1) * size, min(page * size, vendor.orders))
            meta = {"current_page": page, "last_page": -(-vendor.orders // size)}
            return "list", {"data": [vendor.row(NEWEST - place * vendor.stride) for place in places], "meta": meta}
        if path == "/orders/calculate-pricing":
            return "quote", {"price": 3}
        if match := re.fullmatch(r"/orders/(\d+)", path):
            return "get", vendor.row(int(match[1]))
        if match := re.fullmatch(r"/v4/account/orders/(.+)/status", path):
            account = {"AccountID": f"a{match[1]}", "AccountType": "datacenter_shared"}
            order = {"order_id": match[1], "status": "processed", "type": "new_datacenter_shared", "price": "5.00"}
            return "status", {"success": True, "data": {**order, "subaccount": account}}
        if path == "/v4/account/orders/balance":
            return "balance", {"success": True, "data": {"balance": "1000.00", "currency": "USD"}}
        return ("balance", 1000) if path == "/balance" else ("other", {"data": {"subaccounts": []}})

    def answer(self, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    vendor = Vendor(int(sys.argv[1]), float(sys.argv[2]))
    print(f"http://127.0.0.1:{vendor.server_port}", flush=True)
    vendor.serve_forever()
