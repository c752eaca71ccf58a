"""One look at the vendor for a purchase with a lost answer. It sends reads only.

Rule: the vendor's read is compared with everything the ledger knows of other purchases, so that their money explains itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from airflow_provider_proxyorders.domain.errors import OrderNotFound, VendorError
from airflow_provider_proxyorders.domain.model import Purchase, VendorOrder
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.purchase.outcome import outcome_unknown
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.vendors.base import Look, Operation
from airflow_provider_proxyorders.wire.messages import Flow

#: One look takes at most this many reads. A read is repeated after other purchases changed the balance during it.
READS_PER_LOOK = 3


class EvidenceReader:
    """Looks for purchases of one account at the vendor."""

    def __init__(self, tracker: OrderTracker):
        self.tracker, self.vendor, self.ledger = tracker, tracker.vendor, tracker.ledger

    def look(self, purchase: Purchase) -> Look:
        """Look for a purchase once.

        :raises OutcomeUnknown: the vendor cannot be read. A failed read proves nothing; the purchase stays as it is.
        """
        try:
            for _ in range(READS_PER_LOOK):
                others = self._others(purchase)
                look = self.tracker.http.run(self._resolving(purchase, others))
                if look.verdict == "found" or self._others(purchase) == others:
                    break  # otherwise the money of other purchases may explain this look
            return look
        except VendorError as error:
            why = f"the vendor could not be asked: {one_line(error)}"
            raise outcome_unknown(purchase, self.vendor, why) from None

    def _others(self, purchase: Purchase) -> dict[str, Any]:
        """The share of other purchases in the wallet's balance; see :meth:`Vendor.resolve`."""
        checkpoints = [
            {
                "balance": evidence.get("balance"),
                "currency": evidence.get("currency"),
                "charged": [
                    {"price": f"{other.price.amount:f}", "body": other.request} for other in charged if other.price is not None
                ],
            }
            for evidence, charged in self.ledger.balance_checkpoints(purchase)
        ]
        return {"others": f"{self.ledger.spent_since_intent(purchase):f}", "balance_checkpoints": checkpoints}

    def _resolving(self, purchase: Purchase, others: Mapping[str, Any]) -> Flow[Look]:
        sent_at = purchase.sent_at or purchase.created_at
        owned = self.ledger.own_ids(purchase.wallet, since=sent_at - timedelta(days=2))
        evidence = {**purchase.evidence, **others, "maybe_refunded": self.ledger.maybe_refunded(purchase)}
        kind = cast(Operation, purchase.kind)
        own = {purchase.order_id or ""}
        return self.vendor.resolve(kind, purchase.request, purchase.target, evidence, sent_at, owned - own)

    def reported(self, purchase: Purchase) -> Look | None:
        """The order named by a verified webhook for a purchase, as the vendor's read confirms it.

        A reference chosen by a user may be an earlier purchase's, too. This method skips orders of that purchase.
        """
        reference = self.vendor.reference_in(purchase.request)
        for order_id in self.ledger.order_ids_of_reference(purchase.wallet, reference) if reference else ():
            owners = self.ledger.by_order_id(purchase.wallet, order_id)
            if any(owner.kind == "create" and owner.order_key != purchase.order_key for owner in owners):
                continue
            try:
                vendor_order = self.tracker.http.run(self.vendor.get(order_id))
            except OrderNotFound:
                continue
            if vendor_order.traits.get("reference") == reference:  # the read is the truth, the webhook a hint
                return Look("found", f"the vendor's webhook names order {order_id} for reference {reference}", vendor_order)
        return None

    def is_same_order(self, purchase: Purchase, vendor_order: VendorOrder) -> bool:
        """Whether the ledger has this order for the purchase already, perhaps under another name from its evidence."""
        if purchase.order_id is None or purchase.order_id == vendor_order.order_id:
            return purchase.order_id is not None
        try:
            return purchase.order_id in self.vendor.names(self.tracker.http.run(self.vendor.get(vendor_order.order_id)))
        except VendorError:
            return False
