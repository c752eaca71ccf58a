"""What renewals cost: quoted if the vendor quotes extensions, else the ledger's last price, else unknown.

The source of a price stays with it, and so does the reason against a better one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal, NamedTuple

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OrderingNotPermitted,
    ProxyOrdersError,
    UnsupportedOperation,
    VendorError,
)
from airflow_provider_proxyorders.domain.model import Money, Quote
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.bulk import PricedPurchase, priced_purchases
from airflow_provider_proxyorders.transport.many import run_many
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor

Source = Literal["quote", "ledger", "unknown"]


@dataclass(frozen=True)
class Renewal:
    """One renewal that has to be paid.

    :param at: end of the term that is paid now, aware.
    :param price: the cost of the renewal; ``None`` if it is unknown.
    :param note: why a better price is missing.
    :param passing: whether the vendor failed to answer only for now, and may tell the price the next time.
    """

    order_id: str
    at: datetime
    price: Money | None = None
    source: Source = "unknown"
    note: str = ""
    passing: bool = False


class _Answer(NamedTuple):
    """A quoted price, or the reason why it is missing."""

    price: Money | None = None
    note: str = ""
    passing: bool = False


class Prices:
    """The renewal prices of one account.

    :param request: the vendor's body fields of an extension; ``None`` = those of the order's last extension in the ledger.
    :param most_quotes: ask the vendor for at most so many prices; the rest comes from the ledger.
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
        """One renewal with its price; see :meth:`renewals`."""
        (renewal,) = self.renewals([(order_id, at)])
        return renewal

    def renewals(self, due: Sequence[tuple[str, datetime]]) -> list[Renewal]:
        """The renewals of orders that end at these moments, each with its price. The vendor is asked for several at a time.

        :raises AuthenticationFailed, OrderingNotPermitted: the vendor refuses this key.
        :raises InvalidRequest: ``request`` breaks a rule of the vendor's documentation.
        """
        purchases = priced_purchases(self.ledger, self.vendor.account.wallet, (order_id for order_id, _ in due))
        bodies = [self._body(order_id, purchases.get(order_id, ())) for order_id, _ in due]
        flows = [partial(self.vendor.quote_extension, *asked) for asked in bodies if not isinstance(asked, _Answer)]
        renewals: list[Renewal] = []
        with closing(run_many(self.http, flows)) as quotes:
            for (order_id, at), asked in zip(due, bodies, strict=True):
                answer = asked if isinstance(asked, _Answer) else self._answer(next(quotes))
                renewals.append(self._renewal(order_id, at, purchases.get(order_id, ()), answer))
        return renewals

    def _renewal(self, order_id: str, at: datetime, purchases: Sequence[PricedPurchase], answer: _Answer) -> Renewal:
        if answer.price is not None:
            return Renewal(order_id, at, answer.price, "quote")
        if purchases:
            return Renewal(order_id, at, _in_currency_of(self.vendor.account, purchases[0].price), "ledger", answer.note)
        return Renewal(order_id, at, None, "unknown", answer.note or "its price is not in the ledger", answer.passing)

    def _body(self, order_id: str, purchases: Sequence[PricedPurchase]) -> tuple[str, Mapping[str, Any]] | _Answer:
        """An order with the body of its quote, or the reason why there is none."""
        capabilities = self.vendor.capabilities
        if not (capabilities.extend and capabilities.quote_extend):
            return _Answer()
        body = self.request if self.request is not None else _last_extension(purchases)
        if body is None:
            return _Answer(note="not quoted: no extension of it in the ledger, and no request given")
        if self.quotes_left <= 0:
            return _Answer(note="not quoted: enough was asked for")
        try:
            prepared = self.vendor.prepare_extend(order_id, body)
        except (InvalidRequest, UnsupportedOperation) as error:
            return self._unquoted(error)
        self.quotes_left -= 1
        return order_id, prepared.body

    def _answer(self, quote: Quote | ProxyOrdersError) -> _Answer:
        if isinstance(quote, ProxyOrdersError):
            return self._unquoted(quote)
        return _Answer(_in_currency_of(self.vendor.account, quote.price))

    def _unquoted(self, error: ProxyOrdersError) -> _Answer:
        """:raises ProxyOrdersError: the error ends the search for prices."""
        if isinstance(error, InvalidRequest) and self.request is None:
            return _Answer(note=f"not quoted: {error.field} of its last extension no longer passes")
        ends = (AuthenticationFailed, OrderingNotPermitted, InvalidRequest)
        if isinstance(error, ends) or not isinstance(error, (UnsupportedOperation, VendorError)):
            raise error
        return _Answer(note=f"not quoted: {type(error).__name__}", passing=error.passing)


def _last_extension(purchases: Sequence[PricedPurchase]) -> Mapping[str, Any] | None:
    """The body of the newest extension, unless a value of it is masked."""
    body = next((purchase.request for purchase in purchases if purchase.kind == "extend"), None)
    return None if body is None or "***" in body.values() else body


def _in_currency_of(account: Account, price: Money | None) -> Money | None:
    """A price without a currency is in the wallet's."""
    return price if price is None or price.currency else Money(price.amount, account.currency)
