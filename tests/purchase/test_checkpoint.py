"""P4: a wallet's balance is compared with its ledger before each purchase. Reads may lag, and no lag makes a false proof."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import CapExceeded, UnreadableAnswer, WalletHeld
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import Balance, Money, Step
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.ledger.evidence import Floor, SentPurchase
from airflow_provider_proxyorders.purchase.balance_marks import Clocks, Mark, charges_of, next_mark, unexplained
from airflow_provider_proxyorders.purchase.resolving import unfreeze
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.vendors.evidence import missing_money

from .conftest import PRICES, Shop

SETTLE = 60.0
#: Seconds for which a sender waits for its answer.
SENDING = 5
START = datetime(2030, 1, 1, tzinfo=timezone.utc)


# ---------------------------------------------------------------------------------------------- the arithmetic


@dataclass
class Bought:
    """One purchase as the vendor has it, and as the ledger knows it.

    :param charged: whether the vendor took it.
    :param answered: seconds after which the ledger knows its price; ``None``: its answer was lost.
    """

    number: int
    at: float
    price: Decimal
    charged: bool
    answered: float | None
    checkpoint: Mark | None = None
    read_before: Decimal = Decimal(0)

    @property
    def left_after(self) -> float:
        """Seconds after which its sender has an answer or has given up."""
        return SENDING if self.answered is None else self.answered

    def shows(self, now: float) -> bool:
        """Whether every read shows it."""
        return now >= self.at + self.left_after + SETTLE

    def known(self, now: float) -> SentPurchase:
        step, price = Step.UNKNOWN, None
        if self.answered is not None and now >= self.at + self.answered:
            step, price = Step.PLACED, Money(self.price, "USD")
        elif now < self.at + SENDING:
            step = Step.SENT
        moment = START + timedelta(seconds=self.at)
        reserved = Money(Decimal("31.75"), "USD")
        name = str(self.number)
        left = moment + timedelta(seconds=self.left_after)
        money = (price, reserved, Decimal(0))
        return SentPurchase(name, "extend", "v", step, {}, None, name, *money, False, moment, left, self.number)


class Wallet:
    """The vendor's true book. Each read may miss any charge up to a settle time after its sender had an answer or gave up."""

    def __init__(self, seed: int):
        self.chance, self.bought = Random(seed), list[Bought]()

    def read(self, now: float) -> Money:
        shown = (each for each in self.bought if each.charged and (each.shows(now) or self.chance.random() < 0.5))
        return Money(Decimal(1000) - sum((each.price for each in shown), Decimal(0)), "USD")

    def truth(self, last: int) -> Decimal:
        return Decimal(1000) - sum((each.price for each in self.bought if each.charged and each.number <= last), Decimal(0))


def sent_since(wallet: Wallet, mark: Mark | None, now: float) -> list[SentPurchase]:
    return [each.known(now) for each in wallet.bought if each.number > (mark.after if mark else 0)]


@pytest.mark.parametrize("seed", range(120))
def test_no_lag_makes_a_false_alarm_or_a_false_proof(seed: int) -> None:
    _run(seed, SETTLE)


def _run(seed: int, settle: float) -> None:
    """A random sequence of purchases and reads.

    :param settle: what the code under test takes for the settle time.
    """
    wallet, mark, now = Wallet(seed), None, 0.0
    chance = wallet.chance
    prices = [Decimal("31.75"), Decimal("31.75"), Decimal("6.00"), Decimal("0.125")]
    for number in range(1, 60):
        now += chance.choice([0.5, 3.0, 20.0, 70.0])
        balance, clocks = wallet.read(now), Clocks(START + timedelta(seconds=now), settle)
        sent = sent_since(wallet, mark, now)
        if mark is not None:
            assert unexplained(mark, balance, charges_of(sent, clocks)) <= 0, "a false alarm"
        new, certain = next_mark(mark, balance, sent, clocks, number - 1)
        if certain:
            assert new.balance.amount == wallet.truth(new.after), "a certain mark shows all that was sent and nothing else"
            mark = new
        answered = chance.choice([0.2, 0.2, 2.0, None])
        charged = answered is not None or chance.random() < 0.5
        checkpoint = mark if mark is not None else new
        wallet.bought.append(Bought(number, now, chance.choice(prices), charged, answered, checkpoint, balance.amount))
        for purchase in wallet.bought:
            if purchase.answered is None and purchase.shows(now):
                _prove(wallet, purchase, now, settle)


