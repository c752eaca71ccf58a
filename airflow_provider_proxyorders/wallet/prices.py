"""What renewals cost: quoted if the vendor quotes extensions, else the ledger's last price, else unknown.

The source of a price stays with it, and so does the reason against a better one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OrderingNotPermitted,
    UnsupportedOperation,
    VendorError,
)
from airflow_provider_proxyorders.domain.model import Money, Purchase
from airflow_provider_proxyorders.ledger import Ledger
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
        """One renewal with its price.

        :raises AuthenticationFailed, OrderingNotPermitted: the vendor refuses this key.
        :raises InvalidRequest: ``request`` breaks a rule of the vendor's documentation.
        """
        purchases = [each for each in self.ledger.by_order_id(self.vendor.account.wallet, order_id) if each.price is not None]
        purchases.sort(key=lambda each: each.kind == "create")  # the price of an extension is closer to the next one
        answer = self._quote(order_id, purchases)
        if answer.price is not None:
            return Renewal(order_id, at, answer.price, "quote")
        if purchases:
            return Renewal(order_id, at, _in_currency_of(self.vendor.account, purchases[0].price), "ledger", answer.note)
        return Renewal(order_id, at, None, "unknown", answer.note or "its price is not in the ledger", answer.passing)

    def _quote(self, order_id: str, purchases: Sequence[Purchase]) -> _Answer:
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
            self.quotes_left -= 1
            quote = self.http.run(self.vendor.quote_extension(order_id, prepared.body))
        except (AuthenticationFailed, OrderingNotPermitted):
            raise
        except InvalidRequest as error:
            if self.request is not None:
                raise
            return _Answer(note=f"not quoted: {error.field} of its last extension no longer passes")
        except (UnsupportedOperation, VendorError) as error:
            return _Answer(note=f"not quoted: {type(error).__name__}", passing=error.passing)
        return _Answer(_in_currency_of(self.vendor.account, quote.price))


def _last_extension(purchases: Sequence[Purchase]) -> Mapping[str, Any] | None:
    """The body of the newest extension, unless a value of it is masked."""
    body = next((purchase.request for purchase in purchases if purchase.kind == "extend"), None)
    return None if body is None or "***" in body.values() else body


def _in_currency_of(account: Account, price: Money | None) -> Money | None:
    """A price without a currency is in the wallet's."""
    return price if price is None or price.currency else Money(price.amount, account.currency)
