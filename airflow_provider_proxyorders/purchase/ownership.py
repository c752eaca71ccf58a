"""Whose order it is: an order becomes a purchase's own, or is taken away again.

Two rules. The answer to a purchase may name another order, or one that does not exist. So until a read has shown its order, a
purchase can lose it again, and then the evidence decides.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import OrderNotFound, UnreadableAnswer
from airflow_provider_proxyorders.domain.model import Actor, Money, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Ledger, StaleClaim
from airflow_provider_proxyorders.vendors.base import Operation, Vendor
from airflow_provider_proxyorders.wire.reading import when

#: In the evidence of a purchase: the first read that did not find the order of its answer.
MISSING_SINCE = "missing_since"


class OrderOwnership(ABC):
    """The part of a tracker that gives orders to purchases."""

    vendor: Vendor
    ledger: Ledger
    account: Account
    actor: Actor
    say: Callable[[str], None]

    @property
    @abstractmethod
    def settle_time(self) -> float: ...

    @abstractmethod
    def as_it_stands(self, purchase: Purchase) -> Purchase: ...

    @abstractmethod
    def step_for(self, purchase: Purchase, vendor_order: VendorOrder) -> Step: ...

    def write(
        self,
        purchase: Purchase,
        step: Step,
        why: str,
        vendor_order: VendorOrder,
        *,
        price: Money | None = None,
        confirmed: bool = False,
    ) -> Purchase:
        """Record an order of the vendor's as the purchase's own, under all its names.

        :raises StaleClaim: another worker has taken the purchase further.
        :raises OwnedElsewhere: the order belongs to another creation. Nothing was recorded.
        """
        names = self.vendor.names(vendor_order)
        return self.ledger.record(
            purchase, step, why, self.actor, vendor_order=vendor_order, price=price, names=names, confirmed=confirmed
        )

    def why_not(self, purchase: Purchase, vendor_order: VendorOrder) -> str:
        """Why an order cannot be the purchase's own, as half a sentence; "" if it fits as far as it can be read."""
        if purchase.kind == "extend" and vendor_order.order_id != purchase.target:
            return f"it is order {vendor_order.order_id}, the extended order is {purchase.target}"
        kind = cast(Operation, purchase.kind)
        evidence = self.ledger.with_seen(purchase, purchase.evidence, self.vendor.seen_ids)
        return self.vendor.contradiction(kind, purchase.request, evidence, vendor_order)

    def sent_elsewhere(self, purchase: Purchase) -> bool:
        """Whether another account sent a purchase: this one shows neither its order nor its charge, so a miss proves nothing.

        A connection whose key was changed still looks for what it sent.
        """
        sender, account = purchase.evidence.get("account"), self.account
        return bool(sender and account.digest) and sender != account.digest and purchase.conn_id != account.conn_id

    def disown(self, purchase: Purchase, why: str) -> Purchase:
        """Take the order away that the answer to a purchase named. The purchase is UNKNOWN again, and the evidence decides."""
        try:
            after = self.ledger.disown(purchase, f"{why}; the evidence decides", self.actor)
        except StaleClaim:
            return self.as_it_stands(purchase)
        self.say(f"Order key {purchase.order_key!r}: {why}. It may have landed as another order; the next try looks for it.")
        return after

    def note_missing(self, purchase: Purchase, error: OrderNotFound) -> Purchase:
        """Judge a read that does not find the order of a purchase.

        Before any read has shown it, only the answer named it. Two reads without it, apart by the settle time, take it away.

        :returns: the purchase, UNKNOWN.
        :raises OrderNotFound: an order that reads have shown.
        :raises UnreadableAnswer: it is too early; a later read decides.
        """
        purchase = self.as_it_stands(purchase)  # an earlier read may have noted it already
        settled = purchase.kind != "create" or purchase.confirmed or purchase.step is not Step.PLACED
        if settled or self.sent_elsewhere(purchase):
            raise error
        now, since = self.ledger.clock(), when(purchase.evidence.get(MISSING_SINCE))
        if since is not None and (now - since).total_seconds() >= self.settle_time:
            return self.disown(purchase, f"the answer named order {purchase.order_id}, and no read finds it")
        if since is None:
            noted = {**purchase.evidence, MISSING_SINCE: now.isoformat()}
            with contextlib.suppress(StaleClaim):
                why = f"the vendor does not find order {purchase.order_id}"
                self.ledger.record(purchase, Step.PLACED, why, self.actor, evidence=noted)
        raise UnreadableAnswer(
            f"{self.vendor.title} does not find order {purchase.order_id}, which the answer to {purchase.order_key!r} named. "
            f"It is asked again for {self.settle_time:.0f} s; then the evidence decides. This call moves no money."
        ) from error

    def note_shown(self, purchase: Purchase) -> Purchase:
        """End a row of reads without the order of a purchase: a read has shown it, though not that it is the purchase's own."""
        if MISSING_SINCE not in purchase.evidence:
            return purchase
        noted = {name: value for name, value in purchase.evidence.items() if name != MISSING_SINCE}
        with contextlib.suppress(StaleClaim):  # another worker recorded something first
            why = f"the vendor finds order {purchase.order_id} again"
            return self.ledger.record(purchase, Step.PLACED, why, self.actor, evidence=noted)
        return purchase

    def step_for_answer(self, purchase: Purchase, vendor_order: VendorOrder) -> Step:
        """The step of a purchase by the answer to it. A new order is PLACED at most: only a read shows that it is there."""
        return Step.PLACED if purchase.kind == "create" else self.step_for(purchase, vendor_order)
