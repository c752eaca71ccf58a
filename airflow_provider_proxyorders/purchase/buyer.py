"""The buyer: the only code that decides to spend. It takes one purchase from the request to the order.

Check the request, write the intent down (price, caps, turn), send once, settle a lost answer. Three rules:

- intent and SENT are durable before the purchase leaves;
- after SENT only a proof allows another sending: a refusal, a failed connection, or two looks at the vendor. A failed read is
  no proof;
- every way out tells the state of the money.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from airflow_provider_proxyorders.domain.errors import (
    ConfigError,
    LedgerError,
    NeverSent,
    OrderKeyConflict,
    OutcomeUnknown,
    ProxyOrdersError,
    VendorError,
)
from airflow_provider_proxyorders.domain.inputs import check_values, order_id_of
from airflow_provider_proxyorders.domain.model import TAKEN, UNRESOLVED, Actor, Money, Purchase, Step
from airflow_provider_proxyorders.domain.names import KEY_EXAMPLE, check_name
from airflow_provider_proxyorders.domain.secrets import masked
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import Intent, Ledger, StaleClaim
from airflow_provider_proxyorders.purchase.attempt import Attempt, PurchaseRequest, fingerprint, reference, sending_time
from airflow_provider_proxyorders.purchase.kept_answers import AnswerStore
from airflow_provider_proxyorders.purchase.keys import OrderKeys
from airflow_provider_proxyorders.purchase.outcome import outcome_unknown
from airflow_provider_proxyorders.purchase.price import cap_of, quote, unnamed_currency
from airflow_provider_proxyorders.purchase.sending import Sending
from airflow_provider_proxyorders.purchase.settling import LONGEST_PAUSE, Settling
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.purchase.turns import Turns
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Operation, Prepared, Vendor

#: Rounds of one call, each a sending or a settling. The longest run with a good end takes six: answer lost, proven absent, login
#: refused, answer lost, proven absent, placed. After six the vendor is in trouble, and the next try goes on.
MOST_ROUNDS = 6
#: The shortest patience by default, and what is added to the time of a sending and its settling, in seconds.
SHORTEST_PATIENCE, MARGIN = 150.0, 30.0


class Buyer(OrderTracker):
    """Buys, extends and tracks orders of one account. It keeps no state of a purchase beyond a call.

    :param fence: called with the order key right before a purchase leaves; raises if Airflow has replaced this try.
    :param answers: a second place for answers that the ledger cannot take, for all tries of a task.
    :param patience: how long to wait for another purchase of the wallet, or another try of this one, in seconds. ``None``: as
        long as it takes to settle a purchase of a lost worker.
    :param ticks: seconds that never go back, from any start, to measure how long this worker was held up.
    """

    def __init__(
        self,
        vendor: Vendor,
        http: Http,
        ledger: Ledger,
        *,
        actor: Actor | None = None,
        fence: Callable[[str], None] | None = None,
        answers: AnswerStore | None = None,
        say: Callable[[str], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        patience: float | None = None,
        ticks: Callable[[], float] = time.monotonic,
    ):
        super().__init__(vendor, http, ledger, actor=actor, say=say, sleep=sleep)
        if patience is None:
            patience = max(SHORTEST_PATIENCE, sending_time(self.account) + min(self.settle_time, LONGEST_PAUSE) + MARGIN)
        self.settling = Settling(self, patience)
        self.keys = OrderKeys(self)
        self.turns = Turns(self.settling, patience, ticks)
        self.sending = Sending(self.turns, fence, answers)

    # -- what a task calls -----------------------------------------------------------------------------------------

    def place(self, request: Mapping[str, Any], *, order_key: str, max_price: Decimal | None = None) -> Purchase:
        """Buy an order, once per key however often this is called.

        :param request: the vendor's own body fields.
        :param order_key: the identity of this purchase.
        :param max_price: the cap for this one purchase, in the wallet's currency.
        :returns: the purchase as it stands in the ledger; its order may still be unfinished.
        :raises InvalidRequest, CapExceeded, OrderKeyConflict: nothing was sent.
        :raises OutcomeUnknown: it may have been bought. The next try looks for it before it sends.
        """
        check_name("order_key", order_key, KEY_EXAMPLE)

        def request_from(wallet: str, key: str) -> PurchaseRequest:
            prepared = self.vendor.prepare_create(request, reference(wallet, key))
            return self.request_for("create", key, prepared, max_price=max_price, wallet=wallet)

        return self.keys.buy(order_key, request_from, self._buy)

    def extend(
        self,
        order_id: str,
        request: Mapping[str, Any],
        *,
        order_key: str,
        max_price: Decimal | None = None,
        still_due: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> Purchase:
        """Extend an order, once per key; see :meth:`place`.

        :param still_due: called with the order's evidence right before the extension leaves (``expires_at`` as ISO text or
            ``None``). Raises :class:`NotDue` if another extension came first, under any key.
        """
        check_name("order_key", order_key, KEY_EXAMPLE)
        prepared = self.vendor.prepare_extend(order_id_of(order_id), request)

        def request_from(wallet: str, key: str) -> PurchaseRequest:
            return self.request_for("extend", key, prepared, order_id, max_price, still_due, wallet)

        return self.keys.buy(order_key, request_from, self._buy)

    def settle(self, purchase: Purchase) -> Purchase:
        """Find out the outcome of an unresolved purchase, for callers beside its own task. It sends reads only.

        :returns: the purchase, adopted or proven absent (INTENDED: its own task may send it again).
        :raises OutcomeUnknown: it is too early for a proof, or a person has to decide.
        """
        if not self.repeats_safely(purchase.kind):
            return self.settling.settle(purchase)
        adopted = None if self.settling.may_be_running(purchase) else self.settling.adopt_reported(purchase)
        if adopted is None:
            raise outcome_unknown(purchase, self.vendor, "only its own task can ask again with its reference.")
        return adopted

    def refuse(self, error: ProxyOrdersError, *, order_key: str | None, target: str | None = None) -> NoReturn:
        """Raise an error about a task's parameters. It tells of the money if an earlier sending of the purchase is unresolved.

        :param target: the order of an extension; it finds an unresolved extension without its key.
        :raises OutcomeUnknown: the earlier sending may have been taken.
        """
        if order_key is not None:
            purchase = self.keys.find(order_key)
        else:
            unresolved = self.ledger.unresolved(wallet=self.account.wallet, limit=1000)
            purchase = next((each for each in unresolved if target is not None and each.target == target), None)
        if purchase is not None and purchase.unresolved:
            raise outcome_unknown(
                purchase, self.vendor, one_line(error), retry=error.retry, retry_after=error.retry_after
            ) from error
        raise error

    # -- one purchase ----------------------------------------------------------------------------------------------

    def reference(self, order_key: str) -> str:
        """Our reference for an order key; see :func:`attempt.reference`."""
        return reference(self.account.wallet, order_key)

    def request_for(
        self,
        kind: Operation,
        order_key: str,
        prepared: Prepared,
        target: str | None = None,
        max_price: Decimal | None = None,
        still_due: Callable[[Mapping[str, Any]], None] | None = None,
        wallet: str | None = None,
    ) -> PurchaseRequest:
        """The request of a task, with its fingerprint.

        :param wallet: the name of the wallet in it, ``None`` = the present one.
        :raises ConfigError: the order key is empty or too long. Nothing was sent.
        :raises InvalidParameter: a text of the request cannot be stored or sent. Nothing was sent.
        """
        if not order_key or len(order_key) > 500:
            raise ConfigError(f"order_key must have 1 to 500 characters, got {len(order_key)}. Nothing was sent.")
        check_values("request", prepared.body)
        identity = fingerprint(kind, wallet or self.account.wallet, self.vendor.name, target, prepared.body)
        return PurchaseRequest(order_key, kind, prepared, identity, target, max_price, still_due)

    def _buy(self, request: PurchaseRequest) -> Purchase:
        for warning in request.prepared.warnings:
            self.say(f"Note: {warning}")
        if note := unnamed_currency(self.account, request.max_price):
            self.say(f"Note: {note}")
        attempt = Attempt(request)
        try:
            return self._until_placed(attempt)
        except ProxyOrdersError as error:
            if error.money != "untouched" and not isinstance(error, VendorError):
                raise
            purchase = self._moved_money(attempt, error)
            if purchase is not None and purchase.step in TAKEN:
                self.say(f"Another try bought {purchase.order_key!r} meanwhile; this try bought nothing: {one_line(error)}")
                return purchase
            if purchase is not None:
                why = one_line(error)
                raise outcome_unknown(purchase, self.vendor, why, retry=error.retry, retry_after=error.retry_after) from error
            error.tell("This try bought nothing." if isinstance(error, (LedgerError, NeverSent)) else "Nothing was bought.")
            raise

    def _until_placed(self, attempt: Attempt) -> Purchase:
        """Send and settle by turns until the vendor has the order. Each round ends with a return, an error or a proof."""
        request = attempt.request
        purchase = self.ledger.find(request.order_key)
        if purchase is None or self.ledger.is_same_request(purchase, request.fingerprint):
            purchase = self.sending.answers.adopt(purchase, request.order_key, request.task_key)
        for _ in range(MOST_ROUNDS):
            try:
                purchase = self._one_round(purchase, attempt)
            except StaleClaim:  # another try was quicker to record the outcome
                purchase = self.ledger.find(request.order_key)
            if purchase and purchase.step in TAKEN and self.ledger.is_same_request(purchase, request.fingerprint):
                return purchase
        raise OutcomeUnknown(
            f"{request.order_key!r} kept changing while this try worked on it; another try goes on from what the ledger knows.",
            order_key=request.order_key,
            retry="soon",
        )

    def _one_round(self, purchase: Purchase | None, attempt: Attempt) -> Purchase:
        earlier = purchase and self._settle_earlier_sending(purchase, attempt)
        if earlier:
            return earlier
        if purchase is None or purchase.step in (Step.INTENDED, Step.REJECTED):
            attempt.refused = purchase.fence if purchase is not None and purchase.step is Step.REJECTED else 0
            purchase = self.intend(attempt)
            return self.sending.send(attempt, purchase) if purchase.step is Step.INTENDED else purchase
        if not self.ledger.is_same_request(purchase, attempt.request.fingerprint):
            return self.intend(attempt)  # raises the conflict with the difference
        return self.settling.settle(purchase, attempt) if purchase.step in UNRESOLVED else purchase

    def _settle_earlier_sending(self, purchase: Purchase, attempt: Attempt) -> Purchase | None:
        """What comes before another sending: the order of a late answer, and a last look for a refused purchase.

        :returns: the purchase after that; ``None``: there is nothing to settle.
        """
        if self.sending.late_answers.has_order_for(purchase):
            return self.sending.late_answers.adopt(purchase)
        if purchase.step is Step.REJECTED and self.sending.refusals.needs_look(purchase):
            return self.sending.refusals.look_again(purchase)
        return None

    def intend(self, attempt: Attempt) -> Purchase:
        """Write the intent down at its turn on the wallet, with its price or its cap reserved.

        :returns: the purchase, INTENDED, or as another try left it.
        """
        request, account = attempt.request, self.account
        self.settling.rest.require_over()
        cap = cap_of(account, request.max_price)
        price = quote(self, attempt, cap)
        intent = Intent(
            order_key=request.order_key,
            task_key=request.task_key,
            kind=request.kind,
            vendor=self.vendor.name,
            conn_id=account.conn_id,
            wallet=account.wallet,
            fingerprint=request.fingerprint,
            request=masked(request.prepared.body),
            target=request.target,
            amount=price or Money(cap, account.currency),
            caps=account.caps,
            zone=account.timezone,
            takes_turn=self.vendor.capabilities.needs_turn(request.kind),
            refused=attempt.refused,
            settle_time=self.settle_time,
        )
        purchase = self.turns.intend(intent, lambda: self.sending.reads.read_early(attempt))
        if purchase.step is Step.INTENDED:
            text = f"quoted at {price}" if price else f"price unknown beforehand, {intent.amount} reserved"
            self.say(f"Order key {purchase.order_key!r}: intended at {self.vendor.title}, {text}")
        return purchase

    def _moved_money(self, attempt: Attempt, error: ProxyOrdersError) -> Purchase | None:
        """The purchase, if its money moved or may have moved: by an earlier sending of this try, or by another try."""
        if isinstance(error, OrderKeyConflict):
            return None  # the conflicting request was never sent; the key stands for another purchase
        if isinstance(error, LedgerError):
            return attempt.sent
        try:
            purchase = self.ledger.find(attempt.request.order_key)
            same = purchase is not None and self.ledger.is_same_request(purchase, attempt.request.fingerprint)
        except LedgerError:
            return attempt.sent
        return purchase if purchase and (purchase.unresolved or (same and purchase.step in TAKEN)) else None
