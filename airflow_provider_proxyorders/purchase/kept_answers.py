"""The second place of a known answer: the state of the task, for the time when the ledger cannot be written.

Three rules. A kept answer is a hint: the order is read at the vendor, and passes the checks of every answer, before the ledger
records it. It holds ids only. A mark of an earlier try names its ledger; with another ledger this try buys nothing, since only
the first one can tell what was bought.
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


@dataclass(frozen=True)
class Mark:
    """What an earlier try left outside of the ledger, right before its purchase left.

    :param ledger: the identity of its ledger; "" if an older version of this package left the mark.
    """

    order_key: str
    ledger: str


class AnswerStore(Protocol):
    """Where answers are kept, by order key: outside of the ledger, and for all tries of a task."""

    def mark(self) -> Mark | None:
        """The mark of the last try that was about to send a purchase, of any order key.

        :raises LedgerError: it cannot be read.
        """

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
            self.store.keep(
                claimed.task_key or claimed.order_key, KeptAnswer(vendor_order.order_id, vendor_order.handle, claimed.fence)
            )
        except Exception as error:  # Airflow's store may be away with the ledger, or this try was replaced
            self.tracker.say(
                f"Order {vendor_order.order_id} is missing in the task's state: writing failed ({type(error).__name__})"
            )
            return False
        return True

    def adopt(self, purchase: Purchase | None, order_key: str, task_key: str | None = None) -> Purchase | None:
        """Give a purchase the order of a kept answer, if the vendor shows it.

        :param purchase: as the ledger has it.
        :param task_key: the key as the task gave it, ``None`` for the order key.
        :returns: the purchase, with its order; as it is without a kept answer, or where the vendor does not have the order.
        :raises OutcomeUnknown: the order cannot be read now. The next try reads it.
        :raises LedgerError: an earlier try recorded its purchase in another ledger. This try bought nothing.
        """
        if self.store is None or (purchase is not None and purchase.step in TAKEN):
            return purchase
        if not self._has_earlier_try(self.store, purchase):
            return purchase
        answer = self.store.find(task_key or order_key)
        if answer is None or answer.order_id in self.tracker.ledger.late_orders(order_key):  # or it is a person's to decide
            return purchase
        if purchase is None:
            raise _lacking(order_key, answer)
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

    def _has_earlier_try(self, store: AnswerStore, purchase: Purchase | None) -> bool:
        """Whether an earlier try may have left an answer. If so, this must be its ledger."""
        ledger = self.tracker.ledger
        try:
            mark = store.mark()
        except LedgerError:
            if purchase is None:
                raise
            return True  # it wrote into this very ledger
        if mark is None:
            return purchase is not None
        if mark.ledger and mark.ledger != ledger.identity:
            raise _another_ledger(
                f"an earlier try recorded {mark.order_key!r} in the ledger {mark.ledger}, and this try opened the ledger "
                f"{ledger.identity}; whether that purchase was taken stands in the first one only"
            )
        if (purchase is None or purchase.order_key != mark.order_key) and ledger.find(mark.order_key) is None:
            raise _lacking(mark.order_key, store.find(mark.order_key))
        return True


def _lacking(order_key: str, answer: KeptAnswer | None) -> LedgerError:
    what = f"bought as order {answer.order_id}" if answer is not None else "recorded and may have bought"
    text = f"the ledger lacks {order_key!r}, which an earlier try {what}: it is another ledger, or an older copy"
    return _another_ledger(text)


def _another_ledger(text: str) -> LedgerError:
    return LedgerError(
        f"{text}. This try bought nothing. Use one [proxyorders] ledger_url on every host: `proxyorders doctor` shows the same "
        "ledger id on each.",
        retry="never",
    )


__all__ = ["AnswerStore", "KeptAnswer", "KeptAnswers", "Mark"]