def _prove(wallet: Wallet, purchase: Bought, now: float, settle: float) -> None:
    """A look at a lost purchase, after the settle time: what it says must be so."""
    checkpoint = purchase.checkpoint
    assert checkpoint is not None
    others = [each for each in sent_since(wallet, checkpoint, now) if each.number != purchase.number]
    charges = charges_of(others, Clocks(START + timedelta(seconds=now), settle))
    charged = charges.shown if checkpoint.certain else Decimal(0)
    before = {"balance": str(checkpoint.balance.amount), "currency": "USD", "digits": 3}
    expected = {**before, "charged": str(charged), "maybe": str(charges.most - charged)}
    own = {"balance": str(purchase.read_before), "currency": "USD"}
    missing = missing_money({**own, "expected": expected}, Balance(wallet.read(now)))
    if missing.explained:
        assert not purchase.charged, "a false 'absent'"
    if missing.fell:
        assert purchase.charged, "money that others took was put down to this purchase"
    if missing.price is not None:
        assert missing.price == purchase.price


@pytest.mark.parametrize(
    ("currency", "before", "now", "missing"),
    [
        ("USD", "341.25", "309.49999999999994", "31.75"),
        ("USD", "309.49999999999994", "309.5", "0"),
        ("JPY", "5000", "4000.0000000001", "1000"),
        ("KWD", "10.500", "10.4990000000001", "0.001"),
        (None, "0.30000000000000004", "0.3", "0"),
    ],
)
def test_binary_fractions_are_rounded_to_the_currency(currency: str | None, before: str, now: str, missing: str) -> None:
    balance = Balance(Money(Decimal(now), currency))
    assert missing_money({"balance": before, "currency": currency}, balance).amount == Decimal(missing)


def test_prices_below_a_cent_keep_their_digits() -> None:
    expected = {"balance": "10", "currency": "USD", "charged": "0.004", "maybe": "0", "digits": 3}
    assert missing_money({"expected": expected}, Balance(Money(Decimal("9.992"), "USD"))).amount == Decimal("0.004")


def test_what_was_missing_right_before_a_purchase_is_not_its_own() -> None:
    """Another buyer took 5.00 after the certain balance and before this purchase."""
    expected = {"balance": "100", "currency": "USD", "charged": "0", "maybe": "0"}
    evidence = {"balance": "95", "currency": "USD", "expected": expected}
    assert missing_money(evidence, Balance(Money(Decimal(95), "USD"))).explained
    assert missing_money(evidence, Balance(Money(Decimal(92), "USD"))).price == Decimal(3)


@pytest.mark.parametrize(
    ("own", "unresolved", "of_another"),
    [
        ("99.80", "6", True),  # 0.20 were missing right before this purchase, and only an unresolved one can have taken them
        ("100", "6", False),  # nothing was missing before it
        ("99.80", "0", False),  # a purchase with a known price may be read late
        ("90", "6", False),  # more was missing than all others may have taken
    ],
)
def test_money_that_an_unresolved_purchase_took_before_this_one(own: str, unresolved: str, of_another: bool) -> None:
    expected = {"balance": "100", "currency": "USD", "charged": "0", "maybe": "6", "unresolved": unresolved}
    evidence = {"balance": own, "currency": "USD", "expected": expected}
    assert missing_money(evidence, Balance(Money(Decimal("99.80"), "USD"))).of_another is of_another


# ---------------------------------------------------------------------------------------------- before a purchase


