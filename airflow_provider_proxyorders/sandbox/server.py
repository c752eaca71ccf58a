"""The sandbox as a real HTTP server on 127.0.0.1: in a thread of a test, or alone.

Two rules: it listens on 127.0.0.1 only; and a request is answered in the order read it whole, count it, faults "before", the
vendor's work in one go, faults "after".
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from decimal import Decimal
from email.utils import format_datetime
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import web  # noqa: TID253 - a server, imported by no DAG

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, load_json
from airflow_provider_proxyorders.sandbox import answers
from airflow_provider_proxyorders.sandbox import control as controls
from airflow_provider_proxyorders.sandbox.charges import ChargeBook
from airflow_provider_proxyorders.sandbox.clock import Clock
from airflow_provider_proxyorders.sandbox.door import Door
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.sandbox.forward_proxy import ForwardProxy
from airflow_provider_proxyorders.sandbox.on_the_way import act
from airflow_provider_proxyorders.sandbox.proxy_pool import HOST
from airflow_provider_proxyorders.sandbox.state import SandboxState
from airflow_provider_proxyorders.sandbox.vendor_base import USUAL, Answer, Ask, Call, SandboxVendor

OWN = "_sandbox"
#: seconds that requests in progress get when the server stops
_GRACE = 0.1
#: seconds for which nobody can connect, unless a fault says otherwise
_SLOW = 3.0


class SandboxServer:
    """The running server of one world. Lives in one event loop."""

    def __init__(self, state: SandboxState):
        self.state = state
        self.forward = ForwardProxy(state.pool)
        self._server = _CountingServer(self.handle, state.book)
        self._door = Door(self._server)
        self._wake = asyncio.Event()

    async def open(self, port: int) -> None:
        """Start to listen; ``state.pool.port`` is the port then.

        :param port: 0 takes a free one.
        :raises OSError: when the port is taken.
        """
        loop = asyncio.get_running_loop()
        self.state.pool.port = await self._door.open(port)

        def wake() -> None:
            loop.call_soon_threadsafe(self._wake.set)

        self.state.clock.on_sooner = wake
        self._ticker = loop.create_task(self._tick())

    async def close(self) -> None:
        """Stop to listen and hang up; requests that a fault holds back are dropped, not worked on."""
        self.state.clock.on_sooner = lambda: None
        await self._door.close()
        self._server.pre_shutdown()
        await self._server.shutdown(_GRACE)
        while not self._ticker.done():  # Python 3.11: wait_for loses a cancellation that comes with what it waits for
            self._ticker.cancel()
            await asyncio.wait([self._ticker], timeout=0.1)

    async def _tick(self) -> None:
        """Run due events on time, also between requests."""
        while True:
            wait = self.state.tick()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)
            self._wake.clear()

    # -- one request ----------------------------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = request.raw_path
        if request.method == "CONNECT" or not raw.startswith("/"):
            self.state.book.saw("forward", "connect" if request.method == "CONNECT" else "http")
            return await self.forward.serve(request)
        path, _, query = raw.partition("?")
        name, *parts = [unquote(part) for part in path.split("/") if part] or [""]
        params = parse_qsl(query, keep_blank_values=True) if query else []
        ask = Ask(request.method, parts, params, request.headers, await request.read())
        if name == OWN:
            return self._response(self._own(request, ask))
        vendor = self.state.vendors.get(name)
        if vendor is None:
            return self._response(Answer({"error": f"there are {', '.join(self.state.vendors)} and {OWN}"}, 404))
        call = vendor.route(ask) or Call("unknown", vendor.not_found)
        self.state.book.saw(name, call.operation)
        return await self._work(request, vendor, ask, call)

    async def _work(self, request: web.BaseRequest, vendor: SandboxVendor, ask: Ask, call: Call) -> web.StreamResponse:
        """Let the vendor work on a request, with the faults that it meets."""
        manner, slow = USUAL, None
        for rule in self.state.faults.meet(vendor.name, call.operation, "before"):
            if refused := self.state.changed(rule, vendor, ask, call, None):
                return self._response(refused)
            if another := answers.manner(rule, manner):
                manner = another
            elif ended := await act(rule, request, None):
                return ended
        answer = self.state.answer(call, vendor, manner)
        for rule in self.state.faults.meet(vendor.name, call.operation, "after"):
            if another_answer := self.state.changed(rule, vendor, ask, call, answer):
                answer = another_answer
            elif rule.action == "slow_connect":
                slow = rule
            elif ended := await act(rule, request, answer):
                return ended
        response = self._response(answer)
        if slow is not None:
            response.force_close()
            await self._door.shut_for(_SLOW if slow.seconds is None else slow.seconds)
        return response

    def _response(self, answer: Answer) -> web.Response:
        date = format_datetime(self.state.clock.now(), usegmt=True)
        headers = {"Content-Type": answer.content_type, "Date": date, **answer.headers}
        return web.Response(body=answer.body, status=answer.status, headers=headers)

    def _own(self, request: web.BaseRequest, ask: Ask) -> Answer:
        if list(ask.parts) == ["whoami"]:
            origin = self.forward.origin(request)
            if origin is None:
                return Answer({"via": "direct", "vendor": None, "wallet": None, "order_id": None, "username": None})
            batch, user = origin
            said = {"vendor": batch.vendor, "wallet": batch.wallet, "order_id": batch.order_id, "username": user}
            return Answer({"via": "proxy", **said})
        try:
            data = load_json(ask.body) if ask.body else None
        except UnreadableBody as error:
            return Answer({"error": str(error)}, 400)
        return controls.answer(self.state, ask, data)


class _CountingServer(web.Server):
    def __init__(self, handler: Any, book: ChargeBook):
        super().__init__(handler, access_log=None)
        self._book = book

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        self._book.connections += 1
        super().connection_made(handler, transport)


# ---------------------------------------------------------------------------------------------- in a thread


class Sandbox:
    """A sandbox that runs in a thread of this process::

        with Sandbox.start(processing=0) as box:
            account = Account("iproyal", ..., base_url=box.url("iproyal"), secret=box.token("iproyal"))
            ...
            assert len(box.book.orders("iproyal")) == 1

    All of it may be used from any thread.
    """

    def __init__(self, state: SandboxState):
        self.state = state
        self._thread: threading.Thread | None = None
        self._stop: Any = None

    @classmethod
    def start(
        cls,
        port: int = 0,
        *,
        processing: float | Mapping[str, float] | None = None,
        seed: int | None = None,
        speed: float = 1.0,
    ) -> Sandbox:
        """Start a sandbox; its parameters but the port are those of :class:`SandboxState`.

        :param port: 0 takes a free one.
        :raises OSError: when the port is taken.
        """
        box = cls(SandboxState(processing=processing, seed=seed, speed=speed))
        started: Future[None] = Future()
        box._thread = threading.Thread(target=lambda: asyncio.run(box._run(port, started)), name="sandbox", daemon=True)
        box._thread.start()
        started.result()
        return box

    async def _run(self, port: int, started: Future[None]) -> None:
        side, stop, loop = SandboxServer(self.state), asyncio.Event(), asyncio.get_running_loop()
        try:
            await side.open(port)
        except OSError as error:
            started.set_exception(error)
            return
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        started.set_result(None)
        await stop.wait()
        await side.close()

    def stop(self) -> None:
        """Close all connections and end the thread. The book stays readable. Stopping twice is harmless."""
        if self._thread is not None:
            self._stop()
            self._thread.join(10)
            self._thread = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # -- where and who --------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        return self.state.pool.port

    def url(self, vendor: str) -> str:
        """The base URL for a connection's host."""
        return self.state.url(vendor)

    @property
    def whoami(self) -> str:
        """A page that tells through which order's proxy it was asked for."""
        return f"http://{HOST}:{self.port}/{OWN}/whoami"

    def token(self, vendor: str, wallet: str = "main") -> str:
        """What belongs into a connection's password."""
        return self.state.vendors[vendor].wallet(wallet).token

    def connection(self, vendor: str, **extra: Any) -> dict[str, Any]:
        """An Airflow connection to a vendor, as JSON takes it; ``extra`` adds to its settings."""
        settings = {"max_order_price": "100.00", "currency": "USD", **extra}
        return {"conn_type": vendor, "host": self.url(vendor), "password": self.token(vendor), "extra": settings}

    # -- what happened, and what is to happen ---------------------------------------------------------------------

    @property
    def book(self) -> ChargeBook:
        return self.state.book

    def balance(self, vendor: str, wallet: str = "main") -> Decimal:
        """The money that is left in a wallet."""
        return self.state.vendors[vendor].wallet(wallet).balance

    @property
    def clock(self) -> Clock:
        """To be read; to let time pass, use :meth:`advance`."""
        return self.state.clock

    def advance(self, seconds: float) -> None:
        """Let time pass in an instant."""
        self.control({"advance": seconds})

    def control(self, commands: controls.Command | Sequence[controls.Command]) -> list[Any]:
        """Do control commands; see :mod:`airflow_provider_proxyorders.sandbox.control`."""
        return controls.control(self.state, commands)

    def fault(self, vendor: str = "*", operation: str = "*", **rule: Any) -> Rule:
        """Add a fault; its other parameters are those of :class:`Rule`."""
        return self.state.faults.add(Rule.parse({"vendor": vendor, "operation": operation, **rule}))

    def faults(self) -> list[Rule]:
        """All faults with their hits."""
        return self.state.faults.all()

    def clear_faults(self) -> None:
        """End all faults, and let go of what they hold back."""
        self.state.faults.clear()
