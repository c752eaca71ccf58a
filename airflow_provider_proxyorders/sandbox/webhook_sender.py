"""Sends Voodoo's webhooks as documented (/webhooks): compact JSON with sorted keys, signed; only 200 counts; a few tries apart.

On demand it misbehaves, in turn or always: ``doubled``, ``delayed`` (by the settings' ``delay``), ``held`` (sent after the next
one), ``forged`` (signed with another secret), ``altered`` (a byte changed after signing), ``never``.
"""

from __future__ import annotations

import http.client
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_proxyorders.domain.exact_json import dump_json, exact
from airflow_provider_proxyorders.wire.signatures import Scheme

MODES = ("normal", "doubled", "delayed", "held", "forged", "altered", "never")


@dataclass(frozen=True)
class Attempt:
    """One try to deliver.

    :param status: of the answer, None where there was none.
    :param at: unix seconds when it was sent.
    """

    order_id: str
    mode: str
    status: int | None
    at: float


@dataclass
class Settings:
    """Where and how to deliver.

    :param url: of the receiver, with the connection in its path.
    :param tries: in all; the documentation says up to 3.
    :param gap: seconds between tries; the documentation says 60.
    :param modes: worked off in turn, one a delivery; the last one stays.
    :param delay: seconds for ``delayed``.
    """

    url: str
    secret: str = field(repr=False)
    tries: int = 3
    gap: float = 60.0
    modes: Sequence[str] = ("normal",)
    delay: float = 1.0

    def __post_init__(self) -> None:
        unknown = [mode for mode in self.modes if mode not in MODES]
        if unknown or not self.modes:
            raise ValueError(f"a mode is one of {', '.join(MODES)}; got {unknown}")


class WebhookSender:
    """Delivers in threads of its own, so that a slow receiver holds up neither the vendor nor other deliveries."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self._settings: Settings | None = None
        self._modes: list[str] = []
        self._held: list[tuple[Settings, str, bytes]] = []
        self._queue: queue.SimpleQueue[tuple[Settings, str, str, bytes]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def use(self, settings: Mapping[str, Any] | None) -> None:
        """Deliver from now on; ``None`` ends it.

        :raises ValueError: for invalid settings.
        """
        raw = dict(settings or {})
        plain: dict[str, Any] = {name: float(value) if name in ("gap", "delay") else value for name, value in raw.items()}
        with self._lock:
            try:
                self._settings = Settings(**plain) if plain else None
            except TypeError as error:
                raise ValueError(str(error)) from None
            self._modes = list(self._settings.modes) if self._settings else []
            self._held.clear()
        while self._settings is not None and len(self._threads) < 4:
            thread = threading.Thread(target=self._work, name="sandbox courier", daemon=True)
            self._threads.append(thread)
            thread.start()

    def order_ended(self, order: Mapping[str, Any]) -> None:
        """Report the end of an order, given as the vendor's order object; returns at once."""
        with self._lock:
            settings = self._settings
            if settings is None:
                return
            mode = self._modes.pop(0) if len(self._modes) > 1 else self._modes[0]
            body, order_id = payload(order), str(order["id"])
            if mode == "held":
                self._held.append((settings, order_id, body))
                return
            if mode != "never":
                self._queue.put((settings, order_id, mode, body))
            for earlier, earlier_id, earlier_body in self._held:
                self._queue.put((earlier, earlier_id, "delayed", earlier_body))
            self._held.clear()

    def _work(self) -> None:
        while True:
            settings, order_id, mode, body = self._queue.get()
            if mode == "delayed":
                time.sleep(settings.delay)
            for _ in range(2 if mode == "doubled" else 1):
                self._deliver(settings, order_id, mode, body)

    def _deliver(self, settings: Settings, order_id: str, mode: str, body: bytes) -> None:
        secret = "not-the-secret" if mode == "forged" else settings.secret
        headers = {"Content-Type": "application/json", **Scheme().sign(body, secret)}
        sent = body[:-1] + b" " if mode == "altered" else body
        for number in range(settings.tries):
            if number:
                time.sleep(settings.gap)
            at, status = time.time(), post(settings.url, sent, headers)
            with self._lock:
                self.attempts.append(Attempt(order_id, mode, status, at))
            if status == 200:
                return


def payload(order: Mapping[str, Any]) -> bytes:
    """The documented body of a webhook: the order with other names for three fields and without three others."""
    names = {"id": "order_id", "item": "item_id", "price": "total_price"}
    left_out = ("item_product_type", "source", "created_by")
    return dump_json(exact({names.get(key, key): value for key, value in order.items() if key not in left_out})).encode()


def post(url: str, body: bytes, headers: Mapping[str, str], timeout: float = 30.0) -> int | None:
    """Send one request to this machine, without following redirects, as documented.

    :raises ValueError: for an address outside of this machine.
    """
    parts = urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError(f"the sandbox delivers to this machine only, got {parts.hostname}")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)
    try:
        connection.request("POST", parts.path or "/", body, dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
