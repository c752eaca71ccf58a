"""Orders that nobody waits for: the next purchase of their wallet reads them, so that their price and their end get known.

Rule: a few orders a purchase, the oldest first, and each order at the vendor's own rhythm.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial

from airflow_provider_proxyorders.domain.errors import OrderNotFound, ProxyOrdersError, UnreadableAnswer, VendorError
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, dump_json, load_json
from airflow_provider_proxyorders.domain.model import TAKEN, Purchase, VendorOrder
from airflow_provider_proxyorders.ledger import facts
from airflow_provider_proxyorders.purchase.polling import look_pause
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.transport.many import run_many

#: Orders that one purchase reads at most.
MOST_ORDERS = 20


class Unwatched:
    """Reads unwatched orders of one account's wallet."""

    def __init__(self, tracker: OrderTracker):
        self.tracker, self.ledger, self.wallet = tracker, tracker.ledger, tracker.account.wallet
        self.polling = tracker.vendor.capabilities.polling
        self.looks = facts.unwatched_orders(tracker.ledger, tracker.account.wallet)

    def refresh(self, order_keys: Sequence[str], *, at_once: bool = False) -> bool:
        """Read the orders of these purchases, and orders that are unfinished after the longest wait.

        :param at_once: also orders that an earlier purchase read a moment ago.
        :returns: whether an order was read. One that cannot be read stays as it is.
        """
        now = self.ledger.clock()
        long_ago = now - timedelta(seconds=self.polling.timeout)
        left = self.ledger.oldest_placed(self.wallet, long_ago, MOST_ORDERS)
        if not order_keys and not left:
            return False
        looks = self._earlier_looks()
        by_key = {purchase.order_key: purchase for purchase in left}
        by_key |= {key: purchase for key in order_keys if (purchase := self.ledger.find(key)) is not None}
        due = [
            purchase
            for purchase in by_key.values()
            if purchase.vendor == self.tracker.vendor.name
            and purchase.order_id
            and purchase.step in TAKEN
            and (at_once or self._is_due(purchase, looks, now.timestamp()))
        ][:MOST_ORDERS]
        if due:
            kept = {key: at for key, at in looks.items() if key in by_key}
            self.looks.put(dump_json({**kept, **{purchase.order_key: int(now.timestamp()) for purchase in due}}))
        return self._read(due)

    def _earlier_looks(self) -> dict[str, int]:
        try:
            looks = load_json(self.looks.get() or "{}")
        except UnreadableBody:
            return {}
        return {str(key): int(at) for key, at in looks.items()}

    def _is_due(self, purchase: Purchase, looks: dict[str, int], now: float) -> bool:
        """Whether no purchase has read it so far, or its rhythm has passed since."""
        if purchase.order_key not in looks:
            return True
        age = now - (purchase.sent_at or purchase.created_at).timestamp()
        return now - looks[purchase.order_key] >= look_pause(self.polling, age, None, 0.5)

    def _read(self, due: Sequence[Purchase]) -> bool:
        read = False
        try:
            with closing(self._answers(due)) as answers:
                for purchase, answer in answers:
                    try:
                        self._take(purchase, answer)
                        read = True
                    except (OrderNotFound, UnreadableAnswer):
                        continue  # it may show later, and the others are read
        except VendorError as error:
            self.tracker.say(f"Orders that nobody waits for could not be read: {error}")
        return read

    def _answers(self, due: Sequence[Purchase]) -> Generator[tuple[Purchase, VendorOrder | ProxyOrdersError], None, None]:
        """What a read of each order brought. A list leaves some out."""
        http, vendor = self.tracker.http, self.tracker.vendor
        if due and vendor.capabilities.ids_per_read > 1:
            order_ids = [purchase.order_id or "" for purchase in due]
            orders = http.run_reading(lambda: vendor.get_many(order_ids))
            yield from ((purchase, orders[str(purchase.order_id)]) for purchase in due if purchase.order_id in orders)
            return
        for start in range(0, len(due), http.at_once):  # in parts, so that few are asked for in vain
            part = due[start : start + http.at_once]
            with closing(run_many(http, [partial(vendor.get, purchase.order_id or "") for purchase in part])) as answers:
                yield from zip(part, answers, strict=True)

    def _take(self, purchase: Purchase, answer: VendorOrder | ProxyOrdersError) -> None:
        """Record what a read of an order brought.

        :raises ProxyOrdersError: such an ``answer``; the ledger stays as it is.
        """
        if isinstance(answer, OrderNotFound):
            self.tracker.refresh(purchase)  # the moment of a miss counts, and the others may have taken long
        elif isinstance(answer, ProxyOrdersError):
            raise answer
        else:
            self.tracker.record_reading(purchase, answer)
