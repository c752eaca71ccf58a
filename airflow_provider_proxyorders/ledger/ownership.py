"""Whose an order is: one creation of a wallet owns each id of the vendor's.

Two rules. An id is taken in the transaction that records the order, under the lock of the wallet, so two creations can never
get one order. Ids that differ in upper and lower case only are one id.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, delete, select

from airflow_provider_proxyorders.domain.model import Purchase, VendorOrder
from airflow_provider_proxyorders.ledger import trips, turns
from airflow_provider_proxyorders.ledger.rows import OwnedElsewhere
from airflow_provider_proxyorders.ledger.schema import owned_ids

_OWNERS = select(owned_ids.c.vendor_id, owned_ids.c.order_key).where(
    owned_ids.c.wallet == bindparam("_wallet"), owned_ids.c.vendor_id.in_(bindparam("_ids", expanding=True))
)
_OWN = owned_ids.insert()
_RELEASE = delete(owned_ids).where(owned_ids.c.order_key == bindparam("_key"))


def take(connection: Connection, purchase: Purchase, vendor_order: VendorOrder, names: Iterable[str] = ()) -> None:
    """Make a creation the owner of its order, under every name of the order. An extension owns nothing.

    :param names: the vendor's other names of the order; see ``Vendor.names``.
    :raises OwnedElsewhere: another creation owns one of them. Nothing was changed.
    """
    if purchase.kind != "create":
        return
    ids = sorted({name.lower() for name in (vendor_order.order_id, vendor_order.handle, *names) if name})
    owners = {row.vendor_id: row.order_key for row in connection.execute(_OWNERS, {"_wallet": purchase.wallet, "_ids": ids})}
    for vendor_id, owner in owners.items():
        if owner != purchase.order_key:
            raise OwnedElsewhere(vendor_id, owner)
    for each in ids:
        if each not in owners:
            own = {"wallet": purchase.wallet, "vendor_id": each, "order_key": purchase.order_key}
            trips.write_later(connection, _OWN, own)


def release(connection: Connection, purchase: Purchase) -> None:
    """Give all ids of a creation back: its order is unknown again."""
    connection.execute(_RELEASE, {"_key": purchase.order_key})


def owner_of(connection: Connection, wallet: str, vendor_id: str) -> str | None:
    """The order key of the creation with this id, ``None`` for a free id."""
    values = {"_wallet": turns.live_name(connection, wallet), "_ids": [vendor_id.lower()]}
    row = connection.execute(_OWNERS, values).first()
    return row.order_key if row is not None else None
