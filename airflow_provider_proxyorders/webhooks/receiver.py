"""The receiver: one ASGI app, mounted in Airflow's API server by the plugin, or run alone.

Four rules: the signature is checked over the bytes as they came, before anything reads them; a delivery is durable before
the vendor hears 200, and exactly 200; no vendor is called while it waits; and an answer tells an attacker nothing, while the
log tells an operator everything but secrets.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, load_json
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox, digest_of
from airflow_provider_proxyorders.ledger.pruning import keep_pruned
from airflow_provider_proxyorders.webhooks.senders import Busy, Sender, Senders
from airflow_provider_proxyorders.wire.signatures import BadSignature

log = logging.getLogger(__name__)

#: Bytes; a delivery of any vendor is far smaller.
LARGEST = 64 * 1024
#: Seconds that a sender may take for its body.
PATIENCE = 10.0
#: Seconds' worth of deliveries that one connection may send at once.
BURST = 4.0
#: Deliveries that wait for their commit; more are asked to come again.
WAITING = 10_000

#: Marks a body that was given up.
OVER = 0.0
CLOSE = ((b"connection", b"close"),)

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Refused(Exception):
    """What a delivery gets instead of 200.

    :param why: for the log.
    """

    def __init__(self, status: int, why: str, headers: tuple[tuple[bytes, bytes], ...] = ()):
        self.status, self.headers = status, headers
        super().__init__(why)


class Receiver:
    """An ASGI app that takes ``POST /{conn_id}``.

    :param senders: finds the connection that a path names.
    :param inbox: opens the inbox, at the first delivery.
    :param rate: verified deliveries a second that are taken from one connection.
    :param retention: days that a delivery is kept.
    """

    def __init__(self, senders: Senders, inbox: Callable[[], Inbox], *, rate: float, retention: float):
        self._senders = senders
        self._open = inbox
        self._rate, self._retention = rate, retention
        self._writer: Writer | None = None
        self._buckets: dict[str, Bucket] = {}
        self._bodies = Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        if scope["type"] != "http":
            return
        headers: tuple[tuple[bytes, bytes], ...] = ()
        try:
            await self._take(scope, receive)
            status = 200
        except Refused as refusal:
            status, headers = refusal.status, refusal.headers
            log.warning("Webhook refused with %d: %s", status, refusal)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", b"text/plain"), (b"content-length", b"0"), *headers],
            }
        )
        await send({"type": "http.response.body", "body": b""})

    async def _take(self, scope: Scope, receive: Receive) -> None:
        conn_id = _rest(scope).strip("/")
        if not conn_id or "/" in conn_id or len(conn_id) > 250 or not conn_id.isprintable():  # it goes into the log
            raise Refused(404, "no connection is named")
        if scope["method"] != "POST":
            raise Refused(405, f"{conn_id}: method {scope['method']}", ((b"allow", b"POST"),))
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        sender = await self._sender(conn_id)  # before the body: what is for nobody is not read
        body = await self._bodies.read(conn_id, headers, receive)
        try:
            _verify(sender, body, headers)
        except Refused:
            newest = await self._sender(conn_id, newest=True)
            if newest is sender:
                raise
            sender = newest  # its secrets may just have been changed
            _verify(sender, body, headers)
        self._senders.proven(sender)
        hint = _hint(sender, body)
        bucket = self._buckets.get(conn_id)
        if bucket is None:
            bucket = self._buckets[conn_id] = Bucket(self._rate, BURST * self._rate)
        wait = bucket.take()
        if wait:
            raise Refused(429, f"{conn_id}: more than {self._rate:g} deliveries a second", _retry_after(wait))
        if self._writer is None:
            self._writer = Writer(self._open, self._retention)
        await self._writer.keep(hint)

    async def _sender(self, conn_id: str, *, newest: bool = False) -> Sender:
        try:
            sender = await self._senders.find(conn_id, newest=newest)
        except Busy as busy:
            raise Refused(503, f"{conn_id}: {busy}", _retry_after(5)) from None
        except Exception as error:  # whatever keeps Airflow from answering, the vendor must send again
            raise Refused(503, f"{conn_id}: {type(error).__name__} at the look-up", _retry_after(5)) from None
        if sender is None:
            raise Refused(404, f"{conn_id!r} is no connection whose vendor sends webhooks")
        return sender

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._writer is not None:
                    await self._writer.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


class Bodies:
    """Reads bodies, and gives up those that do not end in time; one timer for all, since one for each would cost more than all
    the rest of the reading.
    """

    def __init__(self) -> None:
        self._until: dict[asyncio.Task[Any], float] = {}
        self._sweeping = False

    async def read(self, conn_id: str, headers: Mapping[str, str], receive: Receive) -> bytes:
        """The whole body, or a refusal as soon as it is known to be too large or too slow; nothing more is read then."""
        told = headers.get("content-length", "")
        if told and (not told.isdecimal() or int(told[:12]) > LARGEST):
            raise Refused(413, f"{conn_id}: announced {told[:20]} bytes", CLOSE)
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        self._until[task] = loop.time() + PATIENCE
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(PATIENCE / 10, self._sweep, loop)
        try:
            return await _whole(conn_id, receive)
        except asyncio.CancelledError:
            if self._until[task] != OVER:
                raise
            if sys.version_info >= (3, 11):
                task.uncancel()
            raise Refused(408, f"{conn_id}: the body did not end", CLOSE) from None
        finally:
            del self._until[task]

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, until in self._until.items():
            if OVER < until < now:
                self._until[task] = OVER
                task.cancel()
        self._sweeping = bool(self._until)
        if self._sweeping:
            loop.call_later(PATIENCE / 10, self._sweep, loop)


async def _whole(conn_id: str, receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, f"{conn_id}: the sender hung up")
        body += message.get("body", b"")
        if len(body) > LARGEST:
            raise Refused(413, f"{conn_id}: more than {LARGEST} bytes", CLOSE)
        if not message.get("more_body"):
            return body


def _rest(scope: Scope) -> str:
    """The path below where this app is mounted; the path of ``[api] base_url`` is before it unless a proxy strips it."""
    path, root = scope["path"], scope.get("root_path", "")
    for mounted_at in (root, root.removeprefix(scope.get("app_root_path", ""))):
        if path.startswith(f"{mounted_at}/"):
            return str(path[len(mounted_at) :])
    return str(path)


def _verify(sender: Sender, body: bytes, headers: Mapping[str, str]) -> None:
    try:
        sender.scheme.verify(body, headers, sender.secrets, now=time.time())
    except BadSignature as error:
        raise Refused(401, f"{sender.conn_id}: {error}") from None


def _hint(sender: Sender, body: bytes) -> Hint:
    try:
        order_id, reference, status = sender.vendor.read_webhook(load_json(body))
    except UnreadableBody as error:
        raise Refused(400, f"{sender.conn_id}: {error}") from None
    if len(order_id) > 200 or len(reference or "") > 200 or len(status) > 100:
        raise Refused(400, f"{sender.conn_id}: an id is longer than any id")
    if not f"{order_id}{reference}{status}".isprintable():  # a database that cannot store it would refuse its whole group
        raise Refused(400, f"{sender.conn_id}: an id has letters that no id has")
    return Hint(digest_of(sender.wallet, body), sender.conn_id, sender.wallet, order_id, reference or None, status)


def _retry_after(seconds: float) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"retry-after", str(max(1, round(seconds))).encode()),)


class Bucket:
    """Lets ``rate`` a second through, and ``burst`` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic):
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = burst, clock()

    def take(self) -> float:
        """0 where one more may pass, else the seconds until it may."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0


class Writer:
    """Commits deliveries in groups: while one group is being written the next one gathers. Once a day old ones are forgotten."""

    def __init__(self, inbox: Callable[[], Inbox], retention: float):
        self._open = inbox
        self._opened: Inbox | None = None
        self._gathered: list[tuple[Hint, asyncio.Future[None]]] = []
        self._more = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run()), loop.create_task(keep_pruned(self._inbox, retention))]

    async def keep(self, hint: Hint) -> None:
        """Return when the delivery is durable.

        :raises Refused: 503 when it cannot be kept, so that the vendor sends it again.
        """
        if len(self._gathered) >= WAITING:
            raise Refused(503, "too many deliveries wait for the ledger", _retry_after(1))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gathered.append((hint, done))
        self._more.set()
        try:
            await done
        except LedgerError as error:
            raise Refused(503, f"not kept: {error}", _retry_after(5)) from None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            group, self._gathered = self._gathered, []
            error: LedgerError | None = None
            try:
                await asyncio.to_thread(self._write, [hint for hint, _ in group])
            except LedgerError as failed:
                error = failed
            except Exception as unexpected:  # whatever it is, the vendor must send again
                log.exception("Webhook inbox")
                error = LedgerError(type(unexpected).__name__)
            for _, done in group:
                if done.done():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

    def _write(self, hints: list[Hint]) -> None:
        self._inbox().keep(hints)

    def _inbox(self) -> Inbox:
        if self._opened is None:
            self._opened = self._open()
        return self._opened
