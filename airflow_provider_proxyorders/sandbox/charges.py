"""What really happened at the pretended vendors: the side a test believes when it asks how often something was bought.

Two rules: every charge and refund is written here at the moment the wallet changes, and nothing else ever removes or
changes an entry. Tokens and passwords are not in it: a wallet appears by its name.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from airflow_provider_proxyorders.domain.secrets import masked

Kind = Literal["create", "extend", "auto_extend", "refund"]


@dataclass(frozen=True)
class Entry:
    """One movement of money.

    :param amount: major units as text, always positive; ``kind`` gives the direction.
    :param time: ISO, UTC, by the sandbox's clock.
    :param request: the body of its cause; ``None`` for renewals and refunds.
    :param reference: the buyer's own reference, if any.
    :param paid_by: ``balance``, or ``card`` for a purchase beside the wallet.
    """

    vendor: str
    wallet: str
    order_id: str
    kind: Kind
    amount: str
    time: str
    request: Any = None
    reference: str | None = None
    paid_by: str = "balance"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class ChargeBook:
    """All entries since the start or the last reset, and how often what was asked. Safe to read from any thread."""

    connections: int = 0
    _entries: list[Entry] = field(default_factory=list)
    _asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # -- reading --------------------------------------------------------------------------------------------------

    def orders(self, vendor: str | None = None) -> list[Entry]:
        """Every order taken, oldest first."""
        return [entry for entry in self.charges(vendor) if entry.kind == "create"]

    def charges(self, vendor: str | None = None) -> list[Entry]:
        """Every charge and refund, oldest first."""
        with self._lock:
            return [entry for entry in self._entries if vendor in (None, entry.vendor)]

    def count(self, vendor: str, operation: str | None = None) -> int:
        """How many requests of an operation arrived, answered or not; without ``operation`` those of the whole vendor."""
        with self._lock:
            return sum(n for (who, what), n in self._asked.items() if who == vendor and operation in (None, what))

    def as_dict(self, vendor: str | None = None) -> dict[str, Any]:
        """All of it as JSON can carry it."""
        counts: dict[str, dict[str, int]] = {}
        with self._lock:
            asked = dict(self._asked)
        for (who, what), number in sorted(asked.items()):
            if vendor in (None, who):
                counts.setdefault(who, {})[what] = number
        return {
            "orders": [entry.as_dict() for entry in self.orders(vendor)],
            "charges": [entry.as_dict() for entry in self.charges(vendor)],
            "counts": counts,
            "connections": self.connections,
        }

    # -- writing: the sandbox only --------------------------------------------------------------------------------

    def write(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)

    def saw(self, vendor: str, operation: str) -> None:
        with self._lock:
            self._asked[vendor, operation] += 1

    def forget(self, vendor: str | None = None) -> None:
        """Start anew, for one vendor or for all; connections are counted on."""
        with self._lock:
            self._entries = [entry for entry in self._entries if vendor not in (None, entry.vendor)]
            self._asked = Counter({key: n for key, n in self._asked.items() if vendor not in (None, key[0])})


def remembered(request: Mapping[str, Any] | None) -> Any:
    """A request as the book keeps it: secrets masked."""
    return None if request is None else masked(request)
