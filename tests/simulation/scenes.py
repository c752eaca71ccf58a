"""Scenes: whole tasks in virtual time, with what becomes of each request written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from random import Random
from typing import Any

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.transport.connections import Departure
from tests.vendors import EXTENSIONS

from .clockwork import Worker
from .market import Asked
from .network import Answer, Fate, Network, Wire
from .run import Result, Run, play
from .scenario import GOODS, Scenario, Weather, Wish

START = datetime(2031, 3, 5, 12, tzinfo=timezone.utc).timestamp()
LOST = Fate(None, 1.0, "reset")
LOST_AFTER = Fate(0.1, 1.0, "reset")
USUAL = Fate(0.1, 0.2)


def odd(action: str, **options: Any) -> Fate:
    """An answer that comes, with a fault of the sandbox in it."""
    return Fate(0.1, 0.2, rules=[Rule(action=action, **options)])


class Script(Network):
    """:param fates: what becomes of each worker's purchases, in turn, and of its reads under ``worker operation``; everything
    else goes well.
    """

    fates: dict[str, list[Fate]]
    #: seconds for which a worker's first purchase waits for its connection on a machine that is suspended
    slow: dict[str, float]
    _operation = ""

    def carry(self, wire: Wire, worker: Worker, asked: Asked, departure: Departure | None = None) -> Answer:
        self._operation = self.market.operation(wire.account.vendor, asked)
        return super().carry(wire, worker, asked, departure)

    def connect(self, wire: Wire, worker: Worker) -> None:
        if waits := self.slow.pop(worker.name, 0.0):
            worker.suspended(waits)
            worker.pause(waits, "while it connects")

    def fate(self, wire: Wire, worker: Worker, spends: bool) -> Fate:
        fates = self.fates.get(worker.name if spends else f"{worker.name} {self._operation}", [])
        return fates.pop(0) if fates else USUAL


@dataclass
class Surroundings:
    """What a scene is beyond its tasks.

    :param held: seconds for which a worker is held up at the named point, the first time it comes there; None: SIGKILL.
    :param slow: see :class:`Script`.
    :param always: faults of every answer.
    :param balance: of the wallet.
    :param events: what happens so many seconds after the start.
    :param skews: how far the clock of a task's first worker is ahead, in seconds.
    :param connections: see :class:`Run`.
    """

    held: Mapping[tuple[str, str], float | None] = field(default_factory=dict)
    slow: Mapping[str, float] = field(default_factory=dict)
    always: Sequence[Rule] = ()
    balance: Decimal = Decimal(1000)
    events: Sequence[tuple[float, Callable[[Run], object]]] = ()
    skews: Mapping[str, float] = field(default_factory=dict)
    connections: Mapping[str, str] = field(default_factory=dict)


def scene(vendor: str, wishes: Sequence[Wish], fates: dict[str, list[Fate]], **options: Any) -> tuple[Run, Result]:
    """Play a scene to its end; options are those of :class:`Surroundings` and of a scenario."""
    around = Surroundings(**{name: options.pop(name) for name in list(options) if name in Surroundings.__dataclass_fields__})
    caps = options.pop("caps", Caps(max_order_price=Decimal(9)))
    weather = Weather(until=START)
    kind = options.pop("kind", "plain")
    scenario = Scenario(1, kind, vendor, START, weather, list(wishes), {"main": around.balance}, caps, **options)
    run = Run(scenario, Random(1))
    script = Script(run.market, weather, run.chance, lambda why: None)
    script.fates, script.slow, run.network = fates, dict(around.slow), script
    run.market.always = around.always
    if around.held:
        held = dict(around.held)
        run.mishap = lambda worker, point: held.pop((worker.name, point), 0.0)  # type: ignore[method-assign]
    run.skews, run.connections = dict(around.skews), dict(around.connections)
    for after, what in around.events:
        run.clockwork.after(after, lambda what=what: what(run))
    return run, play(run)


def create(name: str, vendor: str, starts: float = 0.0, key: str = "") -> Wish:
    return Wish(name, vendor, "main", "create", key or f"order-{name}", GOODS[vendor][0][0], None, starts)


def extend(name: str, key: str | None, starts: float = 0.0, target: str = "7001", vendor: str = "iproyal") -> Wish:
    return Wish(name, vendor, "main", "extend", key, EXTENSIONS[vendor].body, target, starts)


def kept(run: Run, result: Result) -> None:
    assert result.failures == [], "\n".join(result.log)
    assert not run.person.asked, "\n".join(result.log)


def seconds(line: str) -> float:
    """When a line of the log was written, in seconds after the start."""
    hours, minutes, seconds = line.split()[0].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
