"""Orders with a renewal, as far as the ledger knows: by the vendor itself, or by a new order in their place.

One rule: it only reads the ledger. It is unaware of a vendor's renewal switched on or off elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import Ledger, facts
from airflow_provider_proxyorders.ledger.attention import Attention, OrderEnd
from airflow_provider_proxyorders.ledger.bulk import requests_of, taken_keys
from airflow_provider_proxyorders.renewal.keys import replacement_key
from airflow_provider_proxyorders.vendors.base import Vendor

#: A replacement with such an end replaces nothing.
_BAD_ENDS = (Step.FAILED, Step.REFUNDED)


def without_renewed(ledger: Ledger, ends: Sequence[OrderEnd], vendor_of: Callable[[str], Vendor | None]) -> list[OrderEnd]:
    """The orders without a renewal. An extension of ours makes the vendor's own renewal uncertain.

    :param vendor_of: the vendor of a connection, ``None`` for an unreadable one.
    """
    requests = requests_of(ledger, (end.order_key for end in ends))
    vendors = {conn_id: vendor_of(conn_id) for conn_id in {end.conn_id for end in ends}}
    waiting = [end for end in ends if not _renews_by_itself(vendors[end.conn_id], requests.get(end.order_key, {}))]
    replaced = _replaced(ledger, waiting)
    return [end for end in waiting if (end.wallet, end.order_id) not in replaced]


def _renews_by_itself(vendor: Vendor | None, request: Mapping[str, Any]) -> bool:
    """Whether the purchase with the last known end asked its vendor for renewals."""
    return vendor is not None and vendor.renews_by_itself(request)


def _replaced(ledger: Ledger, ends: Sequence[OrderEnd]) -> set[tuple[str, str]]:
    """Wallet and id of the orders in whose place a new one was bought."""
    attention = Attention(ledger.engine)
    names = {wallet: attention.names_of(wallet) for wallet in {end.wallet for end in ends}}
    keys: dict[str, dict[str, str]] = {}
    for end in ends:
        period = facts.replaced_period(ledger, end.wallet, end.order_id).get()
        for name in names[end.wallet] if period is not None else ():
            keys.setdefault(end.wallet, {})[replacement_key(name, end.order_id, str(period))] = end.order_id
    taken = {wallet: taken_keys(ledger, wallet, of_wallet) for wallet, of_wallet in keys.items()}
    return {
        (wallet, keys[wallet][key])
        for wallet, replacements in taken.items()
        for key, (_, step) in replacements.items()
        if step not in _BAD_ENDS
    }
