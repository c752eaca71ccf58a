"""The order of the looks: each at its moment and once, all of them, and full calls for the same orders again."""

from __future__ import annotations

import random
from collections import deque

import pytest

from airflow_provider_proxyorders.triggers.schedule import PollSchedule

MOST = 100


@pytest.mark.parametrize("seed", range(20))
def test_against_a_plain_model(seed: int) -> None:
    """After any plans: every taken order is due, is taken once, and all due orders are taken."""
    chance, schedule, model, now = random.Random(seed), PollSchedule(), dict[str, float](), 0.0
    most = chance.choice((1, 2, 7, MOST))
    for _ in range(2000):
        some = [str(chance.randrange(300)) for _ in range(chance.choice((1, 1, 3, most)))]
        what = chance.random()
        if what < 0.5:
            moment = now + chance.choice((0.0, 0.5, 5.0, chance.random() * 10))
            schedule.plan([*dict.fromkeys(some)], moment)
            for order_id in some:
                model[order_id] = min(moment, model.get(order_id, float("inf")))
        elif what < 0.6:
            schedule.forget(some[0])
            model.pop(some[0], None)
        else:
            now += chance.random()
            due = {order_id for order_id, moment in model.items() if moment <= now}
            taken = schedule.take(now, most)
            assert len(taken) == len(set(taken)) <= most and set(taken) <= due and bool(taken) == bool(due)
            for order_id in taken:
                del model[order_id]
        assert schedule.next == min(model.values(), default=float("inf"))
    while taken := schedule.take(float("inf"), most):
        for order_id in taken:
            del model[order_id]
    assert not model and schedule.next == float("inf")


@pytest.mark.parametrize("many", [1003, 5001, 10_000])
@pytest.mark.parametrize("together", [0.5, float("inf")])
def test_full_calls_are_made_again_for_the_same_orders(many: int, together: float) -> None:
    """Orders come one by one; with one call more than is needed, each call soon asks for the orders that it asked for before.

    :param together: orders due within so many seconds join a call; infinity stands for a vendor after trouble, with all
        orders due at once.
    """
    chance, schedule, earlier_calls, asked = (
        random.Random(many),
        PollSchedule(),
        set[tuple[str, ...]](),
        dict[float, list[bool]](),
    )
    coming = deque(sorted((chance.random() * 30, str(number)) for number in range(many)))
    for tick in range(600):
        now = tick / 5
        while coming and coming[0][0] <= now:
            moment, order_id = coming.popleft()
            schedule.plan((order_id,), moment + 2)
        while schedule.next <= now:
            batch = schedule.take(now, MOST, together)
            asked.setdefault(now // 10, []).append(tuple(batch) in earlier_calls)
            earlier_calls.add(tuple(batch))
            schedule.plan(batch, now + 5 * (0.9 + 0.1 * chance.random()))
    last = asked[11.0]
    assert sum(last) >= 0.95 * len(last)
    assert len(last) * MOST <= 1.1 * many * 10 / (5 * 0.95) + MOST * 4
