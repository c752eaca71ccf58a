"""Exactly one observer gets a crossing into low or back, on both databases. A crossing without a confirmation comes back."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.levels import Levels, judge, plain
from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.ledger.alarms import Alarms, Crossing

W, N = "iproyal:main", "below 50"
NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def open_alarms(url: str) -> Alarms:
    return Alarms(open_ledger(url).engine)


@pytest.fixture
def alarms(ledger_url: str) -> Alarms:
    return open_alarms(ledger_url)


def at(alarms: Alarms, seconds: float) -> None:
    alarms.clock = lambda: NOW + timedelta(seconds=seconds)


def tell(alarms: Alarms, state: Any, balance: str = "1.00") -> Crossing | None:
    """A look by an observer that reports every crossing."""
    crossing = alarms.observe(W, N, state, balance=balance)
    if crossing is not None:
        alarms.confirm(crossing)
    return crossing


class TestLevels:
    @pytest.mark.parametrize(
        ("low", "recovered", "balance", "says"),
        [
            ("50", None, "49.999999", "low"),
            ("50", None, "50.00", None),  # at the level it is not low, and has not recovered
            ("50", None, "54.99", None),
            ("50", None, "55.00", "ok"),
            ("50", "80", "79", None),
            ("50", "50", "50", "ok"),
            ("0", None, "0.00", "low"),  # an empty wallet is low
            ("0", None, "-0.00", "low"),
            ("0", None, "0.01", "ok"),
            ("0", None, "-3.20", "low"),
            ("0", "10", "5", None),
            ("50", None, "-3.20", "low"),
            ("-50", None, "-49", None),  # may be overdrawn: recovers from -45 on
            ("-50", None, "-45", "ok"),
            ("-50", None, "0", "ok"),
            ("-50", None, "-50.01", "low"),
        ],
    )
    def test_what_a_balance_says(self, low: str, recovered: str | None, balance: str, says: str | None) -> None:
        levels = Levels.of(Decimal(low), Decimal(recovered) if recovered else None)
        assert judge(levels, Decimal(balance)) == says

    @pytest.mark.parametrize(
        ("balance", "covers", "says"),
        [
            ("100", True, "ok"),
            ("100", False, "low"),  # a full wallet that does not reach for what is due
            ("100", None, None),  # not known: nothing changes
            ("10", None, "low"),
            ("10", True, "low"),
            ("52", True, None),
        ],
    )
    def test_the_runway_counts_too(self, balance: str, covers: bool | None, says: str | None) -> None:
        assert judge(Levels.of(Decimal(50)), Decimal(balance), covers) == says

    def test_the_runway_alone(self) -> None:
        assert [judge(None, Decimal(5), covers) for covers in (True, False, None)] == ["ok", "low", None]

    def test_levels_in_the_wrong_order(self) -> None:
        with pytest.raises(ValueError, match="recovered_at 40 must not be below low_balance 50"):
            Levels.of(Decimal(50), Decimal(40))

    def test_one_form_of_an_amount(self) -> None:
        assert [plain(Decimal(t)) for t in ("50", "50.00", "5E+1", "0.00", "-0", "-1.50")] == ["50"] * 3 + ["0", "0", "-1.5"]


class TestCrossing:
    def test_into_low_once_and_back_once(self, alarms: Alarms) -> None:
        at(alarms, 0)
        assert tell(alarms, "ok") is None
        at(alarms, 10)
        low = tell(alarms, "low", "12.00 USD")
        assert low is not None
        assert (low.state, low.since, low.crossing, low.balance) == ("low", NOW + timedelta(seconds=10), 1, "12.00 USD")
        assert (low.again, low.missed, low.key) == (False, False, "iproyal:main/below 50#1")
        at(alarms, 5000)
        assert [tell(alarms, state) for state in ("low", None, "low")] == [None] * 3
        back = tell(alarms, "ok")
        assert back is not None and (back.state, back.crossing) == ("ok", 2)
        assert [tell(alarms, state) for state in ("ok", None)] == [None] * 2
        again = tell(alarms, "low")
        assert again is not None and again.key.endswith("#3")

    def test_a_wallet_that_is_low_at_the_first_look(self, alarms: Alarms) -> None:
        crossing = tell(alarms, "low")
        assert crossing is not None and crossing.crossing == 1

    def test_a_first_look_that_says_nothing_begins_as_ok(self, alarms: Alarms) -> None:
        assert tell(alarms, None) is None
        alarm = alarms.find(W, N)
        assert alarm is not None and (alarm.state, alarm.crossing) == ("ok", 0)

    def test_wallets_and_names_are_apart(self, alarms: Alarms) -> None:
        assert alarms.observe(W, N, "low") and alarms.observe(W, "other", "low") and alarms.observe("other", N, "low")


class TestTelling:
    def test_a_crossing_without_a_confirmation_comes_back_after_its_hold(self, alarms: Alarms) -> None:
        at(alarms, 0)
        first = alarms.observe(W, N, "low", hold=120)
        at(alarms, 119)
        assert alarms.observe(W, N, "low") is None
        at(alarms, 121)
        second = alarms.observe(W, N, "low", hold=120)
        assert first and second and (second.again, second.key, second.since) == (True, first.key, first.since)
        assert alarms.observe(W, N, "low") is None
        alarms.confirm(second)
        at(alarms, 9999)
        assert alarms.observe(W, N, "low") is None

    def test_in_the_gap_too(self, alarms: Alarms) -> None:
        first = alarms.observe(W, N, "low", hold=0)
        second = alarms.observe(W, N, None)
        assert first and second and second.again and second.state == "low"

    def test_one_that_was_given_back_comes_at_once(self, alarms: Alarms) -> None:
        first = alarms.observe(W, N, "low")
        assert first is not None
        alarms.release(first)
        second = alarms.observe(W, N, "low")
        assert second is not None and second.again
        alarms.release(first)  # who held it before has no say any more
        assert alarms.observe(W, N, "low") is None

    def test_recovered_is_not_told_before_low(self, alarms: Alarms) -> None:
        at(alarms, 0)
        low = alarms.observe(W, N, "low", hold=120)
        assert low is not None
        at(alarms, 60)
        assert alarms.observe(W, N, "ok") is None, "low is still being reported"
        alarms.confirm(low)
        back = alarms.observe(W, N, "ok")
        assert back is not None and not back.missed

    def test_a_missed_low_is_said_with_the_recovery(self, alarms: Alarms) -> None:
        at(alarms, 0)
        assert alarms.observe(W, N, "low", hold=10)
        at(alarms, 20)
        back = alarms.observe(W, N, "ok")
        assert back is not None and (back.state, back.missed, back.again) == ("ok", True, False)
        alarms.confirm(back)
        assert alarms.observe(W, N, "ok") is None

    def test_an_old_holder_confirms_no_newer_crossing(self, alarms: Alarms) -> None:
        at(alarms, 0)
        low = alarms.observe(W, N, "low", hold=0)
        assert low and alarms.observe(W, N, "ok", hold=10)
        alarms.confirm(low)
        at(alarms, 20)
        back = alarms.observe(W, N, None, hold=10)
        assert back is not None and back.again, "the newer crossing is still to be reported"
        alarms.confirm(back)
        alarms.confirm(low)
        at(alarms, 40)
        assert alarms.observe(W, N, None) is None


class TestRaces:
    def test_twenty_threads_see_one_crossing_each_way(self, ledger_url: str) -> None:
        for state in ("low", "ok", "low"):
            crossings = together(lambda state=state: open_alarms(ledger_url).observe(W, N, state))  # type: ignore[misc]
            taken = [crossing for crossing in crossings if crossing is not None]
            assert len(taken) == 1, taken
            open_alarms(ledger_url).confirm(taken[0])

    def test_twenty_threads_repeat_one_once(self, ledger_url: str) -> None:
        alarms = open_alarms(ledger_url)
        first = alarms.observe(W, N, "low")
        assert first is not None
        alarms.release(first)
        crossings = together(lambda: open_alarms(ledger_url).observe(W, N, "low"))
        assert [crossing.again for crossing in crossings if crossing is not None] == [True]

    def test_processes_see_one_crossing(self, ledger_url: str) -> None:
        open_alarms(ledger_url)
        script = (
            "import sys\n"
            "from airflow_provider_proxyorders.ledger import open_ledger\n"
            "from airflow_provider_proxyorders.ledger.alarms import Alarms\n"
            "alarms = Alarms(open_ledger(sys.argv[1]).engine)\n"
            "print('ready', flush=True)\n"
            "sys.stdin.readline()\n"
            "print(alarms.observe('w', 'n', 'low'), flush=True)\n"
        )
        running = [
            subprocess.Popen([sys.executable, "-c", script, ledger_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(8)
        ]
        try:
            for process in running:
                assert process.stdout is not None and process.stdout.readline() == "ready\n"
            said = []
            for process in running:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            for process in running:
                said.append(process.communicate(timeout=60)[0].strip())
        finally:
            for process in running:
                process.kill()
                process.wait()
        assert sorted(line.partition("(")[0] for line in said) == ["Crossing"] + ["None"] * 7


def together(look: Callable[[], Crossing | None], many: int = 20) -> list[Crossing | None]:
    """Let many look at the same moment."""
    ready, crossings, errors = threading.Barrier(many), [], []

    def one() -> None:
        ready.wait()
        try:
            crossings.append(look())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    return crossings
