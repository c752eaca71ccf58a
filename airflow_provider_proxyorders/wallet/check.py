"""One look at a wallet: balance, runway and rate of spending, as facts to hand on and as sentences for people.

Two rules: it only reads; and a balance that was read counts even where what is due cannot be read, so that a wallet can be low
while the vendor's list is down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError
from airflow_provider_proxyorders.domain.levels import Levels, State, judge
from airflow_provider_proxyorders.domain.model import Money
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.renewal.search import find_due
from airflow_provider_proxyorders.wallet.runway import Prices, Rate, Renewal, Runway, rate, runway, shown

#: Renewals that are handed on one by one; the rest is in the totals.
MOST_LISTED = 200


@dataclass(frozen=True)
class WalletCheck:
    """What one look at a wallet showed.

    :param runway: None where no horizon was asked for, or what is due could not be read.
    :param trouble: why what is due could not be read.
    """

    account: Account
    balance: Money
    rate: Rate
    runway: Runway | None = None
    trouble: ProxyOrdersError | None = None

    @property
    def holds(self) -> str:
        """The balance for people."""
        return f"{shown(self.balance.amount)} {self.balance.currency or ''}".rstrip()

    def judge(self, levels: Levels | None, *, with_runway: bool) -> State | None:
        """Whether the wallet is low or has recovered, None where this look does not say.

        What cannot be told right now may be told by the next look, and changes nothing. What nobody will ever tell, such as the
        price of an order that was bought elsewhere, must not hold the wallet low for good: its next low would be told to nobody.
        """
        covers = (self.runway.covers if self.runway else None) if with_runway else True
        if covers is None and self.runway is not None and not self.runway.passing:
            covers = True
        return judge(levels, self.balance.amount, covers)

    def facts(self) -> dict[str, Any]:
        """Text, numbers and nulls only, for XCom and for notifiers' templates."""
        way = self.runway
        spendable = way.spendable.amount if way else self.balance.amount - (self.account.caps.min_balance or 0)
        days_left = self.rate.days_left(spendable)
        first = way.first_uncovered if way else None
        return {
            "conn_id": self.account.conn_id,
            "wallet": self.account.wallet,
            "balance": shown(self.balance.amount),
            "currency": self.balance.currency,
            "spendable": shown(spendable),
            "runway": None if way is None else {True: "covered", False: "short", None: "unknown"}[way.covers],
            "renewals_due": len(way.renewals) if way else None,
            "renewals_covered": sum(paid.covered is True for paid in way.renewals) if way else None,
            "renewals_without_price": len(way.unknown) if way else None,
            "orders_without_end": way.undated if way else None,
            "needed": shown(way.needed) if way else None,
            "short": shown(way.short) if way else None,
            "first_uncovered_order_id": first.order_id if first else None,
            "first_uncovered_at": first.at.isoformat() if first else None,
            "first_uncovered_price": shown(first.price.amount) if first and first.price else None,
            "spent_per_day": f"{self.rate.per_day:f}",
            "spent_over_days": self.rate.days,
            "days_left": f"{days_left:f}" if days_left is not None else None,
            "trouble": str(self.trouble) if self.trouble else None,
            "renewals": [
                {
                    "order_id": paid.renewal.order_id,
                    "at": paid.renewal.at.isoformat(),
                    "price": shown(paid.renewal.price.amount) if paid.renewal.price else None,
                    "currency": paid.renewal.price.currency if paid.renewal.price else None,
                    "source": paid.renewal.source,
                    "covered": {True: "yes", False: "no", None: "unknown"}[paid.covered],
                    "note": paid.renewal.note or None,
                }
                for paid in (way.renewals[:MOST_LISTED] if way else ())
            ],
        }

    def told(self, levels: Levels | None = None) -> str:
        """For people, in a few sentences."""
        said = [f"Balance {self.holds}" + (f" ({levels})." if levels else ".")]
        if self.runway is not None:
            said.append(self.runway.told()[:1].upper() + self.runway.told()[1:] + ".")
        elif self.trouble is not None:
            said.append("What is due cannot be read right now.")
        keep = self.account.caps.min_balance
        if keep:
            said.append(f"{shown(keep)} of it must remain (min_balance).")
        left = self.rate.days_left(self.balance.amount - (keep or 0))
        if left is not None:
            last = f"{self.rate.days} days" if self.rate.days != 1 else "day"
            said.append(f"At {self.rate.per_day:f} a day, as in the last {last}, the money lasts {left:f} days.")
        return " ".join(said)


def look(
    tracker: OrderTracker,
    *,
    horizon: timedelta | None,
    term: timedelta | None = None,
    extension: Mapping[str, Any] | None = None,
) -> WalletCheck:
    """Read a wallet, and what is due from it; one call for the balance, the vendor's list, and a call for each quote.

    :param horizon: count the renewals that are due so far ahead; None counts none.
    :param term: how long an order lasts, for vendors that do not tell when it ends.
    :param extension: the vendor's body fields of an extension, to ask for its price.
    :raises VendorError: when the balance cannot be read.
    :raises ConfigError: when it is in another currency than the connection says.
    """
    account = tracker.account
    balance = tracker.http.run(tracker.vendor.balance()).available
    if balance.currency and account.currency and balance.currency != account.currency:
        raise ConfigError(
            f"wallet {account.wallet!r} holds {balance}, but connection {account.conn_id!r} says its currency is "
            f"{account.currency}: no level can be compared with that. Correct 'currency' in the connection."
        )
    balance = Money(balance.amount, balance.currency or account.currency)
    spent = rate(tracker.ledger, account)
    if horizon is None:
        return WalletCheck(account, balance, spent)
    try:
        # what the vendor renews by itself takes money, too
        found = find_due(tracker, as_of=tracker.ledger.clock(), within=horizon, auto_extending=True, term=term)
        prices = Prices(tracker.vendor, tracker.http, tracker.ledger, request=extension)
        due: list[Renewal] = [prices.renewal(one.order_id, one.expires_at) for one in found.due]
    except ProxyOrdersError as error:
        return WalletCheck(account, balance, spent, trouble=error)
    # where the vendor lists orders, one without an end is new and not delivered yet
    undated = sum(left.reason == "no_expiry" for left in found.left_out) if found.source == "ledger" else 0
    return WalletCheck(account, balance, spent, runway(balance, due, account.caps.min_balance, undated))
