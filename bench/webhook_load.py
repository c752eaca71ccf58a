"""Sends signed deliveries to a receiver, in a process of its own, so that its work is not counted as the receiver's.

Two rules: every request is put together before the clock starts, and every delivery is another one, so that each is a row.
Prints one line of JSON. Reads its orders from the command line: address, secret, number of connections, of deliveries, of those
that only warm up.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import uvloop

from airflow_provider_proxyorders.wire.signatures import Scheme


def requests(url: str, secret: str, many: int) -> list[bytes]:
    """HTTP requests with deliveries as Voodoo documents them, each of another order."""
    scheme, parts, made = Scheme(), urlsplit(url), []
    for _ in range(many):
        order_id = uuid4()
        body = json.dumps(
            {
                "codes": ["EXAM-PLE1"],
                "completed_at": "2030-01-02T03:04:05Z",
                "created_at": "2030-01-02T03:03:50Z",
                "delivered_quantity": 1,
                "error": "",
                "error_message": "",
                "fields": {},
                "item_id": 5120,
                "item_name": "Example key 5 EUR",
                "merchant_order_id": f"af-{order_id.hex}",
                "order_id": str(order_id),
                "quantity": 1,
                "refund_amount": 0,
                "status": "completed",
                "total_price": 4.5,
            },
            sort_keys=True,
            separators=(",", ":"),
        ).encode()
        fields = {"Host": parts.netloc, "Content-Type": "application/json", "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in {**fields, **scheme.sign(body, secret)}.items())
        made.append(f"POST {parts.path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    return made


class Sender(asyncio.Protocol):
    """One kept connection: the next request leaves when the last one is answered."""

    def __init__(self, rest: list[bytes], taken: list[float]):
        self._rest, self._taken = rest, taken
        self._answer = b""
        self._began = 0.0
        self.refused = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._next()

    def _next(self) -> None:
        if not self._rest:
            self._transport.close()
            self.done.set_result(None)
            return
        self._began = time.perf_counter()
        self._transport.write(self._rest.pop())

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._answer.endswith(b"\r\n\r\n"):  # answers have no body
            self._taken.append(time.perf_counter() - self._began)
            self.refused += not self._answer.startswith(b"HTTP/1.1 200")
            self._answer = b""
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the receiver hung up"))


async def send(url: str, connections: int, prepared: Sequence[bytes]) -> tuple[list[float], float, int]:
    """Send all; the seconds each took, the seconds all took, and how many were not answered by 200."""
    parts, taken, rest = urlsplit(url), [], list(prepared)
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    made = [await loop.create_connection(lambda: Sender(rest, taken), parts.hostname, parts.port) for _ in range(connections)]
    await asyncio.gather(*(sender.done for _, sender in made))
    return taken, time.perf_counter() - began, sum(sender.refused for _, sender in made)


async def main() -> dict[str, float]:
    url, secret = sys.argv[1:3]
    connections, many, warm = map(int, sys.argv[3:])
    prepared = requests(url, secret, many + warm)
    waiting = iter(prepared)
    _, _, refused = await send(url, connections, list(islice(waiting, warm)))
    used = time.process_time()
    taken, passed, failed = await send(url, connections, list(waiting))
    used = time.process_time() - used
    taken.sort()
    return {
        "rate": len(taken) / passed,
        "median": statistics.median(taken),
        "late": taken[int(len(taken) * 0.99)],
        "refused": refused + failed,
        "client": used / passed,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main())))
