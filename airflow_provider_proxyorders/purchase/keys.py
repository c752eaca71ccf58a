"""The order key of a task in the ledger: the purchase that its wallet has under it, or the key of a new one.

Rule: a request that does not fit the purchase under its key is told apart before anything is sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.ledger import KeyTaken, StaleClaim
from airflow_provider_proxyorders.purchase.attempt import PurchaseRequest
from airflow_provider_proxyorders.purchase.tracker import OrderTracker

#: Gives the request of a task for a name of its wallet and an order key of the ledger.
RequestFrom = Callable[[str, str], PurchaseRequest]
#: How often a purchase begins anew because its key came into use. More often, the next try goes on.
MOST_BEGINNINGS = 4


class OrderKeys:
    """The order keys of one account."""

    def __init__(self, tracker: OrderTracker):
        self.tracker, self.ledger, self.account = tracker, tracker.ledger, tracker.account

    def find(self, order_key: str) -> Purchase | None:
        """The purchase of the wallet under the key of a task, ``None`` for an unused key."""
        return next(iter(self._own(self.ledger.under_key(order_key))), None)

    def buy(self, order_key: str, request_from: RequestFrom, buy: Callable[[PurchaseRequest], Purchase]) -> Purchase:
        """Buy under the key of a task; where the key comes into use meanwhile, begin anew.

        :raises KeyTaken: it came into use again and again. Nothing was bought.
        """
        for left in range(MOST_BEGINNINGS - 1, -1, -1):
            try:
                request = self._as_begun(order_key, request_from)
            except LedgerError as error:  # without its ledger, a try can say so of itself alone
                error.tell("This try bought nothing.")
                raise
            try:
                return buy(request)
            except KeyTaken as taken:
                if not left:
                    raise
                if taken.unsent is not None:
                    self._give_up(taken.unsent)
        raise AssertionError("the last beginning returns or raises")

    def _as_begun(self, order_key: str, request_from: RequestFrom) -> PurchaseRequest:
        """The request of a task as an earlier try began it: with the name that the wallet had then, and its order key."""
        purchases = self.ledger.under_key(order_key)
        own = self._own(purchases)
        for purchase in own:
            for wallet in self.account.wallet_names:
                request = request_from(wallet, purchase.order_key)
                if self.ledger.is_same_request(purchase, request.fingerprint):
                    return self._of_task(request, order_key)
        if own:
            key = own[0].order_key
        else:
            key = self.ledger.free_key(order_key, self.account.wallet) if purchases else order_key
        return self._of_task(request_from(self.account.wallet, key), order_key)

    def _own(self, purchases: Sequence[Purchase]) -> list[Purchase]:
        return self.ledger.of_wallet(purchases, self.account.wallet, self.tracker.actor) if purchases else []

    def _of_task(self, request: PurchaseRequest, order_key: str) -> PurchaseRequest:
        return request if request.order_key == order_key else replace(request, task_key=order_key)

    def _give_up(self, unsent: Purchase) -> None:
        """End an unsent purchase of the same buyer, whose connection leads to another wallet by now."""
        with contextlib.suppress(StaleClaim):  # it goes on there; then it is asked anew what became of it
            self.ledger.give_up(unsent, f"its buyer pays from wallet {self.account.wallet!r} now", self.tracker.actor)
            self.tracker.say(f"Order key {unsent.order_key!r} was never sent from wallet {unsent.wallet!r} and is given up there")
