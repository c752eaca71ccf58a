"""One look at the vendor for a purchase with a lost answer. It sends reads only.

Rule: the vendor's read is compared with everything the ledger knows of other purchases, so that their money explains itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from airflow_provider_proxyorders.domain.errors import OrderNotFound, VendorError
from airflow_provider_proxyorders.domain.model import Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.rows import History
from airflow_provider_proxyorders.purchase.checkpoint import UNSURE, Checkpoints
from airflow_provider_proxyorders.purchase.other_extensions import among_extensions, share_of_equals
from airflow_provider_proxyorders.purchase.outcome import outcome_unknown
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.purchase.unwatched import MOST_ORDERS
from airflow_provider_proxyorders.vendors.base import Look, Operation
from airflow_provider_proxyorders.wire.reading import when

#: One look takes at most this many reads. A read is repeated after other purchases changed the balance during it.
READS_PER_LOOK = 3
#: Unfinished purchases of the wallet among which one that was sent before is searched.
MOST_BEFORE = 1000


class OwnedIds:
    """Tells whether an id of the vendor's belongs to another purchase of the wallet. All purchases count, however old.

    :param not_these: further ids that cannot be the purchase's own.
    """

    def __init__(self, ledger: Ledger, purchase: Purchase, not_these: Collection[str] = ()):
        self.ledger, self.purchase, self.not_these = ledger, purchase, frozenset(not_these)

    def __contains__(self, vendor_id: object) -> bool:
        return vendor_id in self.not_these or self.ledger.owned_by_another(self.purchase, str(vendor_id))


class EvidenceReader:
    """Looks for purchases of one account at the vendor."""

    def __init__(self, tracker: OrderTracker):
        self.tracker, self.vendor, self.ledger = tracker, tracker.vendor, tracker.ledger
        self.checkpoints = Checkpoints(tracker)

    def look(self, purchase: Purchase, not_these: Collection[str] = ()) -> Look:
        """Look for a purchase once. The order of a late answer is a person's to decide about, so a look does not find it.

        :param not_these: orders that cannot be it, beside those that other purchases of the ledger own.
        :raises OutcomeUnknown: the vendor cannot be read, or the purchase is of another account of this wallet. That proves
            nothing; the purchase stays as it is.
        """
        if self.tracker.sent_elsewhere(purchase):
            why = f"it was sent from another account of this wallet; only connection {purchase.conn_id!r} can look for it"
            raise outcome_unknown(purchase, self.vendor, why, retry="soon")
        not_these = {*not_these, *self.ledger.late_orders(purchase.order_key)}
        try:
            unread = self._unread(purchase)
            for _ in range(READS_PER_LOOK):
                expected = self.checkpoints.expected(purchase)
                evidence = {**purchase.evidence, "expected": expected, "unread": unread}
                look = self._resolved(purchase, evidence, not_these)
                if look.lacks_view and self._disowned_another(purchase):
                    continue  # what the answer of another one named is no order: it explains nothing any more
                if look.verdict == "found" or self.checkpoints.expected(purchase) == expected:
                    break  # otherwise the money of other purchases may explain this look
            if look.candidates:
                return self._among_alike(purchase, look)
            if purchase.kind == "extend" and look.verdict == "found" and (share := self._share(purchase, look)) is not None:
                return share
            look = among_extensions(self.tracker, self.checkpoints, purchase, look)
            return self._beside_open_ones(purchase, look, not_these)
        except VendorError as error:
            why = f"the vendor could not be asked: {one_line(error)}"
            raise outcome_unknown(purchase, self.vendor, why, retry_after=error.retry_after) from None

    def _beside_open_ones(self, purchase: Purchase, look: Look, not_these: Collection[str]) -> Look:
        """The same look; what it found may be the order of another purchase with an open outcome, which is decided first."""
        if look.verdict != "found" or look.order is None:
            return look
        earlier, other = self._open_before(purchase), self._open_beside(purchase, look.order)
        if earlier is None and other is not None and purchase.kind == "create":
            if self._was_shown_before(purchase, other):  # what that one's evidence does not hold came later than this one
                return self.look(purchase, {*not_these, *self.vendor.names(look.order)})
            return look  # both asked for the same, and the first one gets it
        if earlier is None and other is None:
            return look
        rival, how = (earlier, "sent before it") if earlier is not None else (other, "refused beside it")
        beside = f"{rival.order_key!r}, {how}" if rival is not None else ""
        return Look("not visible", f"{look.detail}, which may be of {beside}; that is decided first", trace=True)

    def suspects(self, purchase: Purchase) -> list[Purchase]:
        """Other purchases of the wallet that were refused, and may have landed all the same."""
        since = (purchase.sent_at or purchase.created_at) - timedelta(seconds=self.tracker.settle_time)
        sent = self.ledger.sent_after(purchase.wallet, 0, since)
        return self.checkpoints.suspects([each for each in sent if each.order_key != purchase.order_key])

    def _disowned_another(self, purchase: Purchase) -> bool:
        """Whether a read took an order id from another creation of the wallet, because nobody finds that order."""
        others = self.ledger.purchases(wallet=purchase.wallet, in_steps=(Step.PLACED,), limit=MOST_BEFORE)
        unconfirmed = [each for each in self._here(others) if each.kind == "create" and not each.confirmed]
        reread = [other for other in unconfirmed if other.order_key != purchase.order_key][:MOST_ORDERS]
        return any(self._is_disowned(other) for other in reread)

    def _open_before(self, purchase: Purchase) -> Purchase | None:
        """A creation that was sent shortly before this one and has an open outcome: what a look finds may be its order.

        Purchases of a wallet take turns, so there is one only after an answer that named an order which no read shows. After the
        settle time the evidence of this purchase showed what it had bought.
        """
        kind, sent_at = cast(Operation, purchase.kind), purchase.sent_at
        if kind != "create" or sent_at is None or not self.vendor.capabilities.reads_evidence_alone(kind):
            return None
        others = self.ledger.purchases(wallet=purchase.wallet, in_steps=(Step.PLACED, Step.UNKNOWN), limit=MOST_BEFORE)
        unconfirmed = [other for other in self._here(others) if other.kind == kind and not other.confirmed]
        earlier = [other for other in unconfirmed if other.sent_at is not None and other.sent_at < sent_at]
        before = [other for other in earlier if not self._was_shown_before(other, purchase)][:MOST_ORDERS]
        return next((other for other in before if other.step is Step.UNKNOWN or not self._is_shown(other)), None)

    def _open_beside(self, purchase: Purchase, order: VendorOrder) -> Purchase | None:
        """A purchase that may be what a look at this one found: sent after it with an open outcome, or refused unsurely."""
        kind, sent_at = cast(Operation, purchase.kind), purchase.sent_at
        if sent_at is None or self.tracker.repeats_safely(kind):
            return None
        refused = [other for other in self.suspects(purchase) if (other.kind, other.target) == (kind, purchase.target)]
        if kind == "extend":
            return refused[0] if refused else None
        others = self.ledger.purchases(wallet=purchase.wallet, in_steps=(Step.SENT, Step.UNKNOWN), limit=MOST_BEFORE)
        later = [other for other in self._here(others) if other.sent_at is not None and other.sent_at > sent_at]
        after = [other for other in later if other.kind == kind]
        for other in [*refused, *after][:MOST_ORDERS]:
            look = self._resolved(other, self._beside(other), frozenset())
            if look.verdict == "inconclusive" or (look.order and self.vendor.names(look.order) & self.vendor.names(order)):
                return other
        return None

    def _among_alike(self, purchase: Purchase, look: Look) -> Look:
        """The look at a purchase of which several orders may be its own, beside others with an open outcome.

        Purchases that asked for the same get the orders in the order of their sending, which is right whoever bought which; those
        that were refused come last. More orders than such purchases: one is nobody's, and the look stays as it is.
        """
        taker, alike = dict[str, Purchase](), self._alike(purchase)
        if look.paid is not None and not all(stays_open(self.ledger, other, self.tracker.settle_time) for other in alike):
            return look  # it may be found with its price
        fitting = {other.order_key: look.candidates if other is purchase else self._could_be(other) for other in alike}
        for other in alike:
            shown_in = [later for later in alike if later is not other and self._was_shown_before(other, later)]
            came_later = {order.order_id for later in shown_in for order in fitting[later.order_key]}
            free = (order for order in fitting[other.order_key] if order.order_id not in {*taker, *came_later})
            if (order := next(free, None)) is not None:
                taker[order.order_id] = other
        if any(order.order_id not in taker for order in look.candidates):
            return look
        own = next((order for order in look.candidates if taker[order.order_id] is purchase), None)
        if own is None:
            why = f"{look.detail}; all may be of other purchases that asked for the same, which are decided first"
            return Look("not visible", why, trace=True)
        beside = ", ".join(repr(other.order_key) for other in alike if other is not purchase) or "nothing open"
        return Look("found", f"{look.detail}; {beside} asked for the same, and this one is left {own.order_id}", own)

    def _share(self, purchase: Purchase, look: Look) -> Look | None:
        """The look at an extension as its share beside equal ones with an open outcome; see `share_of_equals`."""
        equals = self._alike(purchase)
        others = [other for other in equals if other is not purchase]
        if not others or any(self._was_shown_before(purchase, other) for other in others):
            return None
        return share_of_equals(self.tracker, self.checkpoints, purchase, look, equals)

    def _alike(self, purchase: Purchase) -> list[Purchase]:
        """Purchases that asked for the same and have an open outcome, with this one: as they were sent, the refused ones last."""
        steps = (Step.SENT, Step.UNKNOWN, Step.QUARANTINED, Step.PLACED)
        unresolved = self.ledger.purchases(wallet=purchase.wallet, in_steps=steps, limit=MOST_BEFORE)
        others = [
            other
            for other in self._here([*unresolved, *self.suspects(purchase)])
            if (other.kind, other.request, other.target) == (purchase.kind, purchase.request, purchase.target)
            and other.order_key != purchase.order_key
            and other.sent_at is not None
            and not other.confirmed
            and not self._was_shown_before(other, purchase)
        ][:MOST_ORDERS]
        others = [other for other in others if other.step is not Step.PLACED or not self._is_shown(other)]
        return sorted([purchase, *others], key=lambda each: (UNSURE in each.evidence, each.sent_at or each.created_at))

    def _could_be(self, purchase: Purchase) -> Sequence[VendorOrder]:
        """The orders of which any may be a purchase's own."""
        look = self._resolved(purchase, self._beside(purchase), frozenset(self.ledger.late_orders(purchase.order_key)))
        return look.candidates or ([look.order] if look.order is not None else [])

    def _beside(self, purchase: Purchase) -> dict[str, Any]:
        """The evidence of a purchase beside one that is looked for."""
        return {**purchase.evidence, "expected": self.checkpoints.expected(purchase), "unread": []}

    def _here(self, others: Sequence[Purchase]) -> list[Purchase]:
        """Those that this account can show."""
        return [other for other in others if not self.tracker.sent_elsewhere(other)]

    def _was_shown_before(self, purchase: Purchase, later: Purchase) -> bool:
        """Whether the evidence of a later purchase was read when every read showed all of this one.

        That is a settle time after its sender had an answer or gave up. All these moments are of the ledger's clock.
        """
        read_from, left_by = when(later.evidence.get("read_from")), purchase.sent_until or purchase.sent_at
        if read_from is None or left_by is None:
            return False
        sent_by = read_from - timedelta(seconds=self.tracker.settle_time)
        if left_by <= sent_by:
            return True
        since_sent = list[History]()
        for entry in self.ledger.history(purchase.order_key):
            since_sent = [] if entry.step is Step.SENT else [*since_sent, entry]
        return bool(since_sent) and since_sent[0].at <= sent_by

    def _is_shown(self, placed: Purchase) -> bool:
        try:
            return self.tracker.refresh(placed).step is not Step.UNKNOWN
        except VendorError:
            return False

    def _is_disowned(self, placed: Purchase) -> bool:
        try:
            return self.tracker.refresh(placed).step is Step.UNKNOWN
        except VendorError:
            return False

    def _resolved(self, purchase: Purchase, evidence: Mapping[str, Any], not_these: Collection[str]) -> Look:
        sent_at = purchase.sent_at or purchase.created_at
        evidence = self.ledger.with_seen(purchase, evidence, self.vendor.seen_ids)
        evidence = {**evidence, "maybe_refunded": self.ledger.maybe_refunded(purchase)}
        kind, owned = cast(Operation, purchase.kind), OwnedIds(self.ledger, purchase, not_these)
        return self.tracker.http.run_reading(
            lambda: self.vendor.resolve(kind, purchase.request, purchase.target, evidence, sent_at, owned)
        )

    def _unread(self, purchase: Purchase) -> list[str]:
        """Ids of other orders without a known handle. The vendor reads a few of them a look, and the ledger the next few."""
        unread = self.ledger.without_handle(purchase, 3 * MOST_ORDERS)
        if len(unread) > MOST_ORDERS:
            self.checkpoints.unwatched.refresh([*unread][MOST_ORDERS:])
            unread = self.ledger.without_handle(purchase, 3 * MOST_ORDERS)
        return [*unread.values()]

    def reported(self, purchase: Purchase) -> Look | None:
        """The order named by a verified webhook for a purchase, as the vendor's read confirms it.

        A reference chosen by a user may be an earlier purchase's, too. This method skips orders of that purchase.
        """
        reference = self.vendor.reference_in(purchase.request)
        for order_id in self.ledger.order_ids_of_reference(purchase.wallet, reference) if reference else ():
            if self.ledger.owner_of(purchase.wallet, order_id) not in (None, purchase.order_key):
                continue
            try:
                vendor_order = self.tracker.http.run(self.vendor.get(order_id))
            except OrderNotFound:
                continue
            if vendor_order.traits.get("reference") != reference:  # the read is the truth, the webhook a hint
                continue
            if not self.tracker.why_not(purchase, vendor_order):
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


def stays_open(ledger: Ledger, purchase: Purchase, settle_time: float) -> bool:
    """Whether two looks after the settle time left a purchase open, or it was refused."""
    settled_at = (purchase.sent_until or purchase.created_at) + timedelta(seconds=settle_time)
    looks = [look for look in ledger.looks_at_last_sending(purchase.order_key) if look.at >= settled_at]
    return len(looks) >= 2 or purchase.step is Step.REJECTED
