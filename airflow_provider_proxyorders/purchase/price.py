"""The price of a purchase: the cap, the vendor's quote, and the balance for the minimum balance.

Rule: amounts are compared in one currency only. Without a checked cap nothing is bought.
"""

from __future__ import annotations

from decimal import Decimal

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import CapExceeded, RequestRefused
from airflow_provider_proxyorders.domain.model import Money, Purchase
from airflow_provider_proxyorders.domain.text import amount
from airflow_provider_proxyorders.purchase.attempt import Attempt
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.vendors.base import Vendor

#: Details of a quote that the log of a purchase tells.
NOTABLE = ("message", "next discount")


def cap_of(account: Account, max_price: Decimal | None) -> Decimal:
    """The most that one purchase may cost: the lower of the operator's cap and the connection's.

    :raises CapExceeded: both are missing, or the lower one is 0 or less. Nothing was sent.
    """
    caps = [cap for cap in (max_price, account.caps.max_order_price) if cap is not None]
    if not caps:
        raise CapExceeded(
            f'no price cap: a purchase needs max_price="..." in the operator, or in the extra of connection '
            f'{account.conn_id!r} a line such as "max_order_price": "50.00". Nothing was sent.'
        )
    if min(caps) <= 0:
        raise CapExceeded(
            f"the price cap must be above 0, got {amount(min(caps))}. Nothing was sent. Raise max_price, or max_order_price of "
            f"connection {account.conn_id!r}."
        )
    return min(caps)


def quote(tracker: OrderTracker, attempt: Attempt, cap: Decimal) -> Money | None:
    """The vendor's quote. ``None``: the vendor quotes nothing here, and the ledger reserves the cap.

    :raises CapExceeded: the quote is above the cap. Nothing was bought.
    """
    vendor, account, request = tracker.vendor, tracker.account, attempt.request
    attempt.unquoted = False
    if not vendor.capabilities.can_quote(request.kind):
        return None
    if request.target is None:
        quoted = tracker.http.run(vendor.quote(request.prepared.body))
    else:
        try:
            quoted = tracker.http.run(vendor.quote_extension(request.target, request.prepared.body))
        except RequestRefused as error:
            tracker.say(f"{vendor.title} refused to quote this extension, so the cap is reserved: {error}")
            attempt.unquoted = True
            return None
    price = quoted.price
    for name in NOTABLE:
        if name in quoted.details:
            tracker.say(f"{vendor.title}'s quote, {name}: {quoted.details[name]}")
    require_same_currency(account, price)
    if price.amount > cap:
        raise CapExceeded(
            f"{vendor.title} quotes {price}, the cap is {amount(cap)}. Nothing was bought. Raise max_price or "
            f"'max_order_price' in connection {account.conn_id!r} if the price is right."
        )
    return Money(price.amount, price.currency or account.currency)


def quoted_price(vendor: Vendor, purchase: Purchase) -> Money | None:
    """The vendor's quote for a purchase. ``None``: only the cap is known."""
    quoted = vendor.capabilities.can_quote(purchase.kind) and purchase.evidence.get("quoted", True)
    return purchase.reserved if quoted else None


def balance_for_floor(tracker: OrderTracker) -> Money | None:
    """The balance of the wallet, read now. ``None``: the connection sets no ``min_balance``."""
    if tracker.account.caps.min_balance is None:
        return None
    available = tracker.http.run(tracker.vendor.balance()).available
    require_same_currency(tracker.account, available)
    return available


def require_same_currency(account: Account, money: Money) -> None:
    """Refuse to compare an amount with limits in another currency.

    :raises CapExceeded: the currencies differ. Nothing was bought.
    """
    if not money.comparable(account.currency):
        raise CapExceeded(
            f"the wallet is in {money.currency}, but the limits of connection {account.conn_id!r} are in {account.currency}. "
            "Nothing was bought. Set 'currency' in the connection to the wallet's currency."
        )


def unnamed_currency(account: Account, max_price: Decimal | None) -> str | None:
    """A note for the log about limits without a currency; ``None`` if the connection names one, or nothing is compared."""
    limits = account.caps.as_text()
    if max_price is not None:
        limits["max_price"] = f"{max_price:f}"
    if account.currency or not limits:
        return None
    text = ", ".join(f"{name} {limit}" for name, limit in limits.items())
    return (
        f"connection {account.conn_id!r} names no currency, so these limits are compared with the vendor's amounts as plain "
        f"numbers: {text}. Set 'currency' in the connection, for example USD."
    )
