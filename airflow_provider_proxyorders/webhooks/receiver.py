"""The receiver: one ASGI app, mounted in Airflow's API server by the plugin, or run alone.

Four rules: the signature is checked over the bytes as they came, before anything reads them; a delivery is durable before
the vendor hears 200, and exactly 200; no vendor is called while it waits; and an answer tells an attacker nothing, while the
log tells an operator everything but secrets.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from airflow_provider_proxyorders.core.errors import LedgerError
from airflow_provider_proxyorders.core.ledger.inbox import Hint, Inbox, digest_of
from airflow_provider_proxyorders.core.signatures import BadSignature
from airflow_provider_proxyorders.core.wire import UnreadableBody, load_json
from airflow_provider_proxyorders.webhooks.senders import Sender, Senders

log = logging.getLogger(__name__)

#: Bytes; a delivery of any vendor is far smaller.
LARGEST = 64 * 1024
#: Seconds that a sender may take for its body.
PATIENCE = 10.0
#: Verified deliveries of one connection: this many a second, and this many at once.
RATE, BURST = 500.0, 2000.0
#: Deliveries that wait for their commit; more are asked to come again.
WAITING = 10_000

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
    """

    def __init__(self, senders: Senders, inbox: Callable[[], Inbox]):
        self._senders = senders
        self._open = inbox
        self._writer: Writer | None = None
        self._buckets: dict[str, Bucket] = {}

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
        path: str = scope["path"]
        conn_id = path.removeprefix(scope.get("root_path", "")).strip("/")
        if not conn_id or "/" in conn_id or len(conn_id) > 250:
            raise Refused(404, "no connection is named")
        if scope["method"] != "POST":
            raise Refused(405, f"{conn_id}: method {scope['method']}", ((b"allow", b"POST"),))
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        body = await _body(conn_id, headers, receive)
        try:
            sender = await self._senders.find(conn_id)
        except Exception as error:  # whatever keeps Airflow from answering, the vendor must send again
            log.exception("Webhook for %s: the connection cannot be looked up", conn_id)
            raise Refused(503, f"{conn_id}: {type(error).__name__} at the look-up", _retry_after(5)) from None
        if sender is None:
            raise Refused(404, f"{conn_id!r} is no connection whose vendor sends webhooks")
        try:
            sender.scheme.verify(body, headers, sender.secrets, now=time.time())
        except BadSignature as error:
            raise Refused(401, f"{conn_id}: {error}") from None
        hint = _hint(sender, body)
        bucket = self._buckets.setdefault(conn_id, Bucket(RATE, BURST))
        wait = bucket.take()
        if wait:
            raise Refused(429, f"{conn_id}: more than {RATE:.0f} deliveries a second", _retry_after(wait))
        if self._writer is None:
            self._writer = Writer(self._open)
        await self._writer.keep(hint)

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


async def _body(conn_id: str, headers: Mapping[str, str], receive: Receive) -> bytes:
    """The whole body, or a refusal as soon as it is known to be too large or too slow; nothing more is read then."""
    told = headers.get("content-length", "")
    if told and (not told.isdigit() or int(told[:12]) > LARGEST):
        raise Refused(413, f"{conn_id}: announced {told[:20]} bytes", ((b"connection", b"close"),))
    body = bytearray()
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            message = await asyncio.wait_for(receive(), deadline - asyncio.get_running_loop().time())
        except asyncio.TimeoutError:
            raise Refused(408, f"{conn_id}: the body did not end", ((b"connection", b"close"),)) from None
        if message["type"] == "http.disconnect":
            raise Refused(400, f"{conn_id}: the sender hung up")
        body += message.get("body", b"")
        if len(body) > LARGEST:
            raise Refused(413, f"{conn_id}: more than {LARGEST} bytes", ((b"connection", b"close"),))
        if not message.get("more_body"):
            return bytes(body)


def _hint(sender: Sender, body: bytes) -> Hint:
    try:
        order_id, reference, status = sender.vendor.read_webhook(load_json(body))
    except UnreadableBody as error:
        raise Refused(400, f"{sender.conn_id}: {error}") from None
    if len(order_id) > 200 or len(reference or "") > 200 or len(status) > 100:
        raise Refused(400, f"{sender.conn_id}: an id is longer than any id")
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
    """Commits deliveries in groups: while one group is being written the next one gathers."""

    def __init__(self, inbox: Callable[[], Inbox]):
        self._open = inbox
        self._inbox: Inbox | None = None
        self._gathered: list[tuple[Hint, asyncio.Future[None]]] = []
        self._more = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

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
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            group, self._gathered = self._gathered, []
            hints = list({hint.digest: hint for hint, _ in group}.values())
            error: LedgerError | None = None
            try:
                await asyncio.to_thread(self._write, hints)
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
        if self._inbox is None:
            self._inbox = self._open()
        self._inbox.keep(hints)
