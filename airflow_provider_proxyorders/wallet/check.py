"""One look at a wallet: balance, runway and rate of spending, as facts for XCom and as sentences for people.

Two rules: it only reads; and a balance counts even if the due renewals cannot be read, so a wallet can be low while the vendor's
list is down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_provider_proxyorders.domain import text
from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError
from airflow_provider_proxyorders.domain.levels import Levels, State, judge
from airflow_provider_proxyorders.domain.model import Money
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.renewal.search import find_due
from airflow_provider_proxyorders.wallet.prices import Prices
from airflow_provider_proxyorders.wallet.rate import SpendingRate, spending_rate
from airflow_provider_proxyorders.wallet.runway import CoveredRenewal, Runway, runway

#: Renewals that are listed one by one; the rest is in the totals.
MOST_LISTED = 200


@dataclass(frozen=True)
class WalletCheck:
    """One look at a wallet.

    :param runway: ``None`` without a horizon, or if the due renewals could not be read.
    :param trouble: why the due renewals could not be read.
    """

    account: Account
    balance: Money
    rate: SpendingRate
    runway: Runway | None = None
    trouble: ProxyOrdersError | None = None

    @property
    def balance_text(self) -> str:
        """The balance for people."""
        return f"{text.amount(self.balance.amount)} {self.balance.currency or ''}".rstrip()

    def judge(self, levels: Levels | None, *, with_runway: bool) -> State | None:
        """Whether the wallet is low or has recovered; ``None`` if this look leaves it open.

        A price missing only for now may come with the next look, so the state stays. A price may also stay unknown, such as the
        price of an order bought elsewhere. It must not keep the wallet low for good: the alert of the next low would be lost.
        """
        covered = (self.runway.covered if self.runway else None) if with_runway else True
        if covered is None and self.runway is not None and not self.runway.passing:
            covered = True
        return judge(levels, self.balance.amount, covered)

    def facts(self) -> dict[str, Any]:
        """Text, numbers and nulls only, for XCom and for notifiers' templates."""
        spendable = self.runway.spendable.amount if self.runway else self.balance.amount - (self.account.caps.min_balance or 0)
        days_left = self.rate.days_left(spendable)
        return {
            "conn_id": self.account.conn_id,
            "wallet": self.account.wallet,
            "balance": text.amount(self.balance.amount),
            "currency": self.balance.currency,
            "spendable": text.amount(spendable),
            **_facts_of_runway(self.runway),
            "spent_per_day": f"{self.rate.per_day:f}",
            "spent_over_days": self.rate.days,
            "days_left": f"{days_left:f}" if days_left is not None else None,
            "trouble": str(self.trouble) if self.trouble else None,
            "renewals": [_facts_of_renewal(each) for each in (self.runway.renewals[:MOST_LISTED] if self.runway else ())],
        }

    def describe(self, levels: Levels | None = None) -> str:
        """For people, in a few sentences."""
        sentences = [f"Balance {self.balance_text}" + (f" ({levels})." if levels else ".")]
        if self.runway is not None:
            sentence = self.runway.describe()
            sentences.append(sentence[:1].upper() + sentence[1:] + ".")
        elif self.trouble is not None:
            sentences.append("The due renewals cannot be read right now.")
        keep = self.account.caps.min_balance
        if keep:
            sentences.append(f"{text.amount(keep)} of it must remain (min_balance).")
        days_left = self.rate.days_left(self.balance.amount - (keep or 0))
        if days_left is not None:
            last = f"{self.rate.days} days" if self.rate.days != 1 else "day"
            sentences.append(
                f"At {text.amount(self.rate.per_day)} a day, as in the last {last}, the money lasts {days_left:f} days."
            )
        return " ".join(sentences)


def _facts_of_runway(way: Runway | None) -> dict[str, Any]:
    if way is None:
        names = ("runway", "renewals_due", "renewals_covered", "renewals_without_price", "orders_without_end", "needed", "short")
        first_names = ("first_uncovered_order_id", "first_uncovered_at", "first_uncovered_price")
        return dict.fromkeys((*names, *first_names))
    first = way.first_uncovered
    return {
        "runway": {True: "covered", False: "short", None: "unknown"}[way.covered],
        "renewals_due": len(way.renewals),
        "renewals_covered": sum(each.covered is True for each in way.renewals),
        "renewals_without_price": len(way.unpriced),
        "orders_without_end": way.undated,
        "needed": text.amount(way.needed),
        "short": text.amount(way.short),
        "first_uncovered_order_id": first.order_id if first else None,
        "first_uncovered_at": first.at.isoformat() if first else None,
        "first_uncovered_price": text.amount(first.price.amount) if first and first.price else None,
    }


def _facts_of_renewal(covered: CoveredRenewal) -> dict[str, str | None]:
    renewal = covered.renewal
    return {
        "order_id": renewal.order_id,
        "at": renewal.at.isoformat(),
        "price": text.amount(renewal.price.amount) if renewal.price else None,
        "currency": renewal.price.currency if renewal.price else None,
        "source": renewal.source,
        "covered": {True: "yes", False: "no", None: "unknown"}[covered.covered],
        "note": renewal.note or None,
    }


def check_wallet(
    tracker: OrderTracker,
    *,
    horizon: timedelta | None,
    term: timedelta | None = None,
    extension: Mapping[str, Any] | None = None,
) -> WalletCheck:
    """Read a wallet and its due renewals: one call for the balance, the vendor's list, and a call for each quote. Several quotes
    are asked for at a time.

    :param horizon: count the renewals due so far ahead; ``None`` = the balance only.
    :param term: how long an order lasts, for vendors without end dates.
    :param extension: the vendor's body fields of an extension, to ask for its price.
    :raises VendorError: the balance cannot be read.
    :raises ConfigError: its currency differs from the connection's.
    """
    account = tracker.account
    balance = tracker.http.run(tracker.vendor.balance()).available
    if not balance.comparable(account.currency):
        raise ConfigError(
            f"wallet {account.wallet!r} holds {balance}, but connection {account.conn_id!r} says its currency is "
            f"{account.currency}: the levels cannot be compared with that. Correct 'currency' in the connection."
        )
    balance = Money(balance.amount, balance.currency or account.currency)
    rate = spending_rate(tracker.ledger, account)
    if horizon is None:
        return WalletCheck(account, balance, rate)
    try:
        # the vendor's own renewals take money, too
        orders = find_due(tracker, as_of=tracker.ledger.clock(), within=horizon, auto_extending=True, term=term)
        prices = Prices(tracker.vendor, tracker.http, tracker.ledger, request=extension)
        due = prices.renewals([(order.order_id, order.expires_at) for order in orders.due])
    except ProxyOrdersError as error:
        return WalletCheck(account, balance, rate, trouble=error)
    # in a vendor's list, an order without an end is new and not delivered yet
    undated = orders.counts["no_expiry"] if orders.source == "ledger" else 0
    return WalletCheck(account, balance, rate, runway(balance, due, account.caps.min_balance, undated))
