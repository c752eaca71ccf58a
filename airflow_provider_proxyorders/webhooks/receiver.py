"""The receiver: an ASGI app. The plugin mounts it in Airflow's API server; ``proxyorders webhooks serve`` runs it by itself.

Four rules. The signature is checked over the raw bytes, before anything parses them. A webhook is durable before the vendor gets
200, and exactly 200. The receiver answers without a call to the vendor. Status and time of an answer give an attacker no
information, and the log gives the operator all of it except secrets.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, load_json
from airflow_provider_proxyorders.domain.names import LONGEST_CONN_ID, LONGEST_ID, name_rule
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox, InboxFull, digest_of
from airflow_provider_proxyorders.ledger.pruning import keep_pruned
from airflow_provider_proxyorders.webhooks.refusals import RESULTS, RefusalLog, Refused
from airflow_provider_proxyorders.webhooks.senders import Busy, Sender, Senders, Unknown
from airflow_provider_proxyorders.wire.gate import ALTERED, admit, is_shallow
from airflow_provider_proxyorders.wire.signatures import BadSignature, OutsideTolerance

log = logging.getLogger(__name__)

#: Bytes of a body. The webhooks of every vendor are far smaller.
LARGEST_BODY = 64 * 1024
#: Seconds for one body to arrive.
BODY_TIMEOUT = 10.0
#: Seconds' worth of webhooks that one connection may send at once.
BURST = 4.0
#: Seconds until a wallet is asked for its webhooks again that were too many for one day.
NEXT_DAY = 3600.0
#: Webhooks that may wait for their commit. A further webhook gets 503, and its vendor repeats it.
MOST_WAITING = 10_000

#: An answer to an unproven sender leaves a multiple of so many seconds after its arrival. So its time does not tell whether the
#: connection exists, or was looked up.
REFUSAL_STEP = 0.25
#: Characters of the vendor's word: the ledger's column.
LONGEST_STATUS = 100
#: Headers of a webhook.
MOST_HEADERS = 100

#: The deadline of a body after its timeout.
TIMED_OUT = 0.0
CLOSE = ((b"connection", b"close"),)
NO_HEADERS: tuple[tuple[bytes, bytes], ...] = ()

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


def _count(result: str) -> None:
    """Count a webhook by its result. The answer never waits for that, and never fails for it."""
    try:
        _compat.incr("webhooks", {"result": result})
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
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._bodies = Bodies()
        self._log = RefusalLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        if scope["type"] != "http":
            return
        began, status, headers = time.monotonic(), 200, NO_HEADERS
        refusal = await self._refusal(scope, receive)
        if refusal is not None:
            self._log.add(refusal)
            status, headers = refusal.status, refusal.headers
            if refusal.unproven:
                if self._senders.crowded and status == 401:  # as a made-up name is answered meanwhile
                    status, headers = 503, _retry_after(5)
                await asyncio.sleep(REFUSAL_STEP - (time.monotonic() - began) % REFUSAL_STEP)
        _count(refusal.result if refusal else RESULTS[200])
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", b"text/plain"), (b"content-length", b"0"), *headers],
            }
        )
        await send({"type": "http.response.body", "body": b""})

    async def _refusal(self, scope: Scope, receive: Receive) -> Refused | None:
        """Receive a webhook; returns why it is refused, ``None`` for a stored one."""
        try:
            await self._receive(scope, receive)
        except Refused as refusal:
            return refusal
        except Exception as error:  # a mistake of ours. A server in debug mode would answer with it, and log its variables
            place = traceback.extract_tb(error.__traceback__)[-1]
            why = f"{type(error).__name__} in {place.name}, line {place.lineno}"
            return Refused(503, why, headers=_retry_after(5), unproven=True)
        return None

    async def _receive(self, scope: Scope, receive: Receive) -> None:
        conn_id = _rest(scope).strip("/")
        # it goes into the log; a database may find a name with blanks around it, too
        if not conn_id or "/" in conn_id or conn_id != conn_id.strip() or name_rule(conn_id, LONGEST_CONN_ID):
            raise Refused(404, "the path must name a connection")
        if scope["method"] != "POST":
            raise Refused(405, f"method {scope['method'][:10]!r}", headers=((b"allow", b"POST"),))
        if len(scope["headers"]) > MOST_HEADERS:
            raise Refused(431, f"more than {MOST_HEADERS} headers", headers=CLOSE)
        headers = _joined(scope["headers"])
        sender = await self._sender(conn_id)  # first, so that a flood of made-up names is refused unread
        body = await self._bodies.read(headers, receive)
        if isinstance(sender, Unknown):
            raise Refused(401, sender.why, detail=f" ({conn_id!r})", unproven=True, result="unknown_connection")
        try:
            _verify(sender, body, headers)
        except Refused:
            newest = await self._sender(conn_id, newest=True)
            if newest is sender or isinstance(newest, Unknown):
                raise
            sender = newest  # its secrets may have changed a moment ago
            _verify(sender, body, headers)
        sender = self._senders.note_proven(sender)
        hint = _hint(sender, body)
        self._keep_rate(sender)
        if self._writer is None:
            self._writer = Writer(self._open, self._retention)
        await self._writer.keep(hint)

    def _keep_rate(self, sender: Sender) -> None:
        """:raises Refused: the connection sends too many webhooks at once."""
        name = sender.conn_id, sender.wallet
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._rate, BURST * self._rate)
        if wait := bucket.take():
            raise Refused(429, f"more than {self._rate:g} webhooks a second", sender.conn_id, headers=_retry_after(wait))

    async def _sender(self, conn_id: str, *, newest: bool = False) -> Sender | Unknown:
        try:
            return await self._senders.find(conn_id, newest=newest)
        except Busy as busy:
            raise Refused(503, str(busy), headers=_retry_after(5), unproven=True) from None
        except Exception as error:  # any fault of the look-up: the vendor must repeat the webhook
            why = f"{type(error).__name__} at the look-up of a connection"
            raise Refused(503, why, detail=f" ({conn_id!r})", headers=_retry_after(5), unproven=True) from None

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

    async def read(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """The whole body.

        :raises Refused: as soon as the body is too large or too slow. The rest stays unread.
        """
        announced = headers.get("content-length", "")
        if announced and (not announced.isdecimal() or int(announced[:12]) > LARGEST_BODY):
            raise Refused(413, "a body of too many bytes", detail=f": {announced[:20]!r}", headers=CLOSE, unproven=True)
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        self._until[task] = loop.time() + BODY_TIMEOUT
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(BODY_TIMEOUT / 10, self._sweep, loop)
        try:
            return await _whole(receive)
        except asyncio.CancelledError:
            if self._until[task] != TIMED_OUT:
                raise
            if sys.version_info >= (3, 11):
                task.uncancel()
            raise Refused(408, f"the body took longer than {BODY_TIMEOUT:g} s", headers=CLOSE, unproven=True) from None
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


async def _whole(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the sender hung up", unproven=True)
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise Refused(413, f"a body of more than {LARGEST_BODY} bytes", headers=CLOSE, unproven=True)
        if not message.get("more_body"):
            return body


def _rest(scope: Scope) -> str:
    """The path below the mount point of this app. The path of ``[api] base_url`` precedes it, unless a proxy strips that."""
    path, root = scope["path"], scope.get("root_path", "")
    for mounted_at in (root, root.removeprefix(scope.get("app_root_path", ""))):
        if path.startswith(f"{mounted_at}/"):
            return str(path[len(mounted_at) :])
    return str(path)


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name. The values of a repeated one are joined with commas, so none of them is lost."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _verify(sender: Sender, body: bytes, headers: Mapping[str, str]) -> None:
    try:
        sender.scheme.verify(body, headers, sender.secrets, now=time.time())
    except OutsideTolerance as error:
        raise Refused(401, "the timestamp is too far off", sender.conn_id, detail=f": {error}", unproven=True) from None
    except BadSignature as error:
        raise Refused(401, str(error), sender.conn_id, unproven=True) from None


def _hint(sender: Sender, body: bytes) -> Hint:
    account = sender.vendor.account
    try:
        if not is_shallow(body):
            raise UnreadableBody("its lists and objects are nested too deep")
        order_id, reference, status = sender.vendor.read_webhook(admit(load_json(body), body, account.redact))
    except UnreadableBody as error:
        raise Refused(400, "its body is unreadable", sender.conn_id, detail=f": {error}") from None
    if len(status) > LONGEST_STATUS or ALTERED in f"{order_id}{reference}{status}":
        raise Refused(400, "a value of its body is too long, or was cut out", sender.conn_id)
    for text in (order_id, reference or "", status):
        if rule := name_rule(text, LONGEST_ID):
            raise Refused(400, f"a value of its body {rule}", sender.conn_id)
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

        :raises Refused: 503 for a failed commit, so the vendor repeats the webhook; 429 beyond the limit of a day.
        """
        if len(self._gathered) >= MOST_WAITING:
            raise Refused(503, "too many webhooks wait for the ledger", headers=_retry_after(1))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gathered.append((hint, done))
        self._more.set()
        try:
            await done
        except InboxFull as error:
            raise Refused(429, str(error), hint.conn_id, headers=_retry_after(NEXT_DAY)) from None
        except LedgerError as error:
            raise Refused(503, f"storing it failed: {error}", headers=_retry_after(5)) from None

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
            try:
                errors = await asyncio.to_thread(self._write, [hint for hint, _ in group])
            except LedgerError as failed:
                errors = [failed] * len(group)
            except Exception as unexpected:  # a fault of ours: the vendor must repeat the group
                log.exception("Writing webhooks to the inbox failed")
                errors = [LedgerError(type(unexpected).__name__)] * len(group)
            for (_, done), error in zip(group, errors, strict=True):
                if done.done():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

    def _write(self, hints: list[Hint]) -> Sequence[LedgerError | None]:
        return self._inbox().keep_each(hints)

    def _inbox(self) -> Inbox:
        if self._opened is None:
            self._opened = self._open()
        return self._opened
