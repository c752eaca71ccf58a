"""Guards to remove, one at a time, each with a scene in which the oracle must miss it.

Two rules: a removal takes away exactly one guard; and a scene is a plan like any other, with the trouble the guard is for, so
that a few seeds show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ..crash.guards import GUARDS as OF_CRASH_TESTS
from ..crash.guards import Patch
from .plan import PACE


@dataclass(frozen=True)
class Scene:
    """Where a guard is missed.

    :param kinds: of violations, one of which must be found.
    :param faults: on purchases, at every one that comes.
    :param storm: what else blows.
    :param limits: of the wallet, and other things of it.
    :param keys: how many order keys there are, and ``runs``: how many DAGs use each.
    :param answers: each key answers a question of the product in its own way. Their orders look alike all the same, so a key
        with the order of another one holds what it did not ask for.
    """

    vendor: str
    kinds: Sequence[str]
    faults: tuple[str, ...] = ()
    storm: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    keys: int = 2
    runs: int = 1
    answers: bool = False


def limits(patch: Patch) -> None:
    """What was spent is not compared with the limits of the wallet."""
    from airflow_provider_proxyorders.ledger import spending

    patch(spending, "check", lambda *args: None)


def not_shown(patch: Patch) -> None:
    """A balance counts as current, whatever was sent right before it was read."""
    from airflow_provider_proxyorders.ledger import evidence

    patch(evidence, "not_shown", lambda *args: (Decimal(0), Decimal(0)))


def account(patch: Patch) -> None:
    """A wallet is what a connection is called."""
    from airflow_provider_proxyorders.hooks import wallets

    patch(wallets, "resolve_wallet", lambda *args: None)


def connected(patch: Patch) -> None:
    """A purchase gets its permit first, and its connection afterwards, in whatever time that takes."""
    from airflow_provider_proxyorders.transport import connections

    OF_CRASH_TESTS["connected"](patch)
    patch(connections._Connection, "_seconds_left", lambda connection: connections.LONGEST_OPENING)


#: Longer than others need to prove that nothing was bought.
LONG_SLEEP = {"sleeps": (11.0 * PACE,)}
#: Reads are behind for nearly as long as ``settle`` allows.
FAR_BEHIND = {"lag": "longest", "behind": 1.9 * PACE}

SCENES: Mapping[str, Scene] = {
    "intent": Scene("iproyal", ["twice", "lost", "untouched"], ("killed after",)),
    "evidence": Scene("proxyscrape", ["twice", "lost", "untouched"], ("reset after", "silence after", "5xx after")),
    "settle": Scene("iproyal", ["twice", "untouched", "lost"], ("taken at the last moment",), keys=4),
    "held_up": Scene("iproyal", ["twice"], storm={"stops": 0.5, **LONG_SLEEP}, runs=2),
    "connected": Scene("iproyal", ["twice"], storm={"connect_stops": 1.0, "closing": True, **LONG_SLEEP}, runs=2, keys=3),
    "reservation": Scene(
        "voodoo",
        ["caps"],
        ("reset after", "5xx after"),
        FAR_BEHIND,
        {"daily_limit": Decimal("12.00"), "max_order_price": Decimal("10.00")},
        keys=6,
    ),
    "doubt": Scene("voodoo", ["untouched", "lost", "unsettled"], ("reset after", "5xx after")),
    "contradiction": Scene(
        "iproyal", ["wrong order", "lost"], ("names another order",), limits={"targets": ("7001", "7002")}, keys=1
    ),
    "missing": Scene("iproyal", ["lost", "untouched", "unsettled"], ("names no order",), keys=1),
    "refusal": Scene("iproyal", ["twice", "untouched", "lost"], ("refused after",), keys=1),
    "last_look": Scene("iproyal", ["twice", "lost", "untouched"], ("refused after",), FAR_BEHIND, runs=2),
    "limits": Scene("voodoo", ["caps"], limits={"daily_limit": Decimal("12.00"), "max_order_price": Decimal("10.00")}),
    "not_shown": Scene(
        "iproyal",
        ["caps"],
        storm=FAR_BEHIND,
        limits={"balance": Decimal("100.00"), "min_balance": Decimal("87.00")},
        keys=5,
    ),
    "account": Scene(
        "iproyal",
        ["caps"],
        limits={"conns": (("shop0", ""), ("other0", "")), "daily_limit": Decimal("13.00")},
        keys=6,
    ),
    "once": Scene("proxyscrape", ["twice"], ("reset after", "5xx after")),
    "turn": Scene("iproyal", ["wrong order", "lost", "twice"], ("reset before", "taken late"), keys=5, answers=True),
}

_OWN = {removal.__name__: removal for removal in (limits, not_shown, account, connected)}
GUARDS: Mapping[str, Callable[[Patch], None]] = {name: _OWN.get(name) or OF_CRASH_TESTS[name] for name in SCENES}
