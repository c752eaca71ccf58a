"""The receiver: an ASGI app. The plugin mounts it in Airflow's API server; ``proxyorders webhooks serve`` runs it by itself.

Four rules. The signature is checked over the raw bytes, before anything parses them. A webhook is durable before the vendor gets
200, and exactly 200. The receiver answers without a call to the vendor. An answer gives an attacker no information, and the log
gives the operator all of it except secrets.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, load_json
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox, digest_of
from airflow_provider_proxyorders.ledger.pruning import keep_pruned
from airflow_provider_proxyorders.webhooks.senders import Busy, Sender, Senders
from airflow_provider_proxyorders.wire.gate import ALTERED, admit
from airflow_provider_proxyorders.wire.signatures import BadSignature

log = logging.getLogger(__name__)

#: Bytes of a body. The webhooks of every vendor are far smaller.
LARGEST_BODY = 64 * 1024
#: Seconds for one body to arrive.
BODY_TIMEOUT = 10.0
#: Seconds' worth of webhooks that one connection may send at once.
BURST = 4.0
#: Webhooks that may wait for their commit. A further webhook gets 503, and its vendor repeats it.
MOST_WAITING = 10_000

#: The deadline of a body after its timeout.
TIMED_OUT = 0.0
CLOSE = ((b"connection", b"close"),)

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Refused(Exception):
    """The answer to a refused webhook.

    :param why: for the log only.
    """

    def __init__(self, status: int, why: str, headers: tuple[tuple[bytes, bytes], ...] = ()):
        self.status, self.headers = status, headers
        super().__init__(why)


#: Results in our metrics. A path or a body that anybody can send has no part in them.
RESULTS = {200: "accepted", 401: "bad_signature", 404: "unknown_connection", 429: "too_many", 503: "not_stored"}


def _count(status: int) -> None:
    """Count a webhook by its result. The answer never waits for that, and never fails for it."""
    try:
        _compat.incr("webhooks", {"result": RESULTS.get(status, "malformed")})
    except Exception:
        log.debug("metrics", exc_info=True)


class Receiver:
    """An ASGI app for ``POST /{conn_id}``.

    :param senders: finds the connection of a path.
    :param inbox: opens the inbox, at the first webhook.
    :param rate: verified webhooks accepted from one connection each second.
    :param retention: days for which a webhook is stored.
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
            await self._receive(scope, receive)
            status = 200
        except Refused as refusal:
            status, headers = refusal.status, refusal.headers
            log.warning("Webhook refused with %d: %s", status, refusal)
        _count(status)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", b"text/plain"), (b"content-length", b"0"), *headers],
            }
        )
        await send({"type": "http.response.body", "body": b""})

    async def _receive(self, scope: Scope, receive: Receive) -> None:
        conn_id = _rest(scope).strip("/")
        if not conn_id or "/" in conn_id or len(conn_id) > 250 or not conn_id.isprintable():  # it goes into the log
            raise Refused(404, "the path must name a connection")
        if scope["method"] != "POST":
            raise Refused(405, f"{conn_id}: method {scope['method']}", ((b"allow", b"POST"),))
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        sender = await self._sender(conn_id)  # first, so that only bodies for a connection are read
        body = await self._bodies.read(conn_id, headers, receive)
        try:
            _verify(sender, body, headers)
        except Refused:
            newest = await self._sender(conn_id, newest=True)
            if newest is sender:
                raise
            sender = newest  # its secrets may have changed a moment ago
            _verify(sender, body, headers)
        self._senders.note_proven(sender)
        hint = _hint(sender, body)
        bucket = self._buckets.get(conn_id)
        if bucket is None:
            bucket = self._buckets[conn_id] = Bucket(self._rate, BURST * self._rate)
        wait = bucket.take()
        if wait:
            raise Refused(429, f"{conn_id}: more than {self._rate:g} webhooks a second", _retry_after(wait))
        if self._writer is None:
            self._writer = Writer(self._open, self._retention)
        await self._writer.keep(hint)

    async def _sender(self, conn_id: str, *, newest: bool = False) -> Sender:
        try:
            sender = await self._senders.find(conn_id, newest=newest)
        except Busy as busy:
            raise Refused(503, f"{conn_id}: {busy}", _retry_after(5)) from None
        except Exception as error:  # any fault of the look-up: the vendor must repeat the webhook
            raise Refused(503, f"{conn_id}: {type(error).__name__} at the look-up", _retry_after(5)) from None
        if sender is None:
            raise Refused(404, f"{conn_id!r} is unknown or without webhooks")
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
    """Reads bodies within a time limit. One timer serves all, because a timer for each would cost more than the reading."""

    def __init__(self) -> None:
        self._until: dict[asyncio.Task[Any], float] = {}
        self._sweeping = False

    async def read(self, conn_id: str, headers: Mapping[str, str], receive: Receive) -> bytes:
        """The whole body.

        :raises Refused: as soon as the body is too large or too slow. The rest stays unread.
        """
        announced = headers.get("content-length", "")
        if announced and (not announced.isdecimal() or int(announced[:12]) > LARGEST_BODY):
            raise Refused(413, f"{conn_id}: announced {announced[:20]} bytes", CLOSE)
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        self._until[task] = loop.time() + BODY_TIMEOUT
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(BODY_TIMEOUT / 10, self._sweep, loop)
        try:
            return await _whole(conn_id, receive)
        except asyncio.CancelledError:
            if self._until[task] != TIMED_OUT:
                raise
            if sys.version_info >= (3, 11):
                task.uncancel()
            raise Refused(408, f"{conn_id}: the body took longer than {BODY_TIMEOUT:g} s", CLOSE) from None
        finally:
            del self._until[task]

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, until in self._until.items():
            if TIMED_OUT < until < now:
                self._until[task] = TIMED_OUT
                task.cancel()
        self._sweeping = bool(self._until)
        if self._sweeping:
            loop.call_later(BODY_TIMEOUT / 10, self._sweep, loop)


