"""The rhythm of looks at a waiting order: young ones often, old ones rarely, and a vendor in trouble is left in peace."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    ConfigError,
    InsufficientFunds,
    OrderingNotPermitted,
    OrderNotFound,
    OutcomeUnknown,
    ProxyOrdersError,
    RequestRefused,
    Throttled,
    UnreadableAnswer,
    UnsupportedOperation,
    VendorUnavailable,
)
from airflow_provider_proxyorders.purchase.polling import LEAST_MISSES, LONGEST_TROUBLE, SHORTEST_MISS, PollIntervals
from airflow_provider_proxyorders.vendors.base import Polling

from .conftest import VENDORS

seconds = st.floats(0.1, 1e5)
rhythms = st.builds(
    lambda first, fastest, more: Polling(first=first, fastest=fastest, slowest=fastest + more),
    st.floats(0, 60),
    st.floats(0.5, 60),
    st.floats(0, 3600),
)
ages = st.floats(0, 1e7)
chances = st.floats(0, 1)
ceilings = st.one_of(st.none(), st.floats(0.05, 1e5))

PASSING: list[ProxyOrdersError] = [Throttled("slow down"), VendorUnavailable("away"), UnreadableAnswer("html")]
#: one read that did not show the order
MISS = OrderNotFound("404", status=404)
ENDING: list[ProxyOrdersError] = [
    AuthenticationFailed("401", status=401),
    OrderingNotPermitted("403", status=403),
    UnsupportedOperation("no such call"),
    ConfigError("wrong"),
    OutcomeUnknown("nobody knows"),
]


def pauses(rhythm: Polling, *, ceiling: float | None = None, settle: float = 30.0, chance: float = 0.5) -> PollIntervals:
    return PollIntervals(rhythm, ceiling, settle, chance=lambda: chance)


class TestWhileAllIsWell:
    @given(rhythms, ages, chances)
    @settings(deadline=None)
    def test_a_pause_is_a_tenth_of_the_age_within_the_vendors_rhythm(self, rhythm: Polling, age: float, chance: float) -> None:
        pause = pauses(rhythm, chance=chance).after_look(age)
        middle = min(max(rhythm.fastest, age / 10), rhythm.slowest)
        assert math.isclose(pause, middle * (0.9 + 0.2 * chance))

    @given(rhythms, ages, ages)
    @settings(deadline=None)
    def test_older_orders_are_never_looked_at_more_often(self, rhythm: Polling, earlier: float, later: float) -> None:
        waiting = pauses(rhythm)
        assert waiting.after_look(min(earlier, later)) <= waiting.after_look(max(earlier, later))

    @given(rhythms, ages, chances, st.floats(0.05, 1e5))
    @settings(deadline=None)
    def test_the_ceiling_is_never_passed(self, rhythm: Polling, age: float, chance: float, ceiling: float) -> None:
        waiting = pauses(rhythm, ceiling=ceiling, chance=chance)
        assert 0 < waiting.after_look(age) <= ceiling
        assert waiting.first() <= ceiling

    @given(rhythms, ages, ceilings)
    @settings(deadline=None)
    def test_many_orders_spread(self, rhythm: Polling, age: float, ceiling: float | None) -> None:
        least, most = (pauses(rhythm, ceiling=ceiling, chance=chance).after_look(age) for chance in (0.0, 1.0))
        assert most > least * 1.05

    @given(rhythms)
    def test_the_first_look_is_the_vendors(self, rhythm: Polling) -> None:
        assert pauses(rhythm).first() == rhythm.first

    def test_a_clock_that_went_back_is_survived(self) -> None:
        assert pauses(Polling(fastest=2.0)).after_look(-3600) == pytest.approx(2.0)

    def test_chance_is_chance_by_default(self) -> None:
        waiting = PollIntervals(Polling())
        assert len({waiting.after_look(0) for _ in range(20)}) > 1


class TestTrouble:
    @given(rhythms, ages, chances, st.lists(st.sampled_from(PASSING), min_size=1, max_size=40), ceilings)
    @settings(deadline=None)
    def test_everything_passing_is_waited_out(
        self, rhythm: Polling, age: float, chance: float, errors: list[ProxyOrdersError], ceiling: float | None
    ) -> None:
        waiting = pauses(rhythm, ceiling=ceiling, chance=chance)
        for error in errors:
            pause = waiting.after_trouble(error, age)
            assert pause is not None and 0 < pause <= LONGEST_TROUBLE

    @given(st.floats(0.5, 60), chances)
    @settings(deadline=None)
    def test_pauses_grow_and_then_stay(self, fastest: float, chance: float) -> None:
        waiting = pauses(Polling(fastest=fastest, slowest=60), chance=chance)
        growing = [waiting.after_trouble(VendorUnavailable(""), 0) or 0 for _ in range(40)]
        assert all(earlier <= later for earlier, later in pairwise(growing))
        assert growing[0] >= min(fastest, LONGEST_TROUBLE / 2)
        assert growing[-1] == pytest.approx(LONGEST_TROUBLE * (0.5 + 0.5 * chance))

    @given(st.integers(1, 30))
    def test_one_good_look_ends_the_trouble(self, times: int) -> None:
        waiting = pauses(Polling(fastest=2.0))
        first = waiting.after_trouble(VendorUnavailable(""), 0)
        for _ in range(times):
            waiting.after_trouble(VendorUnavailable(""), 0)
        waiting.after_look(0)
        assert waiting.after_trouble(VendorUnavailable(""), 0) == first

    @given(st.floats(0, 1e6), chances)
    def test_the_pause_that_is_asked_for_is_given(self, asked: float, chance: float) -> None:
        pause = pauses(Polling(), chance=chance).after_trouble(Throttled("", retry_after=asked), 0)
        assert pause is not None and pause >= asked

    def test_the_ceiling_does_not_hurry_a_vendor_that_asks_for_a_pause(self) -> None:
        assert pauses(Polling(), ceiling=1.0).after_trouble(Throttled("", retry_after=90.0), 0) == 90.0

    @pytest.mark.parametrize("error", ENDING, ids=lambda error: type(error).__name__)
    def test_what_cannot_change_ends_the_wait(self, error: ProxyOrdersError) -> None:
        assert pauses(Polling()).after_trouble(error, 0) is None

    @given(st.floats(0, 3600), st.floats(0, 1e7))
    def test_an_unknown_order_is_asked_for_again_for_the_settle_time(self, settle: float, age: float) -> None:
        """However old it is: a read of an old order may miss as well."""
        waiting = pauses(Polling(), settle=settle)
        looks, now = 0, age
        while (pause := waiting.after_trouble(MISS, now)) is not None:
            looks, now = looks + 1, now + pause
            assert SHORTEST_MISS <= pause <= 60
        assert looks + 1 >= LEAST_MISSES
        assert settle <= now - age + 1e-6 and now - age <= 1.5 * settle + LEAST_MISSES * SHORTEST_MISS + 1e-6

    @given(st.integers(0, LEAST_MISSES - 1))
    def test_too_few_misses_prove_nothing_however_far_apart(self, misses: int) -> None:
        waiting = pauses(Polling(), settle=1.0)
        assert all(waiting.after_trouble(MISS, 1000.0 * number) is not None for number in range(misses))

    def test_a_read_that_shows_it_starts_the_count_anew(self) -> None:
        waiting = pauses(Polling(), settle=1.0)
        for number in range(20):
            assert waiting.after_trouble(MISS, 10.0 * number) is not None
            assert waiting.after_trouble(MISS, 10.0 * number + 5) is not None
            waiting.after_look(10.0 * number + 6)

    def test_passing_trouble_is_no_miss_and_ends_none(self) -> None:
        waiting = pauses(Polling(), settle=1.0)
        for number in range(LEAST_MISSES - 1):
            assert waiting.after_trouble(MISS, number) is not None
            assert waiting.after_trouble(VendorUnavailable(""), number) is not None
        assert waiting.after_trouble(MISS, 10.0) is None

    @pytest.mark.parametrize("error", [MISS, RequestRefused("", status=410), InsufficientFunds("", status=402)])
    def test_a_refused_read_is_a_miss(self, error: ProxyOrdersError) -> None:
        assert pauses(Polling(), settle=1.0).after_trouble(error, 1e6) is not None


@pytest.mark.parametrize("name", sorted(VENDORS))
def test_the_vendors_rhythms_make_sense(name: str) -> None:
    polling = VENDORS[name].capabilities.polling
    assert 0 < polling.first <= polling.slowest
    assert 1 <= polling.fastest <= polling.slowest <= polling.timeout / 10


@pytest.mark.parametrize("name", sorted(VENDORS))
def test_a_day_of_waiting_is_a_bounded_number_of_looks(name: str) -> None:
    """P6: what one order costs the vendor in calls."""
    polling = VENDORS[name].capabilities.polling
    waiting, age, looks = PollIntervals(polling), 0.0, 0
    while age < 86400:
        age += waiting.after_look(age)
        looks += 1
    assert looks < 86400 / polling.slowest * 1.2 + 60
