"""The second place of a known answer: the state of the task, for the time when the ledger cannot be written.

Two rules. A kept answer is a hint: the order is read at the vendor, and passes the checks of every answer, before the ledger
records it. It holds ids only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from airflow_provider_proxyorders.domain.errors import LedgerError, VendorError
from airflow_provider_proxyorders.domain.model import TAKEN, Purchase, VendorOrder
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.purchase.outcome import outcome_unknown
from airflow_provider_proxyorders.purchase.polling import is_miss
from airflow_provider_proxyorders.purchase.tracker import OrderTracker


@dataclass(frozen=True)
class KeptAnswer:
    """The order of an answer that the ledger could not take.

    :param handle: the vendor's second id of the order.
    :param fence: of the sending with this answer.
    """

    order_id: str
    handle: str | None
    fence: int


class AnswerStore(Protocol):
    """Where answers are kept, by order key: outside of the ledger, and for all tries of a task."""

    def keep(self, order_key: str, answer: KeptAnswer) -> None:
        """:raises Exception: it cannot be kept."""

    def find(self, order_key: str) -> KeptAnswer | None:
        """The answer of an earlier try; ``None`` also where it cannot be looked up."""


class KeptAnswers:
    """Keeps the answers of one task, and gives them to its next try.

    :param store: ``None`` outside of a task.
    :param record: writes the order of an answer down, by the rules of every answer. It takes the purchase, the fence of the
        sending, and the order as read.
    """

    def __init__(
        self, tracker: OrderTracker, store: AnswerStore | None, record: Callable[[Purchase, int, VendorOrder], Purchase]
    ):
        self.tracker, self.store, self.record = tracker, store, record

    def keep(self, claimed: Purchase, vendor_order: VendorOrder) -> bool:
        """Keep the order of an answer; returns whether that was possible. The answer is told in any case."""
        if self.store is None:
            return False
        try:
            self.store.keep(claimed.order_key, KeptAnswer(vendor_order.order_id, vendor_order.handle, claimed.fence))
        except Exception as error:  # Airflow's store may be away with the ledger, or this try was replaced
            self.tracker.say(
                f"Order {vendor_order.order_id} is missing in the task's state: writing failed ({type(error).__name__})"
            )
            return False
        return True

    def adopt(self, purchase: Purchase | None, order_key: str) -> Purchase | None:
        """Give a purchase the order of a kept answer, if the vendor shows it.

        :param purchase: as the ledger has it.
        :returns: the purchase, with its order; as it is without a kept answer, or where the vendor does not have the order.
        :raises OutcomeUnknown: the order cannot be read now. The next try reads it.
        :raises LedgerError: the ledger lacks a purchase with an answer, so it is another ledger. This try bought nothing.
        """
        if self.store is None or (purchase is not None and purchase.step in TAKEN):
            return purchase
        answer = self.store.find(order_key)
        if answer is None or answer.order_id in self.tracker.ledger.late_orders(order_key):  # or it is a person's to decide
            return purchase
        if purchase is None:
            raise LedgerError(
                f"the ledger lacks {order_key!r}, which an earlier try of this task bought as order {answer.order_id}; is "
                "[proxyorders] ledger_url the same on every host? Nothing was bought by this try.",
                retry="never",
            )
        try:
            vendor_order = self.tracker.read_order(answer.order_id)
        except VendorError as error:
            why = f"its answer named order {answer.order_id}: {one_line(error)}"
            if not is_miss(error):
                raise outcome_unknown(purchase, self.tracker.vendor, why, retry="soon") from None
            self.tracker.say(f"Order key {order_key!r}: {why} The evidence decides.")
            return purchase
        self.tracker.say(
            f"Order key {order_key!r}: the ledger failed when an earlier try wrote order {answer.order_id} down; it is read"
        )
        return self.record(purchase, answer.fence, vendor_order)


__all__ = ["AnswerStore", "KeptAnswer", "KeptAnswers"]
