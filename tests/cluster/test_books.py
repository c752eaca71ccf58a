"""The judge of the cluster sees what is bought twice and what is lost, and a seed plays what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.model import TAKEN, Step

from .books import Result, judge, table
from .plan import DISTURBANCES, ORDERS, Order, waves

FIRST, SECOND = Order("k1", "proxyscrape", "create"), Order("k2", "proxyscrape", "create_in_worker")
LONGER = Order("k3", "iproyal", "extend")


@dataclass(frozen=True)
class Row:
    """What the judge reads of a purchase."""

    step: Step
    order_id: str | None

    @property
    def unresolved(self) -> bool:
        return self.step is Step.QUARANTINED


@dataclass(frozen=True)
class Entry:
    vendor: str
    kind: str
    order_id: str


def placed(order_id: str) -> Row:
    return Row(Step.DELIVERED, order_id)


def create(order_id: str) -> Entry:
    return Entry("proxyscrape", "create", order_id)


EXTENDED = Entry("iproyal", "extend", "8001")


def result(orders: Mapping[Order, Row | None], entries: Sequence[Entry]) -> Result:
    handles = {"proxyscrape": {"a1": "7001"}}
    return judge("task", orders, entries, handles=handles, targets={LONGER: "8001"})


@pytest.mark.parametrize(
    ("orders", "entries", "twice", "lost", "asked"),
    [
        ({FIRST: placed("7001"), SECOND: placed("7002")}, [create("7001"), create("7002")], 0, 0, 0),
        ({FIRST: placed("subaccount:a1")}, [create("7001")], 0, 0, 0),
        ({FIRST: placed("7001")}, [create("7001"), create("7002")], 1, 0, 0),
        ({LONGER: placed("8001")}, [EXTENDED, EXTENDED], 1, 0, 0),
        ({FIRST: placed("7001"), SECOND: None}, [create("7001"), create("7002")], 0, 1, 0),
        ({FIRST: placed("7001"), SECOND: placed("7001")}, [create("7001"), create("7002")], 0, 2, 0),
        ({FIRST: placed("7001")}, [], 0, 1, 0),
        ({FIRST: Row(Step.QUARANTINED, None)}, [create("7001")], 0, 0, 1),
        ({FIRST: Row(Step.REJECTED, None)}, [create("7001")], 0, 1, 0),
    ],
    ids=["well", "adopted", "twice", "extended twice", "lost", "one order for two", "not in the book", "asked", "said no"],
)
def test_the_judge_sees_it(orders: Any, entries: Any, twice: int, lost: int, asked: int) -> None:
    seen = result(orders, entries)
    assert (seen.twice, seen.lost, seen.asked) == (twice, lost, asked)
    assert seen.is_broken is bool(twice or lost or asked)
    assert Step.REJECTED not in TAKEN


def test_an_order_that_was_never_bought_is_wrong() -> None:
    assert result({FIRST: None}, []).is_broken


def test_the_table_adds_up() -> None:
    well = result({FIRST: placed("7001")}, [create("7001")])
    text = table([well, well], DISTURBANCES)
    assert f"| {DISTURBANCES['task']} | 2 | 2 | 2 | 0 | 0 |" in text and "| **all** | 2 | 2 | 2 |" in text


def test_three_seeds_play_each_disturbance_and_a_seed_plays_the_same_again() -> None:
    for first in (0, 3, 30):
        assert sorted(wave.disturbance for seed in range(first, first + 3) for wave in waves(seed)) == sorted(DISTURBANCES)
    assert waves(7) == waves(7) and waves(7) != waves(8)
    for wave in waves(5):
        assert len({order.key for order in wave.orders}) == ORDERS
        assert {order.vendor for order in wave.orders} == {"iproyal", "proxy6", "proxyscrape", "voodoo"}
