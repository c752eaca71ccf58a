"""What one seed means: wallets, limits, tasks, and how hard the storm blows.

Two rules: a plan is drawn from its seed alone, so a run can be told again; and nothing is drawn that ``docs/guarantees.md`` does
not allow: an order is taken at most :data:`EDGE` after it was sent, and a read shows it at most :data:`LAG` after it is ready.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

#: How many times as long everything takes, for a machine that is busy with other things.
PACE = float(os.environ.get("ADVERSARY_PACE", "1"))
#: Seconds, the connection's ``timeout``.
TIMEOUT = 0.4 * PACE
#: Seconds after which the vendor's edge gives a purchase up; until then it may still be taken.
EDGE = 0.7 * PACE
#: Seconds a new order takes at most until it is ready.
READY = 0.3 * PACE
#: Seconds by which a read is behind at most.
LAG = 0.6 * PACE
#: Seconds, the connection's ``settle``: edge, preparation and lag, and what a busy machine adds.
SETTLE = 2.2 * PACE

PRODUCT, PLAN, LONG_PLAN = 9, 22, 23
#: Price list: of IPRoyal's plans a proxy, and of Voodoo's items.
PLAN_PRICES = {PLAN: Decimal("3.00"), LONG_PLAN: Decimal("5.50")}
PLACES = {77: "Netherlands", 78: "Germany"}
ITEM_PRICES = {5120: Decimal("4.50"), 6001: Decimal("1.00")}
POOL_PRICE, GIGABYTE_PRICE = Decimal("0.05"), Decimal("3.00")
#: PROXY6: one proxy for a day, by version.
DAY_PRICES = {6: Decimal("0.05"), 4: Decimal("0.10")}

BODIES: Mapping[str, Sequence[tuple[Mapping[str, Any], Decimal]]] = {
    "iproyal": (
        ({"product_id": PRODUCT, "product_plan_id": PLAN, "product_location_id": 77, "quantity": 2}, Decimal("6.00")),
        ({"product_id": PRODUCT, "product_plan_id": PLAN, "product_location_id": 78, "quantity": 2}, Decimal("6.00")),
        ({"product_id": PRODUCT, "product_plan_id": LONG_PLAN, "product_location_id": 77, "quantity": 1}, Decimal("5.50")),
    ),
    "proxyscrape": (
        ({"type": "new_datacenter_shared", "country": "Malta", "days": 30, "proxies[us]": 100, "bandwidth": 0}, Decimal("5.00")),
        ({"type": "new_datacenter_shared", "country": "Malta", "days": 30, "proxies[de]": 80, "bandwidth": 0}, Decimal("4.00")),
        ({"type": "new_residential", "country": "Malta", "bandwidth": 2, "duration": "30d"}, Decimal("6.00")),
    ),
    "voodoo": (
        ({"item_id": 5120, "quantity": 2}, Decimal("9.00")),
        ({"item_id": 6001, "quantity": 5, "fields": {"player_id": "A-1", "region": 4}}, Decimal("5.00")),
    ),
    "proxy6": (
        ({"count": 2, "period": 30, "country": "nl", "version": 6}, Decimal("3.00")),
        ({"count": 2, "period": 30, "country": "pl", "version": 6}, Decimal("3.00")),
        ({"count": 1, "period": 7, "country": "nl", "version": 4}, Decimal("0.70")),
    ),
}
#: An extension of an order that was there before, at the vendors that extend.
EXTENSIONS: Mapping[str, tuple[Mapping[str, Any], Decimal]] = {
    "iproyal": ({"product_plan_id": PLAN}, Decimal("6.00")),
    "proxy6": ({"period": 30}, Decimal("3.00")),
}
#: How often each vendor is drawn. The seeds before the first new one keep the plans that they always had.
VENDORS = ("iproyal", "iproyal", "iproyal", "proxyscrape", "proxyscrape", "voodoo")
FIRST_NEW_SEED = 1000
ALL_VENDORS = (*VENDORS, "proxy6", "proxy6", "proxy6")


@dataclass(frozen=True)
class Wallet:
    """One account at a vendor.

    :param conns: the connections that pay from it, with the wallet's name in the extra of each ("" = none).
    :param targets: orders that were there before, to be extended.
    """

    vendor: str
    secret: str
    balance: Decimal
    conns: tuple[tuple[str, str], ...]
    max_order_price: Decimal
    daily_limit: Decimal | None = None
    min_balance: Decimal | None = None
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One order key, and when its task runs.

    :param starts: seconds from the beginning at which a run of the task begins, one for each DAG that uses the key.
    """

    key: str
    wallet: int
    conn_id: str
    kind: str
    body: Mapping[str, Any]
    price: Decimal
    starts: tuple[float, ...]
    target: str = ""