@pytest.fixture
def ledger(url: str) -> Ledger:
    return open_ledger(url)


def take_from(shop: Shop, amount: str) -> None:
    """The vendor charges more than it quoted, or somebody else buys."""
    wallet = shop.box.state.vendors[shop.name].wallet(None)
    wallet.balance -= Decimal(amount)


def refused(shop: Shop, key: str, says: str) -> None:
    with pytest.raises(CapExceeded, match=says) as error:
        shop.buyer().place(shop.request, order_key=key)
    assert error.value.money == "untouched" and "Nothing was bought" in str(error.value)


def test_an_order_that_nobody_waits_for_and_that_costs_more_stops_the_next(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("proxyscrape")
    shop.caps = Caps(max_order_price=Decimal("2.00"), daily_limit=Decimal(100))
    shop.buyer().place(shop.request, order_key="k1")
    refused(shop, "k2", r"was charged 5\.00 USD, above its cap of 2\.00")
    assert len(shop.bought()) == 1


def test_a_charge_above_the_quote_shows_in_the_balance(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    shop.buyer().place(shop.request, order_key="k1")
    take_from(shop, "54")
    refused(shop, "k2", r"fell from 1000\.00 USD to 940\.00 USD .* 54\.00 more than the 6\.00 that this ledger's purchases")
    assert len(shop.bought()) == 1 and any("ALARM" in line for line in shop.said)
    refused(shop, "k2", "is frozen")
    unfreeze(shop.ledger, "iproyal:main")  # the balance of now is the new mark
    shop.buyer().place(shop.request, order_key="k2")
    assert len(shop.bought()) == 2


def test_top_ups_and_cards_and_purchases_side_by_side_are_no_alarm(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    order = shop.delivered("k1")
    take_from(shop, "-250")
    shop.box.control([{"vendor": "iproyal", "card": {"id": 31}}])
    shop.buyer().extend(str(order.order_id), {"product_plan_id": 22, "card_id": 31}, order_key="e1")
    for key in ("k2", "k3", "k4"):
        shop.buyer().place(shop.request, order_key=key)
    assert shop.ledger.freeze_reason("iproyal:main") is None and len(shop.bought()) == 5


def test_a_wallet_that_the_vendor_renews_from_is_not_frozen(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    shop.buyer().place({**shop.request, "auto_extend": True}, order_key="k1")
    take_from(shop, "6")
    shop.buyer().place(shop.request, order_key="k2")
    assert any("renews orders of this wallet by itself" in line for line in shop.said)


def lagging(shop: Shop, operation: str, seconds: float) -> Any:
    return shop.box.state.faults.add(Rule(vendor=shop.name, operation=operation, action="lag", seconds=seconds))


def test_the_minimum_balance_holds_while_the_balance_lags(shop_of: Callable[[str], Shop]) -> None:
    """The next purchase waits until a read shows the one before it; then too little would remain."""
    shop = shop_of("iproyal")
    price = PRICES["iproyal"]
    shop.box.control([{"vendor": "iproyal", "wallet": {"balance": str(2 * price)}}])
    shop.caps = Caps(max_order_price=Decimal(25), min_balance=price)
    lagging(shop, "balance", 1.5)
    shop.buyer(settle=2.0).place(shop.request, order_key="k1")
    with pytest.raises(CapExceeded, match="min_balance"):
        shop.buyer(settle=2.0).place(shop.request, order_key="k2")
    assert len(shop.bought()) == 1 and any("Reading it again" in line for line in shop.said)


def test_a_lagging_balance_makes_no_dear_price_and_freezes_nothing(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("proxyscrape")
    lagging(shop, "balance", 1.0)
    shop.buyer(settle=1.5).place(shop.request, order_key="k1")
    shop.box.fault(vendor="proxyscrape", operation="create", when="after", action="reset", times=1)
    purchase = shop.buyer(settle=1.5).place(shop.request, order_key="k2")
    assert purchase.step is Step.DELIVERED and shop.ledger.freeze_reason("proxyscrape:main") is None
    assert purchase.price is None or purchase.price.amount == PRICES["proxyscrape"]
    assert len(shop.bought()) == 2


# ---------------------------------------------------------------------------------------------- the other evidence


@pytest.mark.parametrize(("vendor", "operation"), [("proxyscrape", "subaccounts"), ("iproyal", "list"), ("iproyal", "products")])
@pytest.mark.parametrize("body", ["", "<html>busy</html>", '{"data": ['])
def test_one_bad_answer_does_not_take_the_evidence_away(
    shop_of: Callable[[str], Shop], vendor: str, operation: str, body: str
) -> None:
    shop = shop_of(vendor)
    shop.box.fault(vendor=vendor, operation=operation, action="body" if body else "empty", body=body or None, times=1)
    purchase = shop.buyer().place(shop.request, order_key="k")
    assert purchase.evidence.get("subaccounts", ()) is not None and purchase.evidence.get("plan", "x")


def test_evidence_that_stays_unreadable_ends_the_try_before_money_moves(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("proxyscrape")
    shop.box.fault(vendor="proxyscrape", operation="subaccounts", action="body", body="<html>busy</html>")
    with pytest.raises(UnreadableAnswer, match="Nothing was bought") as error:
        shop.buyer().place(shop.request, order_key="k")
    assert error.value.retry == "soon" and shop.bought() == []


def test_a_lack_of_permission_is_said_before_money_moves(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("proxyscrape")
    body = '{"success": false, "error": "Forbidden."}'
    shop.box.fault(vendor="proxyscrape", operation="subaccounts", action="status", status=403, body=body)
    shop.buyer().place(shop.request, order_key="k")
    told = next(number for number, line in enumerate(shop.said) if "may not list sub-accounts" in line)
    assert told < next(number for number, line in enumerate(shop.said) if "placed as order" in line)


@pytest.mark.parametrize("vendor", ["iproyal", "proxyscrape"])
def test_a_list_that_is_empty_for_one_read_makes_no_old_order_new(shop_of: Callable[[str], Shop], vendor: str) -> None:
    """The wallet's marks remember what earlier reads saw, also what another buyer owns."""
    shop = shop_of(vendor)
    first = shop.delivered("k1")
    shop.delivered("k2")
    operation, mark = ("list", "newest") if vendor == "iproyal" else ("subaccounts", "subaccounts")
    rule = shop.box.state.faults.add(Rule(vendor=vendor, operation=operation, action="unseen", times=1))
    third = shop.buyer().place(shop.request, order_key="k3")
    assert rule.hits == 1 and third.evidence[mark], "an empty list, and still a mark"
    if vendor == "iproyal":
        assert third.evidence[mark] >= int(str(first.order_id))
    else:
        assert str(first.handle) in shop.ledger.with_seen(third, third.evidence, mark)[mark]


def test_the_evidence_of_a_wallet_with_many_sub_accounts_is_small(shop_of: Callable[[str], Shop]) -> None:
    """Each purchase kept them all, so a wallet's evidence grew with the square: 390 KB a purchase at ten thousand."""
    shop = shop_of("proxyscrape")
    vendor = shop.box.state.vendors["proxyscrape"]
    for number in range(3000):
        vendor.seed_account(vendor.wallets["main"], {"AccountID": f"account-{number:032}"})
    purchases = [shop.delivered(f"k{number}") for number in range(2)]
    assert all(len(dump_json(purchase.evidence)) < 1024 for purchase in purchases)
    lost = shop.box.fault(vendor="proxyscrape", operation="create", when="after", action="reset", times=1)
    third = shop.delivered("k3")
    assert lost.hits == 1 and third.handle is not None
    assert len(shop.bought()) == 3 and third.handle not in {purchase.handle for purchase in purchases}


def test_many_unread_orders_are_few_calls(shop_of: Callable[[str], Shop]) -> None:
    """A purchase reads the price of the one before it, a look reads a few orders, and each order once."""
    shop = shop_of("proxyscrape")
    shop.box.control([{"vendor": "proxyscrape", "processing": 600.0}])
    for number in range(30):
        shop.buyer().place(shop.request, order_key=f"k{number}")
    shop.box.control([{"advance": 700.0}])
    assert shop.box.book.count("proxyscrape", "get") <= 40
    before = shop.box.book.count("proxyscrape", "get")
    shop.box.fault(vendor="proxyscrape", operation="create", when="before", action="reset", times=1)
    assert shop.buyer().place(shop.request, order_key="lost").step is Step.PLACED
    looks = [line for line in shop.ledger.history("lost") if line.why.startswith("absent")]
    assert len(looks) == 2 and any("proven absent" in line.why for line in shop.ledger.history("lost"))
    assert shop.box.book.count("proxyscrape", "get") - before <= 60, "ten by the ledger, then twenty a look"
    assert len(shop.bought()) == 31


def test_a_read_without_the_rule_of_lag_would_prove_too_much() -> None:
    """The guard of the random runs: with every read taken as current, they find false proofs at once."""
    found = 0
    for seed in range(20):
        try:
            _run(seed, settle=0.0)
        except AssertionError:
            found += 1
    assert found > 10


def test_a_read_that_is_older_than_the_one_before_it_makes_no_mark(shop_of: Callable[[str], Shop]) -> None:
    """Two reads within the settle time of a purchase: the first shows its charge, the second does not yet."""
    shop = shop_of("iproyal")
    placed = shop.buyer(settle=3600).place(shop.request, order_key="a")
    assert placed.price is not None
    checkpoints = shop.buyer(settle=3600).settling.evidence.checkpoints
    price, another = placed.price.amount, replace(placed, order_key="another")
    for missing in (price, Decimal(0), price):
        balance = Money(1000 - missing, "USD")
        compared = checkpoints.compare(checkpoints.begin(), balance)
        assert compared.gap == 0, compared.alarm
        with pytest.raises((WalletHeld, CapExceeded), match="min_balance"):
            shop.ledger.check_claim(another, floor=Floor(balance, 1000 - 2 * price + Decimal("0.01"), compared.shown))


def test_a_read_that_began_before_the_mark_shows_nothing_of_what_came_between(shop_of: Callable[[str], Shop]) -> None:
    """A worker reads the balance, stands still while others buy twice, and goes on: neither purchase is in its balance."""
    shop = shop_of("iproyal")
    checkpoints = shop.buyer(settle=0.2).settling.evidence.checkpoints
    begun, balance = checkpoints.begin(), Money(Decimal(1000), "USD")
    for key in ("a", "b"):
        placed = shop.buyer(settle=0.2).place(shop.request, order_key=key)
        time.sleep(0.3)  # the second one's read is certain of the first one
    assert placed.price is not None
    compared = checkpoints.compare(begun, balance)
    least = balance.amount - 3 * placed.price.amount + Decimal("0.01")
    with pytest.raises((WalletHeld, CapExceeded), match="min_balance"):
        shop.ledger.check_claim(replace(placed, order_key="another"), floor=Floor(balance, least, compared.shown))


@pytest.mark.parametrize(
    ("price", "now", "gap"), [("7.335", "92.66", "0"), ("7.335", "92.65", "0.01"), ("7.33", "92.66", "0.01")]
)
def test_a_charge_in_whole_cents_for_a_finer_quote_is_no_gap(price: str, now: str, gap: str) -> None:
    mark = Mark(Money(Decimal("100.00"), "USD"), 0, START)
    bought = Bought(1, 1.0, Decimal(price), True, 0.0)
    charges = charges_of([bought.known(1000.0)], Clocks(START + timedelta(seconds=1000), SETTLE))
    assert max(Decimal(0), unexplained(mark, Money(Decimal(now), "USD"), charges) - charges.rounding) == Decimal(gap)
