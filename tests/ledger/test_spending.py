"""P4, caps hold: limits of a day and a month, reserved with the intent, corrected by the price, released on proof."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import CapExceeded
from airflow_provider_proxyorders.domain.model import Actor, Money, OrderStatus, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Intent, Ledger
from airflow_provider_proxyorders.ledger.evidence import Floor, Shown

WHO = Actor(host="h")
Buy = Callable[..., Any]


def intent(key: str, price: str, caps: Caps, **changes: Any) -> Intent:
    return Intent(
        key, "create", "v", "c", "v:c", "a" * 64, {}, Money(Decimal(price), "USD"), caps=caps, takes_turn=False, **changes
    )


def buy(ledger: Ledger, key: str, price: str, caps: Caps, **changes: Any) -> Any:
    purchase = ledger.intend(intent(key, price, caps, **changes), WHO)
    return ledger.claim(purchase, WHO, evidence={}, sent_seconds=60)


def at(ledger: Ledger, text: str) -> None:
    ledger.clock = lambda: datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def test_the_days_limit_counts_what_is_reserved_open_and_unknown(ledger: Ledger) -> None:
    caps = Caps(daily_limit=Decimal("10.00"))
    ledger.intend(intent("intended", "4.00", caps), WHO)
    ledger.record(buy(ledger, "unknown", "4.00", caps), Step.UNKNOWN, "lost", WHO)
    with pytest.raises(CapExceeded, match=r"daily_limit 10.00 .* 8.00 is spent or reserved .* may cost 2.01.*Nothing was bought"):
        buy(ledger, "too much", "2.01", caps)
    assert ledger.find("too much") is None
    buy(ledger, "to the cent", "2.00", caps)


def test_the_price_corrects_the_reservation_and_a_refusal_gives_it_back(ledger: Ledger) -> None:
    caps = Caps(daily_limit=Decimal(10))
    vendor_order = VendorOrder("1", OrderStatus.PENDING, "paid", price=Money(Decimal("2.25"), "USD"))
    ledger.record(buy(ledger, "a", "10", caps), Step.PLACED, "", WHO, vendor_order=vendor_order)
    ledger.record(buy(ledger, "b", "7.75", caps), Step.REJECTED, "no", WHO)
    buy(ledger, "c", "7.75", caps)
    with pytest.raises(CapExceeded):
        buy(ledger, "d", "0.000001", caps)


def test_a_refund_gives_back_what_came_back(ledger: Ledger) -> None:
    caps = Caps(daily_limit=Decimal(10))
    money = Money(Decimal(10), None)
    vendor_order = VendorOrder("1", OrderStatus.PARTIAL, "partial", price=money, refund=Money(Decimal("4.00")))
    ledger.record(buy(ledger, "a", "10", caps), Step.PARTIAL, "", WHO, vendor_order=vendor_order)
    buy(ledger, "b", "4.00", caps)
    with pytest.raises(CapExceeded):
        buy(ledger, "c", "0.01", caps)


def test_released_intents_do_not_count_and_can_be_intended_again(ledger: Ledger) -> None:
    caps = Caps(daily_limit=Decimal(10))
    purchase = ledger.release(ledger.intend(intent("a", "10", caps), WHO), "no connection", WHO)
    assert purchase.step is Step.INTENDED
    buy(ledger, "b", "6", caps)
    with pytest.raises(CapExceeded):
        ledger.intend(intent("a", "10", caps), WHO)
    assert ledger.intend(intent("a", "4", caps), WHO).step is Step.INTENDED


def test_days_and_months_are_those_of_the_accounts_zone(ledger: Ledger) -> None:
    caps = Caps(daily_limit=Decimal(1), monthly_limit=Decimal(2))
    zone = {"zone": "Pacific/Auckland"}  # 13 hours ahead of UTC in January
    at(ledger, "2030-01-30T12:00:00")  # the 31st there
    buy(ledger, "a", "1", caps, **zone)
    at(ledger, "2030-01-31T10:59:59")
    with pytest.raises(CapExceeded, match="on 2030-01-31"):
        buy(ledger, "b", "1", caps, **zone)
    at(ledger, "2030-01-31T11:00:00")  # February there
    buy(ledger, "b", "1", caps, **zone)
    at(ledger, "2030-02-02T00:00:00")
    buy(ledger, "c", "1", caps, **zone)
    at(ledger, "2030-02-03T00:00:00")
    with pytest.raises(CapExceeded, match="monthly_limit 2.00 .* in 2030-02"):
        buy(ledger, "d", "1", caps, **zone)


def test_a_retry_on_the_next_day_counts_for_the_day_it_is_sent(ledger: Ledger) -> None:
    caps = Caps(daily_limit=Decimal(1))
    at(ledger, "2030-01-01T12:00:00")
    ledger.intend(intent("a", "1", caps), WHO)
    at(ledger, "2030-01-02T12:00:00")
    ledger.intend(intent("a", "1", caps), WHO)
    with pytest.raises(CapExceeded):
        buy(ledger, "b", "1", caps)
    at(ledger, "2030-01-01T13:00:00")
    buy(ledger, "c", "1", caps)


def test_the_minimum_balance_counts_what_is_under_way(ledger: Ledger) -> None:
    floor = Floor(Money(Decimal("20.00")), Decimal("5.00"), Shown(ledger.last_step_of("v:c"), datetime.now(timezone.utc)))
    buy(ledger, "under way", "6.00", Caps())
    purchase = ledger.intend(intent("a", "9.01", Caps()), WHO)
    with pytest.raises(CapExceeded, match=r"min_balance 5.00 .* holds 20.00, 6.00 is under way"):
        ledger.claim(purchase, WHO, evidence={}, sent_seconds=60, floor=floor)
    purchase = ledger.intend(intent("a", "9.00", Caps()), WHO)
    assert ledger.claim(purchase, WHO, evidence={}, sent_seconds=60, floor=floor).step is Step.SENT


def test_nothing_is_bought_from_a_frozen_wallet(ledger: Ledger) -> None:
    ledger.freeze("v:c", "order 7 was charged too much")
    with pytest.raises(CapExceeded, match=r"is frozen: order 7 was charged too much.*proxyorders ledger unfreeze v:c"):
        buy(ledger, "a", "1", Caps())
    ledger.freeze("v:c", None)
    buy(ledger, "a", "1", Caps())


WORKER = """
import sys
from decimal import Decimal
from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import CapExceeded
from airflow_provider_proxyorders.ledger import Intent, open_ledger
from airflow_provider_proxyorders.domain.model import Money, Actor
url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
ledger = open_ledger(url)
bought = 0
for i in range(count):
    intent = Intent(f"{name}-{i}", "create", "v", "c", "v:c", "a" * 64, {}, Money(Decimal("1.00"), "USD"),
                    caps=Caps(daily_limit=Decimal("50.00")), takes_turn=False)
    try:
        ledger.claim(ledger.intend(intent, Actor()), Actor(), evidence={}, sent_seconds=60)
        bought += 1
    except CapExceeded:
        pass
print(bought)
"""


def test_a_hundred_buyers_in_four_processes_stop_at_the_limit_exactly(ledger: Ledger, ledger_url: str) -> None:
    words = [sys.executable, "-c", WORKER, ledger_url]
    workers = [subprocess.Popen([*words, f"w{i}", "25"], stdout=subprocess.PIPE, text=True) for i in range(4)]
    bought = [int(worker.communicate(timeout=120)[0]) for worker in workers]
    assert sum(bought) == 50
    assert len(ledger.purchases(in_steps=[Step.SENT], limit=1000)) == 50
