"""Late answers: the vendor names the order after other tries have begun to look for the purchase.

Two rules. The order of a late answer is recorded, as long as its purchase has no other order and is not under way again.
Otherwise it stays on the purchase as an open question. When the second sending turns out to have bought nothing, the late order
is simply the purchase's own; else a person decides.
"""

from __future__ import annotations

from airflow_provider_proxyorders.domain.errors import LedgerError, OutcomeUnknown, VendorError
from airflow_provider_proxyorders.domain.model import Money, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import OwnedElsewhere, StaleClaim
from airflow_provider_proxyorders.purchase.price import quoted_price
from airflow_provider_proxyorders.purchase.settling import Settling

#: Steps of a purchase with room for the order of a late answer.
WITHOUT_ORDER = (Step.UNKNOWN, Step.QUARANTINED, Step.INTENDED, Step.REJECTED)


class LateAnswers:
    """Records the late answers of one account."""

    def __init__(self, settling: Settling):
        self.settling, self.tracker, self.ledger = settling, settling.tracker, settling.ledger

    def record(self, claimed: Purchase, vendor_order: VendorOrder, price: Money | None) -> Purchase:
        """Record an answer after other tries have begun to look for the purchase.

        :param claimed: the purchase as it was sent.
        :param price: the charge or the quote.
        :returns: the purchase with this order; UNKNOWN, if the order cannot be its own.
        :raises OutcomeUnknown: the purchase is another order by now, or is being sent again. The order is an open question, and
            the wallet is frozen.
        """
        why = self.tracker.why_not(claimed, vendor_order)
        while True:
            current = self.tracker.as_it_stands(claimed)
            try:
                if current.step in WITHOUT_ORDER:
                    return self._record_in_time(current, vendor_order, price, why)
                if current.step is not Step.SENT and self.settling.evidence.is_same_order(current, vendor_order):
                    return current
                if why and self._is_settled(current):
                    self.tracker.say(f"A late answer names order {vendor_order.order_id}, but {why}; {current.order_id} is found")
                    return current
                raise self._ask(current, vendor_order, why)
            except StaleClaim:  # another worker took it further meanwhile
                continue
            except OwnedElsewhere as owned:
                why = one_line(owned)

    def _is_settled(self, current: Purchase) -> bool:
        """Whether the order of the only sending is found: an answer that names an impossible order opens no question then."""
        sendings = [entry for entry in self.ledger.history(current.order_key) if entry.step is Step.SENT]
        return current.confirmed and current.order_id is not None and len(sendings) == 1

    def _record_in_time(self, current: Purchase, vendor_order: VendorOrder, price: Money | None, why: str) -> Purchase:
        actor = self.tracker.actor
        if why:
            doubt = f"a late answer names order {vendor_order.order_id}, but {why}; the evidence decides"
            if current.step in (Step.INTENDED, Step.REJECTED):  # the vendor answered "taken", so it may have landed
                return self.ledger.reopen(current, doubt, actor)
            return self.ledger.record(current, current.step, doubt, actor)
        landed = "a late answer: it landed"
        if current.step in (Step.INTENDED, Step.REJECTED):  # from now on it cannot be sent again
            if current.kind == "create" and (owner := self.ledger.owner_of(current.wallet, vendor_order.order_id)):
                if owner != current.order_key:
                    raise OwnedElsewhere(vendor_order.order_id, owner)
            current = self.ledger.reopen(current, landed, actor)
        step = self.tracker.step_for_answer(current, vendor_order)
        return self.tracker.write(current, step, landed, vendor_order, price=price)

    def _ask(self, current: Purchase, vendor_order: VendorOrder, doubt: str) -> OutcomeUnknown:
        """Keep the order as an open question, and return the error that tells so."""
        key, order_id = current.order_key, vendor_order.order_id
        why = f"a late answer says that {key!r} was taken as order {order_id}, after it was given up"
        if doubt:
            why += f"; {doubt}"
        self.ledger.ask(current, order_id, why, self.tracker.actor)
        return OutcomeUnknown(
            f"{why}. Wallet {current.wallet!r} is frozen. Look into the vendor's dashboard, then decide: "
            f"proxyorders ledger show '{key}'",
            order_key=key,
        )

    def has_order_for(self, purchase: Purchase) -> bool:
        """Whether a late answer named an order for a purchase whose other sendings bought nothing.

        A vendor with references takes one order per reference, so there the late order is that of all sendings.
        """
        one_order = self.tracker.repeats_safely(purchase.kind) and purchase.step in (Step.UNKNOWN, Step.QUARANTINED)
        if not (one_order or purchase.step in (Step.INTENDED, Step.REJECTED)):
            return False
        return bool(self.ledger.questions(order_key=purchase.order_key))

    def adopt(self, purchase: Purchase) -> Purchase:
        """Give a purchase the order of its late answer, after the sending that came later has proven to have bought nothing.

        :returns: the purchase with that order, or as it is without an open question.
        :raises OutcomeUnknown: there are several late orders, the order cannot be read, or it is another purchase's: a person
            decides. Nothing was sent.
        """
        questions = self.ledger.questions(order_key=purchase.order_key)
        if not questions:
            return purchase
        order_id, actor = questions[0].order_id, self.tracker.actor
        try:
            if len(questions) > 1:
                raise LedgerError(f"late answers name several orders: {', '.join(each.order_id for each in questions)}")
            vendor_order = self.tracker.http.run(self.tracker.vendor.get(order_id))
            why = f"a late answer named order {order_id}, and the sending after it bought nothing"
            if purchase.step in (Step.INTENDED, Step.REJECTED):
                purchase = self.ledger.reopen(purchase, why, actor)
            price = vendor_order.price or quoted_price(self.tracker.vendor, purchase)
            step = self.tracker.step_for(purchase, vendor_order)
            adopted = self.tracker.write(purchase, step, why, vendor_order, price=price, confirmed=True)
        except StaleClaim:
            return self.tracker.as_it_stands(purchase)
        except (VendorError, LedgerError) as error:
            key = purchase.order_key
            raise OutcomeUnknown(
                f"{questions[0].why}. {one_line(error)} Nothing is sent under this key until that is decided: "
                f"proxyorders ledger resolve '{key}' --adopt {order_id} if it is this purchase, else --foreign {order_id}.",
                order_key=key,
            ) from error
        self.tracker.say(f"Order key {adopted.order_key!r}: {why}")
        return self.tracker.alarm_on_overcharge(adopted)
