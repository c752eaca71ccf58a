"""The tab *Wallets*: what the ledger knows of a wallet after real purchases, beside its limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.hooks.settings import ledger as ledger_of_settings
from airflow_provider_proxyorders.ledger import Ledger
from tests.hooks.connections import REQUESTS, Shops

from .conftest import Visitor, buy

CONN_ID = "proxyscrape_default"
WALLET = f"proxyscrape:{CONN_ID}"


def the_wallet(visitor: Visitor) -> dict[str, Any]:
    (wallet,) = visitor.get("wallets").json()
    shown: dict[str, Any] = wallet
    return shown


def test_a_wallet_after_real_purchases(log_in: Callable[[str], Visitor], shops: Shops) -> None:
    shops.box.control({"vendor": "proxyscrape", "wallet": {"balance": "27.00"}})
    hook = shops.hook("proxyscrape", extra={"daily_limit": "100.00", "monthly_limit": "200.00"})
    hook.create_order(REQUESTS["proxyscrape"], order_key="real", max_price="5.00")
    ledger = ledger_of_settings()
    now = datetime.now(timezone.utc)
    before = Ledger(ledger.engine, clock=lambda: now - timedelta(days=20))
    buy(before, "before", Step.DELIVERED, conn_id=CONN_ID, expires_at=now + timedelta(days=2))
    ends = {number: now + timedelta(days=number) for number in (3, 4)}
    for number, end in ends.items():
        buy(ledger, f"ends {number}", Step.DELIVERED, conn_id=CONN_ID, order_id=f"o-{number}", expires_at=end)
    buy(ledger, "lost", Step.QUARANTINED, conn_id=CONN_ID)
    wallet = the_wallet(log_in("admin"))
    assert (wallet["wallet"], wallet["connections"], wallet["trouble"]) == (WALLET, [CONN_ID], None)
    assert wallet["balance"] == "27.00 USD" and wallet["balance_at"] <= now.isoformat(), "as the purchase read it"
    assert wallet["today"] == {"spent": "39.50", "limit": "100.00", "state": "ok"}  # 5.00, twice 11.00, 12.50 reserved
    assert (wallet["reserved"], wallet["month"]["limit"]) == ("12.50", "200.00")
    assert wallet["runway"] == f"pays until {ends[4]:%Y-%m-%d}, order o-4"
    bars = {day["day"]: day["amount"] for day in wallet["days"]}
    assert len(bars) == 30 and list(bars) == sorted(bars)
    assert set(bars.values()) == {"0.00", "11.00", "39.50"}
    assert bars[f"{now - timedelta(days=20):%Y-%m-%d}"] == "11.00"


@pytest.mark.parametrize(
    ("daily", "monthly", "states"),
    [("6.26", "6.25", ("ok", "near")), ("6.25", "5.01", ("near", "near")), ("5.00", "9.00", ("reached", "ok"))],
)
def test_a_limit_is_marked_from_80_percent_on(
    log_in: Callable[[str], Visitor], shops: Shops, daily: str, monthly: str, states: tuple[str, str]
) -> None:
    hook = shops.hook("proxyscrape", extra={"daily_limit": daily, "monthly_limit": monthly})
    hook.create_order(REQUESTS["proxyscrape"], order_key="real", max_price="5.00")
    wallet = the_wallet(log_in("admin"))
    assert (wallet["today"]["spent"], wallet["month"]["spent"]) == ("5.00", "5.00")
    assert (wallet["today"]["state"], wallet["month"]["state"]) == states


def test_without_a_read_or_a_limit_a_wallet_says_so(log_in: Callable[[str], Visitor], shops: Shops) -> None:
    buy(ledger_of_settings(), "unread", Step.SENT, conn_id=CONN_ID)
    shops.connect("proxyscrape")
    wallet = the_wallet(log_in("admin"))
    assert (wallet["balance"], wallet["runway"]) == (None, "unknown until a balance is read")
    assert wallet["today"] == {"spent": "12.50", "limit": None, "state": "ok"}


def test_of_two_connections_the_strictest_limits_count(log_in: Callable[[str], Visitor], shops: Shops) -> None:
    limits = {"a_loose": ("100.00", "50.00", "1.00"), "b_strict": ("15.00", "300.00", "20.00")}
    for conn_id, (daily, monthly, keep) in limits.items():
        extra = {"wallet": "shared", "daily_limit": daily, "monthly_limit": monthly, "min_balance": keep}
        name = shops.hook("voodoo", conn_id=conn_id, extra=extra).buyer().account.wallet
    buy(ledger_of_settings(), "k", Step.SENT, conn_id="a_loose", wallet=name, amount="12.50")
    wallet = the_wallet(log_in("admin"))
    assert wallet["connections"] == ["a_loose", "b_strict"]
    assert wallet["today"] == {"spent": "12.50", "limit": "15.00", "state": "near"}
    assert (wallet["month"]["limit"], wallet["trouble"]) == ("50.00", None)
    shops.patch.delenv("AIRFLOW_CONN_B_STRICT")
    wallet = the_wallet(log_in("admin"))
    assert wallet["today"]["limit"] == "100.00" and "the limits of connection b_strict are unknown" in wallet["trouble"]


def test_before_an_unfreeze_the_stake_is_shown(log_in: Callable[[str], Visitor], shops: Shops) -> None:
    ledger = ledger_of_settings()
    buy(ledger, "lost", Step.QUARANTINED, conn_id=CONN_ID)
    buy(ledger, "good", Step.DELIVERED, conn_id=CONN_ID)
    ledger.freeze(WALLET, "12.00 USD are missing")
    shops.connect("proxyscrape")
    visitor = log_in("admin")
    (frozen,) = visitor.get("attention").json()["frozen"]
    checked = visitor.post("unfreeze/check", {"wallet": WALLET}).json()
    for shown in (frozen, checked):
        names = ("wallet", "why", "reserved", "unresolved")
        assert [shown[name] for name in names] == [WALLET, "12.00 USD are missing", "12.50 USD", "1"]
    assert the_wallet(visitor)["unresolved"] == "1"
