"""P4, caps hold: nothing is bought without a cap, above a cap, below the minimum balance or in another currency."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import CapExceeded, InsufficientFunds, OutcomeUnknown, Quarantined, RequestRefused
from airflow_provider_proxyorders.domain.model import Money, Purchase, Step
from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.sandbox import proxyscrape as sandbox_proxyscrape
from airflow_provider_proxyorders.wallet.check import check_wallet
from airflow_provider_proxyorders.wallet.reconcile import reconcile
from tests.vendors import VENDORS

from .conftest import PRICES, Shop


def refused(shop: Shop, says: str, **options: object) -> None:
    with pytest.raises(CapExceeded, match=says) as error:
        shop.buyer().place(shop.request, order_key="k", **options)  # type: ignore[arg-type]
    assert (error.value.money, error.value.retry) == ("untouched", "never")
    assert shop.bought() == []


def test_without_any_cap_nothing_is_sent_and_the_line_to_add_is_shown(shop: Shop) -> None:
    shop.caps = Caps()
    refused(shop, r'max_price="\.\.\.".*"max_order_price": "50\.00".*Nothing was sent')
    assert shop.box.book.count(shop.name, "create") == 0 and shop.ledger.find("k") is None


def test_the_lower_of_operator_and_connection_counts(shop: Shop) -> None:
    shop.caps = Caps(max_order_price=Decimal("25.00"))
    order = shop.buyer().place(shop.request, order_key="k", max_price=Decimal("9.50"))
    assert order.reserved.amount == (PRICES[shop.name] if VENDORS[shop.name].capabilities.quote_create else Decimal("9.50"))


def test_a_quote_above_the_cap_is_refused(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    refused(shop, r"quotes 6.* the cap is 5\.99\. Nothing was bought", max_price=Decimal("5.99"))
    assert shop.buyer().place(shop.request, order_key="k", max_price=Decimal("6.00")).step is not Step.INTENDED


@pytest.mark.parametrize("vendor", [name for name, vendor in VENDORS.items() if not vendor.capabilities.quote_create])
def test_a_charge_above_the_cap_freezes_the_wallet(shop_of: Callable[[str], Shop], vendor: str) -> None:
    shop = shop_of(vendor)
    buyer = shop.buyer()
    order = buyer.place(shop.request, order_key="k", max_price=PRICES[vendor] - Decimal("0.01"))
    if order.price is None:  # this vendor tells the price only when it is read
        order = buyer.refresh(order)
    assert order.price is not None and order.price.amount == PRICES[vendor]
    assert any("ALARM" in line for line in shop.said)
    with pytest.raises(CapExceeded, match=r"is frozen: order .* was charged .*, above its cap"):
        shop.buyer().place(shop.request, order_key="next")
    assert len(shop.bought()) == 1


def test_limits_of_a_day_count_this_wallets_orders(shop: Shop) -> None:
    price = PRICES[shop.name]
    shop.caps = Caps(max_order_price=price, daily_limit=2 * price)
    shop.delivered("k1")
    shop.delivered("k2")
    refused_key = shop.buyer()
    with pytest.raises(CapExceeded, match="daily_limit"):
        refused_key.place(shop.request, order_key="k3")
    assert len(shop.bought()) == 2


def test_the_minimum_balance_stays_in_the_wallet(shop: Shop) -> None:
    price = PRICES[shop.name]
    shop.box.control([{"vendor": shop.name, "wallet": {"balance": str(price + 5)}}])
    shop.caps = Caps(max_order_price=price, min_balance=Decimal("5.01"))
    refused(shop, r"min_balance 5\.01 .* would be broken")
    shop.caps = Caps(max_order_price=price, min_balance=Decimal("5.00"))
    shop.delivered("k")


def test_limits_in_another_currency_cannot_be_compared(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("proxyscrape")
    shop.currency = "EUR"
    shop.caps = Caps(max_order_price=Decimal(25), min_balance=Decimal(1))
    refused(shop, r"the wallet is in USD, but the limits .* are in EUR")


def test_a_currency_in_small_letters_is_the_same_currency(
    shop_of: Callable[[str], Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor writes ``usd`` in its balance and in its order; the connection says ``USD``."""
    monkeypatch.setattr(sandbox_proxyscrape, "CURRENCY", "usd")
    shop = shop_of("proxyscrape")
    shop.caps = Caps(max_order_price=PRICES["proxyscrape"], min_balance=Decimal(1))
    purchase = shop.delivered("k")
    assert purchase.price == Money(PRICES["proxyscrape"], "USD")
    assert shop.ledger.freeze_reason(purchase.wallet) is None
    wallet = check_wallet(shop.buyer(), horizon=None)
    assert wallet.balance.currency == "USD" and wallet.trouble is None
    report = reconcile(shop.buyer())
    assert report.clean, report.lines()


