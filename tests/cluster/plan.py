"""What a seed does: three waves of orders, each with one disturbance. Three seeds in a row, such as 0-2, play all nine."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.vendors import EXTENSIONS, NAMES, ROWS

#: disturbance -> what it is
DISTURBANCES: Mapping[str, str] = {
    "nothing": "nothing, to compare with",
    "task": "SIGKILL of two task processes",
    "supervisor": "SIGKILL of two supervisors of tasks (Celery's children)",
    "worker": "SIGKILL of a whole worker, back after 10 s",
    "triggerer": "SIGKILL of a triggerer, back after 20 s",
    "scheduler": "SIGKILL of a scheduler, back after 20 s",
    "broker": "SIGKILL of the broker, back empty after 8 s",
    "database": "PostgreSQL ends at once, back after 8 s",
    "several": "worker, broker and PostgreSQL within seconds",
}
#: the control, without this package
BY_HAND = "by_hand"
CREATING = ("create", "create_in_worker", "create_then_wait")
WAVES = 3
ORDERS = 12


@dataclass(frozen=True)
class Order:
    """One intended purchase.

    :param key: its order key.
    :param flow: the DAG that buys it.
    """

    key: str
    vendor: str
    flow: str

    @property
    def kind(self) -> str:
        return "extend" if self.flow == "extend" else "create"

    @property
    def request(self) -> Mapping[str, Any]:
        return EXTENSIONS[self.vendor].body if self.flow == "extend" else ROWS[self.vendor].request


@dataclass(frozen=True)
class Wave:
    """Orders that begin at once, and what happens to them.

    :param after: the disturbance comes when the vendors have received so many requests to buy.
    :param pause: seconds later.
    """

    disturbance: str
    orders: Sequence[Order]
    after: int
    pause: float
    seed: int


def waves(seed: int, disturbances: Sequence[str] = (), orders: int = ORDERS, *, by_hand: bool = False) -> list[Wave]:
    """The waves of a seed.

    :param disturbances: these in place of the seed's own.
    :param by_hand: plain tasks buy, as a control.
    """
    if not disturbances:
        shuffled = list(DISTURBANCES)
        random.Random(f"order {seed // WAVES}").shuffle(shuffled)
        begin = seed % WAVES * WAVES
        disturbances = shuffled[begin : begin + WAVES]
    return [_wave(seed, number, name, orders, by_hand) for number, name in enumerate(disturbances)]


def _wave(seed: int, number: int, disturbance: str, size: int, by_hand: bool) -> Wave:
    chance = random.Random(f"{seed} {number}")
    flows = [("extend", vendor) for vendor in sorted(EXTENSIONS)] + [("create", vendor) for vendor in NAMES]
    while len(flows) < size:
        flows.append((chance.choice(CREATING), chance.choice(NAMES)))
    chance.shuffle(flows)
    if by_hand:
        flows = [(BY_HAND, "iproyal")] * size
    orders = [Order(f"cluster-{seed}-{number}-{place}", vendor, flow) for place, (flow, vendor) in enumerate(flows)]
    return Wave(disturbance, orders, chance.randint(2, 5), chance.uniform(0.0, 1.5), chance.randrange(10**6))
