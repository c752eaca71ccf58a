"""How far a wallet's balance reaches: which of the renewals that are due it pays for, and the first that it does not.

Four rules: what is due first is paid first, and what does not fit leaves the money to what comes after it, as it would be when
each is renewed in turn; a price is asked for where the vendor quotes extensions, else it is the ledger's last one, else it is
unknown, and which of these it is stays with it; a price that is unknown or in another currency makes the answer unknown, never
"covered"; and only what may be spent counts, so the connection's ``min_balance`` stays in the wallet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Any, Literal

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OrderingNotPermitted,
    Throttled,
    UnreadableAnswer,
    UnsupportedOperation,
    VendorError,
    VendorUnavailable,
)
from airflow_provider_proxyorders.domain.model import Money, Purchase
from airflow_provider_proxyorders.ledger import Ledger, spending
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor

Source = Literal["quote", "ledger", "unknown"]
#: Days of spending that the present rate is taken from.
WINDOW = 30
_CENT, _TENTH = Decimal("0.01"), Decimal("0.1")


@dataclass(frozen=True)
class Renewal:
    """One renewal that has to be paid.

    :param at: end of what is paid for now, aware.
    :param price: what the renewal costs; None where nobody knows.
    :param source: where the price comes from.
    :param note: why it is not better known.
    :param passing: whether the vendor could not be asked for the price now, and may tell it the next time.
    """

    order_id: str
    at: datetime
    price: Money | None = None
    source: Source = "unknown"
    note: str = ""
    passing: bool = False


@dataclass(frozen=True)
class CoveredRenewal:
    """A renewal, and whether the balance pays for it; None where its price is unknown."""

    renewal: Renewal
    covered: bool | None


@dataclass(frozen=True)
class Runway:
    """What a balance pays for.

    :param spendable: the balance less what must remain.
    :param renewals: in order of date.
    :param undated: orders of which nobody says when they end; they may be due.
    """

    spendable: Money
    renewals: tuple[CoveredRenewal, ...] = ()
    undated: int = 0

    @property
    def first_uncovered(self) -> Renewal | None:
        """The first renewal that the balance does not pay for."""
        return next((paid.renewal for paid in self.renewals if paid.covered is False), None)

    @property
    def unknown(self) -> tuple[Renewal, ...]:
        """Renewals without a usable price."""
        return tuple(paid.renewal for paid in self.renewals if paid.covered is None)

    @property
    def covers(self) -> bool | None:
        """Whether the balance pays for all; None where it pays for what has a price and date, and something has none."""
        if self.first_uncovered is not None:
            return False
        return None if self.unknown or self.undated else True

    @property
    def passing(self) -> bool:
        """Whether something is unknown only for now."""
        return any(renewal.passing for renewal in self.unknown)

    @property
    def needed(self) -> Decimal:
        """What all renewals with a usable price cost together."""
        return sum((_price(paid.renewal) for paid in self.renewals if paid.covered is not None), Decimal(0))

    @property
    def short(self) -> Decimal:
        """What is missing for all renewals with a usable price; 0 where nothing is."""
        return max(Decimal(0), self.needed - self.spendable.amount)

    def told(self) -> str:
        """One sentence for people."""
        many = len(self.renewals)
        undated = f"; of {self.undated} orders nobody says when they end (see term)" if self.undated else ""
        if not many:
            return f"no renewal is known to be due{undated}" if undated else "no renewal is due"
        doubt = (f"; {len(self.unknown)} of them without a known price" if self.unknown else "") + undated
        first, due = self.first_uncovered, f"{many} renewal{'s' if many != 1 else ''} due"
        if first is None and len(self.unknown) == many:
            return f"{due}{doubt}"
        if first is None:
            return f"{due}, {self._named(self.needed)} in all, covered{doubt}"
        price = f" for {self._named(first.price.amount)}" if first.price else ""
        covered = sum(paid.covered is True for paid in self.renewals)
        return (
            f"{due}, {covered} covered, {self._named(self.short)} short; the first that is not: "
            f"order {first.order_id}{price}, due {first.at:%Y-%m-%d %H:%M} UTC{doubt}"
        )

    def _named(self, amount: Decimal) -> str:
        return f"{shown(amount)} {self.spendable.currency}" if self.spendable.currency else shown(amount)


def runway(balance: Money, due: Iterable[Renewal], keep: Decimal | None = None, undated: int = 0) -> Runway:
    """Pay what is due in order of date from a balance, on paper.

    :param keep: what must remain in the wallet.
    :param undated: orders of which nobody says when they end.
    """
    spendable = Money(balance.amount - (keep or Decimal(0)), balance.currency)
    left, renewals = spendable.amount, []
    for one in sorted(due, key=lambda one: (one.at, one.order_id)):
        if one.price is None:
            renewals.append(CoveredRenewal(one, None))
            continue
        if _other_currency(one.price, balance):
            note = f"priced in {one.price.currency}, the wallet holds {balance.currency}"
            renewals.append(CoveredRenewal(replace(one, note=note), None))
            continue
        covered = one.price.amount <= left or one.price.amount == 0
        if covered:
            left -= one.price.amount
        renewals.append(CoveredRenewal(one, covered))
    return Runway(spendable, tuple(renewals), undated)


def shown(amount: Decimal) -> str:
    """An amount for people and for XCom: with cents, and with more where there is more; never in exponents."""
    if amount == 0:
        return "0.00"
    if amount.adjusted() < 20 and amount == amount.quantize(_CENT):
        return f"{amount:.2f}"
    return f"{amount:f}"


# ---------------------------------------------------------------------------------------------- prices


class Prices:
    """What renewals of one account cost: quoted where that can be asked, else the ledger's last price.

    :param request: the vendor's body fields of an extension; without it the order's last extension in the ledger is asked for.
    :param most_quotes: ask the vendor for at most so many, the rest comes from the ledger.
    """

    def __init__(
        self,
        vendor: Vendor,
        http: Http,
        ledger: Ledger,
        *,
        request: Mapping[str, Any] | None = None,
        most_quotes: int = 50,
    ):
        self.vendor, self.http, self.ledger, self.request = vendor, http, ledger, request
        self.quotes_left = most_quotes

    def renewal(self, order_id: str, at: datetime) -> Renewal:
        """One renewal with its price.

        :raises AuthenticationFailed, OrderingNotPermitted: the vendor takes no more questions with this key.
        :raises InvalidRequest: ``request`` breaks a rule of the vendor's documentation.
        """
        known = [order for order in self.ledger.by_order_id(self.vendor.account.wallet, order_id) if order.price is not None]
        known.sort(key=lambda order: order.kind == "create")  # an extension tells more of the next one than the creation does
        asked, note, passing = self._quote(order_id, known)
        if asked is not None:
            return Renewal(order_id, at, asked, "quote")
        if known:
            return Renewal(order_id, at, _priced(known[0].price, self.vendor.account), "ledger", note)
        return Renewal(order_id, at, None, "unknown", note or "the ledger knows no price of it", passing)

    def _quote(self, order_id: str, known: list[Purchase]) -> tuple[Money | None, str, bool]:
        """The price, else why there is none, and whether that may pass."""
        capabilities = self.vendor.capabilities
        if not (capabilities.quote and capabilities.extend):
            return None, "", False
        body = self.request if self.request is not None else _last_request(known)
        if body is None:
            return None, "not quoted: no extension of it in the ledger, and no request given", False
        if self.quotes_left <= 0:
            return None, "not quoted: enough was asked for", False
        try:
            prepared = self.vendor.prepare_extend(order_id, body)
            self.quotes_left -= 1
            found = self.http.run(self.vendor.quote_extension(order_id, prepared.body))
        except (AuthenticationFailed, OrderingNotPermitted):
            raise
        except InvalidRequest as error:
            if self.request is not None:
                raise
            return None, f"not quoted: {error.field} of its last extension no longer passes", False
        except (UnsupportedOperation, VendorError) as error:
            passing = isinstance(error, (Throttled, VendorUnavailable, UnreadableAnswer))
            return None, f"not quoted: {type(error).__name__}", passing
        return _priced(found.price, self.vendor.account), "", False


def _last_request(known: list[Purchase]) -> Mapping[str, Any] | None:
    """The body of the newest extension, unless something of it is masked."""
    body = next((order.request for order in known if order.kind == "extend"), None)
    return None if body is None or "***" in body.values() else body


def _priced(price: Money | None, account: Account) -> Money | None:
    return price if price is None or price.currency else Money(price.amount, account.currency)


def _price(renewal: Renewal) -> Decimal:
    return renewal.price.amount if renewal.price else Decimal(0)


def _other_currency(price: Money, balance: Money) -> bool:
    return bool(price.currency and balance.currency and price.currency != balance.currency)


# ---------------------------------------------------------------------------------------------- spending


@dataclass(frozen=True)
class Rate:
    """What a wallet spends at present.

    :param spent: by the ledger, in the last ``days`` days; open and reserved purchases count.
    :param days: at most :data:`WINDOW`; fewer where the ledger's first purchase is younger.
    """

    spent: Decimal
    days: int

    @property
    def per_day(self) -> Decimal:
        """Rounded up to cents."""
        return (self.spent / self.days).quantize(_CENT, ROUND_UP) if self.days else Decimal(0)

    def days_left(self, spendable: Decimal) -> Decimal | None:
        """How many days the money lasts at this rate, in tenths; None where nothing is spent."""
        if self.spent <= 0:
            return None
        return (max(Decimal(0), spendable) * self.days / self.spent).quantize(_TENTH, ROUND_DOWN)


def rate(ledger: Ledger, account: Account) -> Rate:
    """The present rate of a wallet's spending, from the ledger's days."""
    today = date.fromisoformat(spending.day_of(ledger.clock(), account.timezone))
    first = today - timedelta(days=WINDOW - 1)
    days = spending.by_day(ledger.engine, account.wallet, first.isoformat())
    counted = {day: amount for day, amount in days.items() if amount > 0 and day <= today.isoformat()}
    if not counted:
        return Rate(Decimal(0), 0)
    began = spending.first_day(ledger.engine, account.wallet)
    age = (today - date.fromisoformat(began)).days + 1 if began else WINDOW
    return Rate(sum(counted.values(), Decimal(0)), min(WINDOW, age))