@dataclass(frozen=True)
class Storm:
    """How often what goes wrong; shares are between 0 and 1.

    :param lag: ``none``, ``fixed`` (every order shows after a time of its own), ``replica`` (every read is behind by another
        time) or ``longest`` (every read is behind by ``behind``).
    :param behind: seconds by which a read is behind at most.
    :param sleeps: for how many seconds a stopped process stands still, one of these.
    :param stops: tries whose process stands still right after SENT is written, before it looks at the clock.
    :param connect_stops: tries whose process stands still while it opens one of its connections.
    :param closing: the vendor ends a connection after each answer.
    :param vendor_clock: seconds by which the vendor's clock is ahead.
    :param reconciles: moments at which somebody reconciles the wallets.
    :param database: moments and seconds of trouble with the database.
    """

    spending: float
    reading: float
    kills: float
    freezes: float
    slow_connects: float
    clock_skew: float
    lag: str
    closing: bool
    floats: bool
    vendor_clock: float
    stops: float = 0.0
    connect_stops: float = 0.0
    behind: float = LAG
    sleeps: tuple[float, ...] = (0.5 * PACE, 2.0 * PACE, 5.0 * PACE)
    reconciles: tuple[float, ...] = ()
    database: tuple[tuple[float, float], ...] = ()


#: Nothing but what a scene brings.
CALM = Storm(
    spending=1.0,
    reading=0.0,
    kills=0.0,
    freezes=0.0,
    slow_connects=0.0,
    clock_skew=0.0,
    lag="none",
    closing=False,
    floats=False,
    vendor_clock=0.0,
)


@dataclass(frozen=True)
class Plan:
    """One run.

    :param unfreezes: after the storm a person lifts every freeze, and decides nothing else.
    :param faults: the only faults on purchases, none for all of them.
    :param scene: the guard whose scene this is, and ``without``: the guard that is removed.
    """

    seed: int
    database: str
    workers: int
    wallets: tuple[Wallet, ...]
    tasks: tuple[Task, ...]
    storm: Storm
    unfreezes: bool = False
    faults: tuple[str, ...] = ()
    scene: str = ""
    without: str = ""

    def __str__(self) -> str:
        shops = ", ".join(
            f"{wallet.vendor} {wallet.balance} (order {wallet.max_order_price}, day {wallet.daily_limit}, least "
            f"{wallet.min_balance}; {'/'.join(name for name, _ in wallet.conns)})"
            for wallet in self.wallets
        )
        return f"seed {self.seed}: {self.database}, {self.workers} workers, {len(self.tasks)} keys at {shops}; {self.storm}"

    def dice(self, *what: object) -> Random:
        """Dice for one question, the same whatever else was drawn before."""
        return Random("/".join(map(str, (self.seed, *what))))


