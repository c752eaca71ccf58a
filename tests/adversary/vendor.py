"""The vendor's server: HTTP on one port for all accounts of a run, its faults, and its book.

Three rules: a purchase is written into the book at the moment it is taken, before anything is answered; nothing is taken later
than the edge limit after its first byte; and the faults follow from the plan and the marker of the request, so a run can be told
again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

from . import faults
from .book import Entry, Pen
from .plan import EDGE, TIMEOUT, Plan
from .shop_proxy6 import Proxy6
from .shops import SHOPS, Answer, Order, Sale, Sees, Shop

#: The header by which a worker's transport says whose purchase it is: key, process, moment of the first byte. The package
#: knows nothing of it, and nothing is decided by it but what is written into the book.
MARKER = "x-adversary"


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Marker:
    key: str
    pid: int
    sent: float

    @classmethod
    def of(cls, call: Call) -> Marker:
        key, pid, sent = call.headers[MARKER].split("|")
        return cls(key, int(pid), float(sent))


class Server:
    """Serves the wallets of a plan.

    :param calm: when the storm ended, on the monotonic clock.
    """

    def __init__(self, plan: Plan, pen: Pen):
        self.plan, self.pen = plan, pen
        shops = {**SHOPS, Proxy6.vendor: Proxy6}
        self.shops: list[Shop] = [
            shops[wallet.vendor](wallet, plan.dice("shop", number), plan.storm.vendor_clock, plan.storm.floats)
            for number, wallet in enumerate(plan.wallets)
        ]
        self.calm: float | None = None
        self.sent: dict[str, int] = {}
        self.reading = faults.Reading(plan)

    # -- one connection --------------------------------------------------------------------------------------------

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, OSError):
            while True:
                call = await _read_call(reader)
                closes = await self.handle(call, writer)
                if closes or self.plan.storm.closing:
                    break
        writer.close()

    async def handle(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        """Answer one request.

        :returns: whether the connection ends with it.
        """
        vendor, _, path = call.path.lstrip("/").partition("/")
        call = replace(call, path="/" + path.rstrip("/"))
        shop = self.shop_of(vendor, call)
        if call.path == "/api/v1/auth/token/client":
            return await self.write(writer, Answer(200, json.dumps({"access_token": _session(call.body["api_key"])})))
        if shop is None:
            return await self.write(writer, Answer(401, "{}"))
        sale = shop.sale(call.method, call.path, call.body or {name: values[0] for name, values in call.query.items()})
        if sale is not None:
            return await self.sell(shop, sale, Marker.of(call), writer)
        return await self.show(shop, call, writer)

    def shop_of(self, vendor: str, call: Call) -> Shop | None:
        headers = call.headers
        token = headers.get("api-token") or headers.get("x-access-token") or _key_in(call.path)
        for shop in self.shops:
            secret = shop.wallet.secret
            if shop.wallet.vendor == vendor and (token == secret or headers.get("authorization") == f"Bearer {_session(secret)}"):
                return shop
        return None

    # -- purchases -------------------------------------------------------------------------------------------------

    async def sell(self, shop: Shop, sale: Sale, marker: Marker, writer: asyncio.StreamWriter) -> bool:
        """Take a purchase, or not, and answer it, or not."""
        number = self.sent[marker.key] = self.sent.get(marker.key, 0) + 1
        now = time.monotonic()
        self.pen.arrive(now, marker.key, marker.pid, f"{sale.kind} number {number}")
        if now - marker.sent > EDGE:  # the machine was busy for so long that the edge gave it up
            writer.transport.abort()
            return True
        fault = faults.NONE if self.calm is not None else faults.for_purchase(self.plan, marker.key, number, sale.kind)
        if fault.name:
            self.pen.play(now, fault.name, f"{sale.kind} for {marker.key}", marker.key)
        if fault.signal:
            with contextlib.suppress(ProcessLookupError):
                os.kill(marker.pid, fault.signal)
        if fault.late:
            await asyncio.sleep(fault.late)
        outcome: Order | Answer | None = None
        if fault.takes and time.monotonic() - marker.sent <= EDGE + 0.1:
            outcome = self.take(shop, sale, marker, fault)
        if isinstance(outcome, Answer):
            return await self.write(writer, outcome)
        return await self.answer(shop, sale, outcome, fault, writer)

    def take(self, shop: Shop, sale: Sale, marker: Marker, fault: faults.Fault) -> Order | Answer:
        now = time.monotonic()
        outcome = shop.take(sale, now, fault.factor)
        if isinstance(outcome, Order):
            entry = Entry(
                wallet=self.shops.index(shop),
                key=marker.key,
                pid=marker.pid,
                sent=marker.sent,
                at=now,
                kind=sale.kind,
                order_id=outcome.order_id,
                amount=f"{outcome.amount:f}",
                quoted=f"{shop.price(sale):f}",
                target=sale.target,
                names=outcome.names,
                fault=fault.name,
            )
            self.pen.take(entry)
        return outcome

    async def answer(
        self, shop: Shop, sale: Sale, order: Order | None, fault: faults.Fault, writer: asyncio.StreamWriter
    ) -> bool:
        """What the fault lets through of the answer."""
        if fault.answer == "reset":
            writer.transport.abort()
            return True
        if fault.answer == "silence":
            await asyncio.sleep(4 * TIMEOUT)
            writer.transport.abort()
            return True
        made = faults.answer_to(fault, shop, sale, order)
        return await self.write(writer, made, cut=fault.answer == "cut")

    # -- reads -----------------------------------------------------------------------------------------------------

    async def show(self, shop: Shop, call: Call, writer: asyncio.StreamWriter) -> bool:
        now = time.monotonic()
        answer = shop.read(call.path, call.query, now, self.view(now))
        name = "" if self.calm is not None else self.reading.fault(shop, call.path)
        if name:
            self.pen.play(now, f"read {name}", call.path)
        if name == "reset":
            writer.transport.abort()
            return True
        if name == "silence":
            await asyncio.sleep(3 * TIMEOUT)
            writer.transport.abort()
            return True
        if name == "cut without a length":
            return await self.write(writer, replace(answer, body=answer.body[: max(1, len(answer.body) * 2 // 3)]), bare=True)
        return await self.write(writer, faults.spoil(name, shop, answer), cut=name == "cut")

    def view(self, now: float) -> Sees:
        """What a read at a moment shows."""
        mode, longest = self.plan.storm.lag, self.plan.storm.behind
        if self.calm is not None and now > self.calm + longest:
            mode = "none"
        behind = {"replica": Random().uniform(0, longest), "longest": longest}.get(mode, 0.0)

        def sees(at: float, order: Order, aspect: str) -> bool:
            lag = order.lags.get(aspect, 0.0) if mode == "fixed" else behind
            return at + lag <= now

        return sees

    async def write(self, writer: asyncio.StreamWriter, answer: Answer, *, cut: bool = False, bare: bool = False) -> bool:
        """Send an answer.

        :param cut: end in its middle, and ``bare``: without a length, up to the connection's end.
        """
        data = answer.body.encode()
        clock = datetime.now(timezone.utc) + timedelta(seconds=self.plan.storm.vendor_clock)
        kind = "text/html" if answer.body.startswith("<") else "application/json"
        headers = {"Date": f"{clock:%a, %d %b %Y %H:%M:%S} GMT", "Content-Type": kind, **answer.headers}
        if not bare:
            headers["Content-Length"] = str(len(data))
        closes = cut or bare
        headers["Connection"] = "close" if closes or self.plan.storm.closing else "keep-alive"
        head = f"HTTP/1.1 {answer.status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        writer.write(head.encode() + (data[: len(data) // 2] if cut else data))
        await writer.drain()
        return closes


def _key_in(path: str) -> str:
    """The key of PROXY6 is a part of the path, ``/api/KEY/method/``."""
    parts = path.split("/")
    return parts[2] if path.startswith("/api/") and len(parts) > 2 else ""


def _session(key: str) -> str:
    """The token that a key is exchanged for."""
    return f"jwt-{hashlib.sha256(key.encode()).hexdigest()[:24]}"


async def _read_call(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    data = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Call(method, parts.path, parse_qs(parts.query), headers, json.loads(data, parse_float=Decimal) if data else None)


def serve(plan: Plan, book: Path, say: Any) -> None:
    """Serve until SIGTERM; SIGUSR1 ends the storm. Says its port first, and at the end how long it ever stood still."""
    parent = os.getppid()

    async def main() -> None:
        pen = Pen(book)
        server = Server(plan, pen)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        loop.add_signal_handler(signal.SIGUSR1, lambda: setattr(server, "calm", time.monotonic()))
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=256)
        say({"port": listening.sockets[0].getsockname()[1]})
        longest = 0.0
        while not ended.is_set() and os.getppid() == parent:
            before = time.monotonic()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), 0.1)
            longest = max(longest, time.monotonic() - before - 0.1)
        pen.lag(longest)
        say({"longest": longest})

    asyncio.run(main())
