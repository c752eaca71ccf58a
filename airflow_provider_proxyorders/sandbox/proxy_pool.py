"""The proxies of delivered orders: logins for the sandbox's own forward proxy.

Two rules. A login works exactly as long as its order, checked at each use. Every proxy is ``127.0.0.1`` at the sandbox's own
port; the user name tells them apart.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HOST = "127.0.0.1"


@dataclass(frozen=True)
class ProxyBatch:
    """The proxies of one order.

    :param logins: user name and password of each.
    :param require_usable: whether the order is delivered and its term has not run out.
    """

    vendor: str
    wallet: str
    order_id: str
    logins: Sequence[tuple[str, str]]
    usable: Callable[[], bool]


class ProxyPool:
    """All lots, by the user names of their proxies. Every writer holds the lock of the sandbox's state."""

    def __init__(self) -> None:
        #: where the proxies listen; known once the server runs
        self.port = 0
        self._by_user: dict[str, tuple[str, ProxyBatch]] = {}

    def hand_out(self, batch: ProxyBatch) -> ProxyBatch:
        for user, password in batch.logins:
            self._by_user[user] = (password, batch)
        return batch

    def owner(self, authorization: str | None) -> tuple[ProxyBatch, str] | None:
        """The lot and the user name behind a ``Proxy-Authorization`` header; None when it opens nothing."""
        scheme, _, encoded = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        right, batch = self._by_user.get(user, ("", None))
        if batch is None or not hmac.compare_digest(right.encode(), password.encode()) or not batch.usable():
            return None
        return batch, user

    def forget(self, vendor: str) -> None:
        self._by_user = {user: kept for user, kept in self._by_user.items() if kept[1].vendor != vendor}