def draw(seed: int, *, joined: bool = True, only: str | None = None, database: str | None = None) -> Plan:
    """The plan of a seed.

    :param joined: also draw accounts with two connections.
    :param only: the one vendor to draw, and ``database``: the one database.
    """
    dice = Random(f"{seed}/plan")
    vendors = (only,) if only else VENDORS if seed < FIRST_NEW_SEED else ALL_VENDORS
    wallets = tuple(_wallet(dice, number, joined, vendors) for number in range(dice.choice((1, 1, 1, 2, 2, 3))))
    tasks = _tasks(dice, wallets)
    calm_one = dice.random() < 0.1  # now and then a seed almost without trouble, to see that nothing is said of it
    storm = Storm(
        spending=0.02 if calm_one else dice.choice((0.2, 0.4, 0.7)),
        reading=0.0 if calm_one else dice.choice((0.0, 0.03, 0.1)),
        kills=0.0 if calm_one else dice.choice((0.0, 0.2, 0.5)),
        freezes=dice.choice((0.0, 0.0, 0.2)),
        slow_connects=dice.choice((0.0, 0.0, 0.15)),
        stops=dice.choice((0.0, 0.0, 0.15)),
        connect_stops=0.1 if Random(f"{seed}/connect stops").random() < 0.25 else 0.0,
        clock_skew=dice.choice((0.0, 0.0, 0.1, 21600.0)),
        lag=dice.choice(("none", "fixed", "replica")),
        closing=dice.random() < 0.3,
        floats=dice.random() < 0.3,
        vendor_clock=dice.choice((0.0, 0.0, -600.0, 300.0)),
        reconciles=tuple(dice.uniform(0.5, 6) for _ in range(dice.choice((0, 0, 1, 2)))),
        database=tuple((dice.uniform(0.2, 5), dice.uniform(0.2, 2)) for _ in range(dice.choice((0, 0, 1, 3)))),
    )
    return Plan(
        seed,
        database or dice.choice(("sqlite", "postgres")),
        dice.randint(2, 6),
        wallets,
        tasks,
        storm,
        unfreezes=dice.random() < 0.5,
    )


def secret(number: int) -> str:
    """The API key of a wallet."""
    return f"adversary-key-{number}-91c4"


def _wallet(dice: Random, number: int, joined: bool, vendors: Sequence[str]) -> Wallet:
    vendor = vendors[0] if len(vendors) == 1 else dice.choice(vendors)
    price = max(price for _, price in BODIES[vendor])
    names = [f"shop{number}"]
    if joined and dice.random() < 0.3:  # the second is the same environment variable, or another connection with the same key
        names.append(dice.choice((f"SHOP{number}", f"other{number}")))
    balance = dice.choice((Decimal("1000.00"), Decimal("468.25"), price * 9))
    named = f"w{number}" if len(names) == 1 and dice.random() < 0.3 else ""
    return Wallet(
        vendor=vendor,
        secret=secret(number),
        balance=balance,
        conns=tuple((name, named) for name in names),
        max_order_price=dice.choice((Decimal("10.00"), Decimal("25.00"))),
        daily_limit=dice.choice((None, None, Decimal("60.00"), Decimal("40.00"), Decimal("25.50"))),
        min_balance=dice.choice((None, None, balance - price * 4, balance - price * 2 - 1)),
        targets=tuple(str(7001 + each) for each in range(dice.randint(0, 2))) if vendor in EXTENSIONS else (),
    )


def _tasks(dice: Random, wallets: Sequence[Wallet]) -> tuple[Task, ...]:
    tasks = []
    alike = dice.random() < 0.5  # all keys ask for the same, so that their orders look alike
    for number in range(dice.randint(3, 7)):
        at = dice.randrange(len(wallets))
        wallet = wallets[at]
        target = dice.choice(wallet.targets) if wallet.targets and dice.random() < 0.4 else ""
        bodies = BODIES[wallet.vendor]
        body, price = EXTENSIONS[wallet.vendor] if target else bodies[0 if alike else dice.randrange(len(bodies))]
        starts = tuple(dice.uniform(0, 2.5) for _ in range(dice.choice((1, 1, 2, 3))))
        conn_id = dice.choice(wallet.conns)[0]
        tasks.append(Task(f"k{number}", at, conn_id, "extend" if target else "create", dict(body), price, starts, target))
    return tuple(tasks)
