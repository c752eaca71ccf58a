"""The reads of a vendor's orders: one, several, all of them, and all of them part by part.

One rule: what a flow returns fits into memory. A vendor with pages hands over one page at a time where an account may hold any
number of orders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from airflow_provider_proxyorders.domain.errors import OrderNotFound
from airflow_provider_proxyorders.domain.model import VendorOrder
from airflow_provider_proxyorders.vendors.contract import Filters
from airflow_provider_proxyorders.vendors.rules import VendorRules
from airflow_provider_proxyorders.wire.messages import Flow

# Inside the class the name ``list`` is the method.
Orders = list[VendorOrder]
#: Takes one part of a list.
Take = Callable[[Sequence[VendorOrder]], None]


class ReadsOrders(VendorRules):
    """The part of :class:`~airflow_provider_proxyorders.vendors.base.Vendor` about its orders."""

    def get(self, order_id: str) -> Flow[VendorOrder]:
        """One order as it stands now."""
        raise self.unsupported("reading an order")

    def get_many(self, order_ids: Sequence[str]) -> Flow[dict[str, VendorOrder]]:
        """Several orders in as few calls as the vendor allows; the result leaves out unknown orders."""
        orders: dict[str, VendorOrder] = {}
        for order_id in order_ids:
            try:
                orders[order_id] = yield from self.get(order_id)
            except OrderNotFound:
                continue
        return orders

    def batches(self, order_ids: Sequence[str]) -> Sequence[Sequence[str]]:
        """Ids in groups, each for one call of :meth:`get_many`. Several groups are read at the same time."""
        size = self.capabilities.ids_per_read
        return [order_ids[start : start + size] for start in range(0, len(order_ids), size)]

    def list(self, filters: Filters) -> Flow[Orders]:
        """All orders that pass the filters, every page."""
        raise self.unsupported("listing orders")

    def list_parts(self, filters: Filters, take: Take) -> Flow[None]:
        """The orders of :meth:`list`, each once, handed over part by part.

        :param take: gets one part; memory holds no other one.
        """
        take((yield from self.list(filters)))

    def inventory(self) -> Flow[Orders | None]:
        """All orders of the account, for comparison with the ledger; None for a vendor without a list."""
        yield from ()
        return None

    def inventory_parts(self, take: Take) -> Flow[bool]:
        """The orders of :meth:`inventory`, handed over part by part.

        :returns: whether the vendor lists them.
        """
        orders = yield from self.inventory()
        if orders is not None:
            take(orders)
        return orders is not None
