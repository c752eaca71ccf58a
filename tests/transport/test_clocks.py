"""The clocks of vendor and worker are compared by ``Date``, to a second, and a large difference is said once."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import format_datetime

import pytest

from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Request

from .conftest import Naps, account
from .wires import Talk, answer, wire

NOW = 1_780_000_000.0
READ = Request("GET", "/thing")


def dated(unix: float) -> str:
    return f"Date: {format_datetime(datetime.fromtimestamp(unix, timezone.utc), usegmt=True)}\r\n"


def difference(naps: Naps, headers: str, *clock: float) -> float | None:
    """What one answer shows.

    :param clock: our clock when the exchange begins and when it ends.
    """

    def script(talk: Talk) -> None:
        talk.hear()
        talk.say(answer(headers=headers))

    times = iter(clock or (NOW, NOW))
    with wire(script) as server:
        http = Http(account(server.url), naps, clock=lambda: next(times))
        assert http.send(READ).ok
        return http.vendor_clock.difference


@pytest.mark.parametrize("ahead", [600.0, -600.0, 21_600.0, -21_600.0, 61.0, -61.0])
def test_the_difference_is_exact_to_a_second(naps: Naps, ahead: float) -> None:
    assert difference(naps, dated(NOW + ahead)) == pytest.approx(ahead, abs=1.0)


@pytest.mark.parametrize("moment", [0.0, 0.4, 30.0, 90.0])
def test_a_slow_answer_is_no_difference(naps: Naps, moment: float) -> None:
    assert difference(naps, dated(NOW + moment), NOW, NOW + 90.0) == 0


@pytest.mark.parametrize(
    "headers", ["", "Date: soon\r\n", "Date: Mon, 99 Foo 2030 00:00:00 GMT\r\n", "Age: 600\r\n" + dated(NOW - 600)]
)
def test_without_a_time_of_the_vendor_nothing_is_known(naps: Naps, headers: str) -> None:
    """What a cache kept carries the time at which it was made."""
    assert difference(naps, headers) is None


def test_the_last_answer_counts_and_a_large_difference_is_said_once(naps: Naps) -> None:
    ahead = iter([30.0, 600.0, 600.0, 0.0])

    def script(talk: Talk) -> None:
        while True:
            talk.hear()
            talk.say(answer(headers=dated(NOW + next(ahead))))

    said = []
    with wire(script) as server:
        http = Http(account(server.url), naps, clock=lambda: NOW)
        assert http.vendor_clock.warn_once() == ""
        for _ in range(4):
            http.send(READ)
            said.append(http.vendor_clock.warn_once())
    assert [bool(text) for text in said] == [False, True, False, False]
    assert "600 s behind that of somebody" in said[1]
    assert http.vendor_clock.difference == 0