async def _whole(conn_id: str, receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, f"{conn_id}: the sender hung up")
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise Refused(413, f"{conn_id}: more than {LARGEST_BODY} bytes", CLOSE)
        if not message.get("more_body"):
            return body


def _rest(scope: Scope) -> str:
    """The path below the mount point of this app. The path of ``[api] base_url`` precedes it, unless a proxy strips that."""
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
        order_id, reference, status = sender.vendor.read_webhook(admit(load_json(body), body, sender.vendor.account.redact))
    except UnreadableBody as error:
        raise Refused(400, f"{sender.conn_id}: {error}") from None
    if len(order_id) > 200 or len(reference or "") > 200 or len(status) > 100:
        raise Refused(400, f"{sender.conn_id}: an id is too long")
    said = f"{order_id}{reference}{status}"
    if ALTERED in said or not said.isprintable():  # the gate changed it, or the database would refuse its whole group
        raise Refused(400, f"{sender.conn_id}: an id has unprintable characters")
    return Hint(digest_of(sender.wallet, body), sender.conn_id, sender.wallet, order_id, reference or None, status)


def _retry_after(seconds: float) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"retry-after", str(max(1, round(seconds))).encode()),)


class Bucket:
    """A token bucket: ``rate`` webhooks a second pass, and ``burst`` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic):
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = burst, clock()

    def take(self) -> float:
        """0 if the next webhook may pass, else the seconds until then."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0


class Writer:
    """Commits webhooks in groups: the next group gathers during the commit of one. It also prunes old webhooks once a day."""

    def __init__(self, inbox: Callable[[], Inbox], retention: float):
        self._open = inbox
        self._opened: Inbox | None = None
        self._gathered: list[tuple[Hint, asyncio.Future[None]]] = []
        self._more = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run()), loop.create_task(keep_pruned(self._inbox, retention))]

    async def keep(self, hint: Hint) -> None:
        """Return as soon as the webhook is durable.

        :raises Refused: 503 for a failed commit, so the vendor repeats the webhook.
        """
        if len(self._gathered) >= MOST_WAITING:
            raise Refused(503, "too many webhooks wait for the ledger", _retry_after(1))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gathered.append((hint, done))
        self._more.set()
        try:
            await done
        except LedgerError as error:
            raise Refused(503, f"storing it failed: {error}", _retry_after(5)) from None

    async def close(self) -> None:
        """Stop writing and pruning."""
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
            except Exception as unexpected:  # a fault of ours: the vendor must repeat the group
                log.exception("Writing webhooks to the inbox failed")
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
