"""What a seed is about: vendors, wallets, limits, tasks and the weather.

Four kinds of seeds. ``plain``: everything that a careful vendor and a careful network can do; all promises are checked. The
others leave a promise's stated conditions, so what they break is counted apart: ``late`` (the vendor takes a request, or a
frozen worker sends it, after its settle time), ``clocks`` (the hosts' clocks jump), ``foreign`` (somebody else buys
from the same wallet).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from decimal import Decimal
from random import Random
from typing import Any, Literal

from airflow_provider_proxyorders.domain.account import Caps
from tests.vendors import EXTENSIONS, NAMES, ROWS, VENDORS, Goods

Kind = Literal["plain", "late", "clocks", "foreign"]

#: Bodies to buy with, and what they cost in the sandbox; the first is the usual one.
GOODS: Mapping[str, Goods] = {name: row.goods for name, row in ROWS.items()}
#: How an order can end badly, in each vendor's words.
BAD_ENDS: Mapping[str, tuple[str, ...]] = {name: tuple(row.bad_ends) for name, row in ROWS.items()}
#: Vendors as often as they are drawn.
DRAWN = tuple(name for name in NAMES for _ in range(ROWS[name].simulated))


@dataclass(frozen=True)
class Weather:
    """How bad it is; rates are chances at each opportunity.

    :param until: unix seconds after which nothing goes wrong any more.
    :param lost: a purchase meets a fault.
    :param late: how long after its sender gave up a purchase may still be taken, in seconds.
    :param settled: how long the promises allow for that.
    :param unread: a reading call meets a fault.
    :param outages: from when until when no reading call works.
    :param killed: a worker is killed at a switch point.
    :param frozen: a worker is held up at a switch point, for ``freezes`` seconds at most.
    :param suspended: of the frozen ones, those whose monotonic clock stands still meanwhile.
    :param unwritten: a call of the ledger fails, before or after its commit.
    :param wire_freezes: whether a worker can be held up between its last check and the first byte.
    :param jumps: how far a host's clock can jump, in seconds.
    :param misnamed: the answer to a purchase names another order.
    :param refused: a purchase is taken, and a copy of it that an inner proxy made is refused.
    :param overcharged: a purchase is charged above its cap.
    :param slow: a purchase waits long for its connection, perhaps on a machine that is suspended meanwhile.
    :param cut: a read's answer has no length and is cut short.
    :param blank: whether one read of the run shows no order at all.
    """

    until: float
    lost: float = 0.0
    late: float = 0.0
    settled: float = 0.0
    unread: float = 0.0
    outages: tuple[tuple[float, float], ...] = ()
    killed: float = 0.0
    frozen: float = 0.0
    freezes: float = 0.0
    suspended: float = 0.0
    unwritten: float = 0.0
    wire_freezes: bool = False
    jumps: float = 0.0
    misnamed: float = 0.0
    refused: float = 0.0
    overcharged: float = 0.0
    slow: float = 0.0
    cut: float = 0.0
    blank: bool = False

    def out(self, now: float) -> bool:
        return any(begin <= now <= end for begin, end in self.outages)


@dataclass(frozen=True)
class Wish:
    """One task: what it buys, from which wallet, when it starts.

    :param key: None for an extension with the default key, made from the expiry that is being extended.
    :param starts: seconds after the start of the run.
    """

    name: str
    vendor: str
    wallet: str
    kind: Literal["create", "extend"]
    key: str | None
    request: Mapping[str, Any]
    target: str | None
    starts: float
    conflicting: bool = False


@dataclass
class Scenario:
    """A whole seed.

    :param start: unix seconds.
    :param settle: the connection's setting, in seconds; None: the vendor's default.
    :param hidden: see :class:`~tests.simulation.market.Market`.
    :param fenced: whether Airflow's own fence stops tries that it has replaced.
    :param foreign: purchases by somebody else: seconds after the start, wallet, number of the goods.
    :param audits: when ledger and vendor are compared, in seconds after the start.
    :param webhooks: whether Voodoo's webhooks are set up.
    :param dear: when the vendor raises its prices beyond the caps, in seconds after the start; 0 = never.
    :param unattended: whether nobody waits for what is bought.
    :param off: how far the vendor's clock is ahead, in seconds.
    """

    seed: int
    kind: Kind
    vendor: str
    start: float
    weather: Weather
    wishes: list[Wish]
    wallets: dict[str, Decimal]
    caps: Caps
    zone: str = "UTC"
    settle: float | None = 60.0
    timeout: float = 30.0
    hidden: float = 0.0
    lagging: float = 0.0
    processing: float = 5.0
    extend_processing: float = 0.0
    bad_ends: float = 0.0
    pace: float | None = None
    fenced: bool = False
    skew: float = 0.0
    clears: float = 0.0
    top_ups: list[tuple[float, str, Decimal]] = field(default_factory=list)
    foreign: list[tuple[float, str, int]] = field(default_factory=list)
    targets: list[tuple[str, str]] = field(default_factory=list)
    audits: list[float] = field(default_factory=list)
    webhooks: bool = False
    dear: float = 0.0
    unattended: bool = False
    off: float = 0.0

    @property
    def surprising(self) -> bool:
        """Whether the vendor charges more than it said."""
        return bool(self.dear or self.weather.overcharged)


def kind_of(seed: int) -> Kind:
    """Twelve of sixteen seeds are plain."""
    apart: Mapping[int, Kind] = {3: "late", 7: "foreign", 11: "clocks", 15: "late"}
    return apart.get(seed % 16, "plain")


def draw(seed: int) -> tuple[Scenario, Random]:
    """The scenario of a seed, and the chance that everything after it is drawn from."""
    chance = Random(seed)
    kind = kind_of(seed)
    vendor = chance.choice(DRAWN)
    zone = chance.choice(("UTC", "America/New_York", "Asia/Kolkata"))
    start = datetime(2031, 3, 5, tzinfo=timezone.utc).timestamp() + chance.choice((0.0, 4.9, 12.0, 18.4, 23.9)) * 3600
    settle, timeout = chance.choice((10.0, 60.0, 60.0, 200.0)), chance.choice((5.0, 30.0))
    hidden = chance.choice((0.0, 0.0, 0.0, 0.4, 0.8)) * (settle - 5)
    extend_processing = chance.choice((0.0, 0.0, 0.5)) * (settle - 5)
    if hidden + extend_processing > 0.8 * (settle - 5):  # an extension shows after both
        extend_processing = 0.0
    lagging = hidden if chance.random() < 0.3 else 0.0
    wallets = {"main": Decimal(1000)}
    if not lagging and chance.random() < 0.2:
        wallets["second"] = Decimal(1000)
    if chance.random() < 0.2:
        wallets = {name: chance.choice((Decimal("0.10"), Decimal(7), Decimal(13))) for name in wallets}
    usual = GOODS[vendor][0][1]
    scenario = Scenario(
        seed=seed,
        kind=kind,
        vendor=vendor,
        start=start,
        weather=_weather(chance, kind, start, settle, hidden + extend_processing),
        wishes=[],
        wallets=wallets,
        caps=_caps(chance, usual, wallets),
        zone=zone,
        settle=settle,
        timeout=timeout,
        hidden=hidden,
        lagging=lagging,
        processing=chance.choice((0.5, 5.0, 40.0, 400.0)),
        extend_processing=extend_processing,
        bad_ends=chance.choice((0.0, 0.0, 0.3)),
        pace=chance.choice((None, None, None, 1.0, 0.05)),
        fenced=chance.random() < 0.5,
        skew=chance.choice((0.0, 0.0, 1.0)),
        clears=chance.choice((0.0, 0.0, 0.2)),
    )
    if vendor in EXTENSIONS:
        scenario.targets = [(f"70{n + 1:02}", chance.choice(list(wallets))) for n in range(chance.choice((0, 0, 1, 2)))]
    scenario.wishes = _wishes(chance, scenario)
    _others(chance, scenario)
    _second_round(Random(f"second round of {seed}"), scenario)
    return scenario, chance


def _second_round(chance: Random, scenario: Scenario) -> None:
    """What vendors, networks and proxies do beyond losing answers; drawn apart, in two of three seeds."""
    if chance.random() < 0.34:
        return
    plain = scenario.kind == "plain"
    assert scenario.settle is not None
    if plain and not scenario.hidden and chance.random() < 0.3:
        scenario.lagging = 0.5 * (scenario.settle - 5)
        scenario.weather = replace(scenario.weather, late=min(scenario.weather.late, scenario.settle - scenario.lagging - 4.0))
    scenario.weather = replace(
        scenario.weather,
        misnamed=chance.choice((0.0, 0.0, 0.2, 0.5)),
        refused=chance.choice((0.0, 0.0, 0.2, 0.5)),
        overcharged=chance.choice((0.0, 0.5)) if plain and chance.random() < 0.1 else 0.0,
        slow=chance.choice((0.0, 0.2)),
        cut=chance.choice((0.0, 0.2)),
        blank=chance.random() < 0.2,
        jumps=6 * 3600.0 if scenario.kind == "clocks" and chance.random() < 0.3 else scenario.weather.jumps,
    )
    scenario.off = chance.choice((0.0, 0.0, -600.0, 600.0))
    scenario.unattended = chance.random() < (0.5 if scenario.surprising else 0.1)
    if scenario.surprising and not scenario.audits:
        scenario.audits = [0.0]


def _weather(chance: Random, kind: Kind, start: float, settle: float, behind: float) -> Weather:
    # What is taken late must still show up within the settle time, also by clocks that are a second apart.
    late = max(0.0, settle - behind - 4.0)
    outages: tuple[tuple[float, float], ...] = ()
    if chance.random() < 0.2:
        begin = start + chance.random() * 300
        outages = ((begin, begin + chance.choice((60.0, 900.0))),)
    return Weather(
        until=start + chance.choice((600.0, 3600.0)),
        lost=chance.choice((0.0, 0.3, 0.6, 0.9)),
        late=late + (chance.choice((100.0, 3600.0)) if kind == "late" else 0.0),
        settled=late,
        unread=chance.choice((0.0, 0.0, 0.05, 0.25)),
        outages=outages,
        killed=chance.choice((0.0, 0.01, 0.05)),
        frozen=chance.choice((0.0, 0.0, 0.02)),
        freezes=chance.choice((20.0, 200.0, 4000.0)),
        suspended=chance.choice((0.0, 0.5)),
        unwritten=chance.choice((0.0, 0.0, 0.0, 0.03)),
        wire_freezes=kind == "late",
        jumps=chance.choice((30.0, 600.0)) if kind == "clocks" else 0.0,
    )


def _caps(chance: Random, usual: Decimal, wallets: Mapping[str, Decimal]) -> Caps:
    most = max(usual, Decimal(6)) + chance.choice((Decimal(0), Decimal(3)))
    least = None
    if chance.random() < 0.25:
        least = chance.choice((Decimal(1), min(wallets.values()) - chance.choice((1, 2)) * usual))
    return Caps(
        max_order_price=max(most, usual),
        daily_limit=chance.choice((None, None, max(most, usual) * 2)),
        monthly_limit=chance.choice((None, None, None, max(most, usual) * 3)),
        min_balance=least if least is None or least > 0 else Decimal(0),
    )


def _wishes(chance: Random, scenario: Scenario) -> list[Wish]:
    wishes: list[Wish] = []
    spread = chance.choice((0.0, 2.0, 100.0, 600.0))

    def wish(
        kind: Literal["create", "extend"], key: str | None, request: Mapping[str, Any], target: str | None, wallet: str
    ) -> Wish:
        made = Wish(f"{'abcdefghij'[len(wishes)]}", scenario.vendor, wallet, kind, key, request, target, chance.random() * spread)
        wishes.append(made)
        return made

    goods = GOODS[scenario.vendor]
    same = chance.random() < 0.7
    for number in range(chance.choice((1, 2, 2, 3)) if not scenario.targets else chance.choice((0, 1, 2))):
        request, _ = goods[0] if same else chance.choice(goods)
        wallet = chance.choice(list(scenario.wallets))
        for _ in range(chance.choice((1, 1, 2))):
            wish("create", f"order-{number}", request, None, wallet)
        if chance.random() < 0.05:
            other = next(body for body, _ in goods if body is not request)
            first = wish("create", f"order-{number}", other, None, wallet)
            wishes[-1] = Wish(**{**first.__dict__, "conflicting": True, "starts": 900.0})
    for target, wallet in scenario.targets:
        named = chance.random() < 0.5
        for number in range(chance.choice((1, 2, 2))):
            key = f"extension-of-{target}-{chance.choice((0, number))}" if named else None
            wish("extend", key, EXTENSIONS[scenario.vendor].body, target, wallet)
    return wishes


def _others(chance: Random, scenario: Scenario) -> None:
    """What happens to the wallets beside our tasks."""
    if chance.random() < 0.25:
        for _ in range(chance.choice((1, 2))):
            amount = chance.choice((Decimal("0.20"), Decimal(50)))
            scenario.top_ups.append((chance.random() * 900, chance.choice(list(scenario.wallets)), amount))
    scenario.webhooks = VENDORS[scenario.vendor].webhook is not None and chance.random() < 0.5
    if chance.random() < 0.3 or scenario.kind == "foreign":
        scenario.audits = [0.0, *(chance.random() * 2000 for _ in range(chance.choice((0, 1, 2))))]
    if scenario.kind == "plain" and not VENDORS[scenario.vendor].capabilities.quote_create and chance.random() < 0.1:
        scenario.dear = chance.random() * 200
    if scenario.kind == "foreign":
        for _ in range(chance.choice((1, 2, 3))):
            number = chance.randrange(len(GOODS[scenario.vendor]))
            scenario.foreign.append((10 + chance.random() * 300, chance.choice(list(scenario.wallets)), number))
