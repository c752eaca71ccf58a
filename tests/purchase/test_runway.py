"""The runway: what a balance pays for in order of date, where each price comes from, and how fast the wallet empties."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from sqlalchemy import event

from airflow_provider_proxyorders.domain.errors import AuthenticationFailed, InvalidRequest
from airflow_provider_proxyorders.domain.model import Actor, Money, Step
from airflow_provider_proxyorders.ledger import Intent, Ledger
from airflow_provider_proxyorders.wallet.prices import Prices, Renewal
from airflow_provider_proxyorders.wallet.rate import SpendingRate, spending_rate
from airflow_provider_proxyorders.wallet.runway import runway

from .conftest import Shop

ShopOf = Callable[[str], Shop]
START = datetime(2026, 3, 1, tzinfo=timezone.utc)
PLAN = {"product_plan_id": 22}


def usd(amount: str) -> Money:
    return Money(Decimal(amount), "USD")


def due(number: int, price: str | None, *, day: int | None = None, currency: str | None = "USD") -> Renewal:
    at = START + timedelta(days=number if day is None else day)
    if price is None:
        return Renewal(str(number), at)
    return Renewal(str(number), at, Money(Decimal(price), currency), "ledger")


class TestRunway:
    def test_paid_in_order_of_date_and_the_first_that_is_not(self) -> None:
        result = runway(usd("10.00"), [due(3, "4.00"), due(1, "4.00"), due(2, "4.00")])
        assert [(paid.renewal.order_id, paid.covered) for paid in result.renewals] == [("1", True), ("2", True), ("3", False)]
        assert result.first_uncovered == due(3, "4.00")
        assert (result.covered, result.needed, result.short) == (False, Decimal("12.00"), Decimal("2.00"))
        assert "2 covered, 2.00 USD short; the first that is not: order 3 for 4.00 USD, due 2026-03-04" in result.describe()

    def test_to_the_cent(self) -> None:
        assert runway(usd("8.00"), [due(1, "4.00"), due(2, "4.00")]).covered is True
        assert runway(usd("7.99"), [due(1, "4.00"), due(2, "4.00")]).covered is False

    def test_what_does_not_fit_leaves_the_money_to_what_comes_after(self) -> None:
        result = runway(usd("5.00"), [due(1, "9.00"), due(2, "4.00")])
        assert [paid.covered for paid in result.renewals] == [False, True]
        assert result.first_uncovered is not None and result.first_uncovered.order_id == "1"

    def test_what_must_remain_is_not_spent(self) -> None:
        result = runway(usd("10.00"), [due(1, "4.00"), due(2, "4.00")], keep=Decimal("5.00"))
        assert (result.spendable, [paid.covered for paid in result.renewals]) == (usd("5.00"), [True, False])

    @pytest.mark.parametrize("balance", ["0.00", "-3.20"])
    def test_an_empty_wallet_pays_for_nothing_but_what_is_free(self, balance: str) -> None:
        result = runway(usd(balance), [due(1, "0.00"), due(2, "0.01")])
        assert [paid.covered for paid in result.renewals] == [True, False]

    def test_nothing_due(self) -> None:
        result = runway(usd("-3.20"), [])
        assert (result.covered, result.first_uncovered, result.describe()) == (True, None, "no renewal is due")

    def test_an_unknown_price_makes_covered_unknown_and_short_stay_short(self) -> None:
        result = runway(usd("10.00"), [due(1, "4.00"), due(2, None)])
        assert (result.covered, [each.order_id for each in result.unpriced]) == (None, ["2"])
        assert "1 of them without a known price" in result.describe()
        assert runway(usd("3.00"), [due(1, "4.00"), due(2, None)]).covered is False

    def test_another_currency_is_said_and_never_added(self) -> None:
        result = runway(usd("10.00"), [due(1, "4.00", currency="EUR"), due(2, "4.00", currency=None)])
        assert [paid.covered for paid in result.renewals] == [None, True]
        assert result.unpriced[0].note == "priced in EUR, the wallet holds USD"
        assert (result.covered, result.needed) == (None, Decimal("4.00"))


class TestPrices:
    def prices(self, shop: Shop, **options: object) -> Prices:
        buyer = shop.buyer()
        return Prices(buyer.vendor, buyer.http, buyer.ledger, **options)  # type: ignore[arg-type]

    def test_the_ledgers_last_price_where_the_vendor_cannot_quote(self, shop_of: ShopOf) -> None:
        for vendor, price in (("proxyscrape", "5.00"), ("voodoo", "9.00")):
            order = shop_of(vendor).delivered("k-" + vendor)
            assert order.order_id is not None
            assert self.prices(shop_of(vendor)).renewal(order.order_id, START) == Renewal(
                order.order_id, START, usd(price), "ledger"
            )

    def test_an_order_that_nobody_knows(self, shop: Shop) -> None:
        result = self.prices(shop).renewal("4242", START)
        assert (result.price, result.source) == (None, "unknown")
        assert result.note

    def test_quoted_by_the_last_extension_in_the_ledger(self, shop_of: ShopOf) -> None:
        shop = shop_of("iproyal")
        order_id = shop.delivered("k").order_id
        assert order_id is not None
        first = self.prices(shop).renewal(order_id, START)
        assert (first.source, first.price) == ("ledger", usd("6.00"))
        assert first.note == "not quoted: no extension of it in the ledger, and no request given"
        shop.buyer().extend(order_id, PLAN, order_key="e")
        asked = shop.box.book.count("iproyal", "quote")
        second = self.prices(shop).renewal(order_id, START)
        assert (second.source, second.price, second.note) == ("quote", usd("6.00"), "")
        assert shop.box.book.count("iproyal", "quote") == asked + 1

    def test_quoted_by_a_request_of_the_user(self, shop_of: ShopOf) -> None:
        shop = shop_of("iproyal")
        order_id = shop.delivered("k").order_id
        assert order_id is not None
        prices = self.prices(shop, request=PLAN, most_quotes=1)
        assert prices.renewal(order_id, START).source == "quote"
        rest = prices.renewal(order_id, START)
        assert (rest.source, rest.price, rest.note) == ("ledger", usd("6.00"), "not quoted: enough was asked for")
        with pytest.raises(InvalidRequest, match="product_plan_id"):
            self.prices(shop, request={}).renewal(order_id, START)

    def test_many_orders_are_quoted_in_their_order_with_few_queries(self, shop_of: ShopOf) -> None:
        shop = shop_of("iproyal")
        order_ids = [str(shop.delivered(f"k{number}").order_id) for number in range(3)]
        prices, queries = self.prices(shop, request=PLAN, most_quotes=2), list[str]()
        event.listen(shop.ledger.engine, "before_cursor_execute", lambda *args: queries.append(args[2]))
        due = [(order_id, START) for order_id in (*order_ids, "4242")]
        renewals = prices.renewals(due)
        assert [(each.order_id, each.source) for each in renewals] == [
            (order_ids[0], "quote"),
            (order_ids[1], "quote"),
            (order_ids[2], "ledger"),
            ("4242", "unknown"),
        ]
        assert sum("proxyorders_purchases" in query for query in queries) == 1

    def test_a_quote_that_fails_leaves_the_ledgers_price(self, shop_of: ShopOf) -> None:
        shop = shop_of("iproyal")
        order_id = shop.delivered("k").order_id
        assert order_id is not None
        shop.box.fault("iproyal", "quote", action="status", status=500)
        prices = self.prices(shop, request=PLAN)
        prices.http._sleep = lambda seconds: None
        result = prices.renewal(order_id, START)
        assert (result.source, result.price, result.note) == ("ledger", usd("6.00"), "not quoted: VendorUnavailable")

    def test_a_refused_key_ends_it(self, shop_of: ShopOf) -> None:
        shop = shop_of("iproyal")
        order_id = shop.delivered("k").order_id
        assert order_id is not None
        buyer = shop.buyer(secret="wrong-key")
        with pytest.raises(AuthenticationFailed):
            Prices(buyer.vendor, buyer.http, buyer.ledger, request=PLAN).renewal(order_id, START)

    def test_nothing_is_bought(self, shop: Shop) -> None:
        order_id = shop.delivered("k").order_id
        assert order_id is not None
        self.prices(shop, request=PLAN if shop.name == "iproyal" else None).renewal(order_id, START)
        assert len(shop.bought()) == 1


class TestRate:
    def spend(self, shop: Shop, key: str, price: str) -> None:
        """A purchase of this price, as the ledger keeps it."""
        account, actor = shop.buyer().account, Actor()
        intent = Intent(key, "create", shop.name, "c", account.wallet, "a" * 64, {}, usd("25.00"), takes_turn=False)
        order = shop.ledger.claim(shop.ledger.intend(intent, actor), actor, evidence={}, sent_seconds=1)
        shop.ledger.record(order, Step.PLACED, "bought", actor, price=usd(price))

    def on(self, ledger: Ledger, day: int) -> None:
        ledger.clock = lambda: START + timedelta(days=day)

    def test_nothing_spent(self, shop: Shop) -> None:
        buyer = shop.buyer()
        result = spending_rate(buyer.ledger, buyer.account)
        assert (result, result.per_day, result.days_left(Decimal(100))) == (SpendingRate(Decimal(0), 0), Decimal(0), None)

    def test_a_young_wallet_counts_its_own_days(self, shop: Shop) -> None:
        for day, price in ((0, "9.00"), (2, "3.00")):
            self.on(shop.ledger, day)
            self.spend(shop, f"k{day}", price)
        result = spending_rate(shop.ledger, shop.buyer().account)
        assert (result.spent, result.days, result.per_day) == (Decimal("12.00"), 3, Decimal("4.00"))
        assert result.days_left(Decimal("10.00")) == Decimal("2.5")
        assert result.days_left(Decimal("-1.00")) == 0

    def test_an_old_one_the_last_thirty(self, shop: Shop) -> None:
        for day, price in ((0, "20.00"), (11, "6.00"), (40, "1.00")):
            self.on(shop.ledger, day)
            self.spend(shop, f"k{day}", price)
        result = spending_rate(shop.ledger, shop.buyer().account)
        assert (result.spent, result.days) == (Decimal("7.00"), 30)
        assert (result.per_day, result.days_left(Decimal("100"))) == (Decimal("0.24"), Decimal("428.5"))

    def test_other_wallets_are_theirs(self, shop_of: ShopOf) -> None:
        self.on(shop_of("voodoo").ledger, 0)
        self.spend(shop_of("voodoo"), "k", "9.00")
        buyer = shop_of("iproyal").buyer()
        assert spending_rate(buyer.ledger, buyer.account).spent == 0