@pytest.mark.parametrize("landed", [2, 1])
def test_two_repeats_beside_each_other_cost_nothing_more(shop_of: Callable[[str], Shop], landed: int) -> None:
    """The answers of both are lost. What is missing in the wallet is theirs, so the rest that one still needs is known."""
    shop = shop_of("voodoo")
    price = PRICES["voodoo"]
    shop.box.control([{"vendor": "voodoo", "wallet": {"balance": str(2 * price + 5)}}])
    shop.caps = Caps(max_order_price=price, min_balance=Decimal(5))
    rules = []
    for key in ("a", "b"):
        rules.append(shop.box.fault(vendor="voodoo", operation="create", when="before", times=1, action="pause"))
        buyer = shop.buyer(timeout=1.0)
        buyer.settling.allow_repeat = killed  # type: ignore[method-assign]
        with pytest.raises(SystemExit):
            buyer.place(shop.request, order_key=key)
    for rule in rules[:landed]:
        rule.release()
    deadline = time.monotonic() + 10
    while len(shop.bought()) < landed and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(shop.bought()) == landed
    for key in ("a", "b"):
        with contextlib.suppress(Quarantined):
            shop.buyer().place(shop.request, order_key=key)
        purchase = shop.ledger.find(key)
        assert purchase is not None and purchase.step in (Step.QUARANTINED, Step.DELIVERED, Step.PLACED)
    assert len(shop.bought()) == 2 and sum(Decimal(entry.amount) for entry in shop.bought()) == 2 * price


def test_a_repeat_beside_another_purchase_still_counts_what_both_may_take(shop_of: Callable[[str], Shop]) -> None:
    """Nothing landed, and a higher minimum was set meanwhile: both repeats together would break it."""
    shop = shop_of("voodoo")
    price = PRICES["voodoo"]
    shop.box.control([{"vendor": "voodoo", "wallet": {"balance": str(2 * price + 5)}}])
    shop.caps = Caps(max_order_price=price, min_balance=Decimal(5))
    for key in ("a", "b"):
        shop.box.fault(vendor="voodoo", operation="create", when="before", times=1, action="reset")
        buyer = shop.buyer()
        buyer.settling.allow_repeat = killed  # type: ignore[method-assign]
        with pytest.raises(SystemExit):
            buyer.place(shop.request, order_key=key)
    shop.caps = Caps(max_order_price=price, min_balance=Decimal(6))
    with pytest.raises(OutcomeUnknown, match="min_balance"):
        shop.buyer().place(shop.request, order_key="a")
    assert shop.bought() == []


def killed(*_: Any) -> Any:
    """The worker ends before it sends the reference again."""
    raise SystemExit


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_a_wallet_in_another_currency_is_refused_without_any_floor(shop_of: Callable[[str], Shop], vendor: str) -> None:
    """Nobody needs to wait for the order, nor to have set a minimum balance, for its wallet to be found out."""
    shop = shop_of(vendor)
    if vendor == "iproyal":  # it names no currency, so the connection's is believed
        shop.currency = "EUR"
        shop.delivered("k")
        return
    shop.currency = "EUR"
    refused(shop, r"the wallet is in USD, but the limits .* are in EUR")


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("hindrance", ["floor", "frozen", "superseded"])
def test_what_else_can_refuse_an_extension_does_so_before_the_last_question(
    shop_of: Callable[[str], Shop], request: pytest.FixtureRequest, database: str, hindrance: str
) -> None:
    """The last question may switch the vendor's own renewal off: an order must not lapse because it was then refused."""
    shop = shop_of("iproyal")
    if database == "postgres":
        shop.ledger = open_ledger(request.getfixturevalue("postgres_url"))
    order = shop.delivered("k")
    assert order.order_id is not None
    asked: list[Mapping[str, Any]] = []

    def superseded(order_key: str) -> None:
        raise RuntimeError("another try has taken over")

    buyer = shop.buyer(fence=superseded if hindrance == "superseded" else None)
    if hindrance == "floor":
        shop.caps = Caps(max_order_price=Decimal("25.00"), min_balance=Decimal(990))
        buyer = shop.buyer()
    elif hindrance == "frozen":
        intend = buyer.turns.intend

        def then_frozen(intent: Any, *_: object) -> Purchase:
            try:
                return intend(intent)
            finally:
                shop.ledger.freeze(intent.wallet, "a person has to look")

        buyer.turns.intend = then_frozen  # type: ignore[method-assign]
    with pytest.raises((CapExceeded, RuntimeError), match="would be broken|is frozen|taken over"):
        buyer.extend(order.order_id, {"product_plan_id": 22}, order_key="e", still_due=asked.append)
    assert asked == [] and [entry.kind for entry in shop.bought()] == ["create"]


def test_an_empty_wallet_is_a_refusal_that_a_top_up_mends(shop: Shop) -> None:
    shop.box.control([{"vendor": shop.name, "wallet": {"balance": "1.00"}}])
    with pytest.raises(
        InsufficientFunds if shop.name != "iproyal" else RequestRefused
    ) as error:  # IPRoyal documents no text for it
        shop.buyer().place(shop.request, order_key="k")
    # without a quote, a first copy may have cost less than the wallet held
    assert (error.value.money, error.value.retry) == ("unknown" if shop.name == "proxyscrape" else "untouched", "never")
    purchase = shop.ledger.find("k")
    assert purchase is not None and purchase.step is Step.REJECTED
    shop.box.control([{"vendor": shop.name, "wallet": {"balance": "100.00"}}])
    assert shop.delivered("k").order_id == shop.bought()[0].order_id
