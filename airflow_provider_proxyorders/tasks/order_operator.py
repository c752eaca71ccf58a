"""How a task takes a purchase to its result: wait in the worker or in the triggerer, then return it."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator, RetryPolicy, conf
from airflow.sdk.exceptions import TaskDeferralTimeout

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import LedgerError, OrderMissing, OrderPending, telling_of_the_wallet
from airflow_provider_proxyorders.domain.inputs import conn_id_of, duration_of, flag_of, one_of, price_cap, seconds_of
from airflow_provider_proxyorders.domain.model import TAKEN, Purchase, Step
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.tasks.links import OrderPageLink, PurchaseLink, begin_without_page, set_page, with_address
from airflow_provider_proxyorders.tasks.question import Waiting, asked_about, notifiers_of, take_answer, users_of
from airflow_provider_proxyorders.tasks.retry_policy import OrderRetryPolicy
from airflow_provider_proxyorders.tasks.telling import Story, counted, explained

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier, Context

    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.purchase.buyer import Buyer

#: Retries of a task, and the pause before a retry without a pause of its own. Retries are safe, since a key buys at most once,
#: and needed. Airflow 3.3 may notice the end of a process up to [workers] min_heartbeat_interval seconds late (5): its supervisor
#: sleeps that long if the process closed its sockets and has not ended (``_monitor_subprocess``). If the task resumes meanwhile,
#: the scheduler takes the end of the run that deferred for that of the resumed run, and marks the task failed
#: (``process_executor_events``). LocalExecutor does not know better: it forgets a task that it handed to a worker.
RETRIES = 2
RETRY_DELAY = timedelta(seconds=15)
RETRY_POLICY = OrderRetryPolicy()
#: A pause between two looks at an order is at least this long, in seconds.
SHORTEST_PAUSE = 0.05
#: Seconds of looks in the worker after a read that failed in the triggerer, before the task defers again.
POLLED_IN_WORKER = 60.0
#: A triggerer ends a wait at its deadline. So much later there is none.
TRIGGERER_PATIENCE = timedelta(minutes=10)
NO_TRIGGERER = "No triggerer looked at it until then; is one running (airflow triggerer)? With deferrable=False the worker waits."


@cache
def default_deferrable() -> bool:
    """``[operators] default_deferrable``, read once a process: a DAG file may make a hundred tasks."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def missed_of(event: Mapping[str, Any]) -> tuple[int, float]:
    """The misses that a trigger reports: how many reads in a row, over how many seconds."""
    missed = event.get("missed")
    return (int(missed[0]), float(missed[1])) if missed else (0, 0.0)


class OrderOperator(_compat.KeepsDefaults, BaseOperator):
    """Base of the operators that buy: one purchase, then waiting for it.

    :param conn_id: the Airflow connection that holds the wallet.
    :param wait_for_completion: wait until the order can be used, else return as soon as it is placed.
    :param deferrable: wait in the triggerer, without holding a worker; default ``[operators] default_deferrable``.
    :param poll_interval: the longest time between two looks at the order: seconds, timedelta or text such as ``PT5M``; None = the
        vendor's rhythm.
    :param timeout: how long one try waits, in the same forms; None = the vendor's default. Afterwards the order is still in the
        ledger and the next try waits for the same one.
    :param on_unresolved: if evidence cannot decide whether the vendor took the purchase: ``fail`` the task, or ``ask`` a person
        in Airflow's *Required Actions*. The task waits for the answer without a worker, and goes on by itself.
    :param notifiers: any Airflow notifiers, called when a person is asked. They find ``question`` in their context, with
        ``subject``, ``text``, ``url`` and ``order_key``.
    :param assigned_users: the users for the answer, as Airflow's own ``HITLOperator`` takes it; None = all with the right.
    :param response_timeout: how long a question stays open, as timedelta or text such as ``3 days``; None = without an end.
        Afterwards the task fails, and the purchase waits in the ledger.
    """

    operator_extra_links = (PurchaseLink(), OrderPageLink())
    ui_color = "#d7ecd9"
    max_price: str | Decimal | None = None
    cap_was_set = False
    #: What notifiers may read of a question, as of Airflow's own operators.
    subject: str | None = None
    body: str | None = None
    options: Sequence[str] = ()
    order_key_of_purchase: str | None = None

    def __init__(
        self,
        *,
        conn_id: str,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: timedelta | float | str | None = None,
        timeout: timedelta | float | str | None = None,
        on_unresolved: Literal["fail", "ask"] = "fail",
        notifiers: Sequence[BaseNotifier] | BaseNotifier = (),
        assigned_users: Mapping[str, str] | Sequence[Mapping[str, str]] | None = None,
        response_timeout: timedelta | str | None = None,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        # named here, since Airflow reads the defaults of mapped tasks from the signature
        super().__init__(retries=retries, retry_delay=retry_delay, retry_policy=retry_policy, **kwargs)
        self.conn_id = conn_id
        self.on_partial = "fail"
        with telling_of_the_wallet():
            self.notifiers = notifiers_of(notifiers)
            self.wait_for_completion = flag_of("wait_for_completion", wait_for_completion, default=True)
            self.deferrable = flag_of("deferrable", deferrable, default=default_deferrable())
            self.poll_interval = seconds_of("poll_interval", poll_interval, least=SHORTEST_PAUSE)
            self.timeout = seconds_of("timeout", timeout, least=0.0)
            self.on_unresolved = one_of("on_unresolved", on_unresolved, ("fail", "ask"))
            self.assigned_users = users_of("assigned_users", assigned_users)
            self.response_timeout = duration_of("response_timeout", response_timeout, least=timedelta(seconds=1))

    def price_cap(self) -> Decimal | None:
        """The task's own price cap; None where the author of the DAG set none.

        :raises InvalidParameter: the cap was set, or mapped, and has no value now.
        """
        was_set = self.cap_was_set or _compat.was_mapped_to_none(self, "max_price")
        return price_cap(self.max_price, was_set=was_set)

    @cached_property
    def hook(self) -> ProxyOrdersHook:
        """The hook of this task: one connection look-up, one HTTP session."""
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

        return ProxyOrdersHook(conn_id_of(self.conn_id))

    @abstractmethod
    def buy(self, buyer: Buyer, context: Context) -> Purchase:
        """The purchase of this task: bought, or found as an earlier try left it."""

    def execute(self, context: Context) -> dict[str, Any]:
        with _trying(self, context):
            return self._buy_and_finish(context)

    def answered(self, context: Context, event: Mapping[str, Any], **waiting: Any) -> dict[str, Any]:
        """Go on after a person's answer in *Required Actions*, or look whether the question is still open."""
        still = take_answer(self, context, event, Waiting(**waiting))
        with _trying(self, context, still):
            return self._buy_and_finish(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral. If no triggerer looked at the order in time, the worker looks once in its place."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            self.deferrable, self.timeout = False, 0.0
        try:
            return self.execute(context)
        except OrderPending as pending:
            raise OrderPending(f"{pending} {NO_TRIGGERER}", retry="never") from None

    def _buy_and_finish(self, context: Context) -> dict[str, Any]:
        buyer = self.hook.buyer(context, Story(self.log))
        return self.check_result(_with_output(self, self.finish(self.buy(buyer, context), buyer, context), context), context)

    def check_result(self, result: dict[str, Any], context: Context) -> dict[str, Any]:
        """What a task has to say about its result before it returns it."""
        return result

    def finish(self, purchase: Purchase, buyer: Buyer, context: Context, deadline: datetime | None = None) -> dict[str, Any]:
        """Wait for a purchase as this task's parameters say, and return its result.

        :param deadline: of the wait; ``None`` = by this task's ``timeout`` from now.
        """
        self._push_page(purchase, context)
        if not self.wait_for_completion:
            return self.result_of(purchase)
        deadline = deadline or _end_of_wait(self.timeout, buyer)
        purchase = self._wait(purchase, buyer, deadline)
        if purchase.step not in TAKEN:  # the vendor does not have the order that its answer named: the evidence decides
            purchase = self._wait(self.buy(buyer, context), buyer, deadline)
        return self._require_result(purchase, buyer)

    def _wait(self, purchase: Purchase, buyer: Buyer, deadline: datetime) -> Purchase:
        """Wait here, or look once and defer."""
        if not self.deferrable:
            return buyer.wait(purchase, deadline=deadline, poll_interval=self.poll_interval)
        purchase = self._look_briefly(purchase, buyer)
        if purchase.step is Step.PLACED:
            self._defer(purchase, deadline)
        return purchase

    def execute_complete(
        self, context: Context, event: Mapping[str, Any], order_key: str | None = None, deadline: str | None = None
    ) -> dict[str, Any]:
        """Go on after the triggerer's hint: read the order at the vendor, and believe that.

        :param order_key: of the purchase; Airflow's ``dag.test()`` hands on the event alone, and then this task's key finds it.
        """
        with _trying(self, context):
            return self.check_result(_with_output(self, self._go_on(context, event, order_key, deadline), context), context)

    def _go_on(self, context: Context, event: Mapping[str, Any], order_key: str | None, deadline: str | None) -> dict[str, Any]:
        """If only the worker can read the order, the worker waits for it in the same try."""
        try:
            buyer = self.hook.buyer(context, Story(self.log))
        except LedgerError as error:  # only the deferral tells that there is an order
            if order_key is not None:
                error.args = (f"{error} Its order was bought before that; the next try waits for it and buys nothing.",)
            raise
        purchase = self.buy(buyer, context) if order_key is None else buyer.ledger.find(order_key)
        if purchase is None:
            raise LedgerError(f"the ledger lacks {order_key!r}; is [proxyorders] ledger_url the same on every host?")
        now = datetime.now(timezone.utc)
        purchase = self._look_until(now, purchase, buyer, self.poll_interval, missed_of(event))
        if "at" in event:
            tags = {"vendor": buyer.vendor.name, "conn_id": self.conn_id}
            _compat.timing("resumed", max(0.0, time.time() - event["at"]), tags)
        until = _end_of_wait(self.timeout, buyer) if deadline is None else datetime.fromisoformat(deadline)
        if purchase.step not in TAKEN:  # the vendor does not have the order that its answer named: the evidence decides
            return self.finish(self.buy(buyer, context), buyer, context, until)
        self._push_page(purchase, context)
        waits_on = event.get("outcome") == "final"  # the hint was early; the read is the truth
        if purchase.step is Step.PLACED and event.get("outcome") == "unreadable":
            purchase = self._poll_in_worker(purchase, buyer, event.get("reason"), until)
            waits_on = datetime.now(timezone.utc) < until
        if purchase.step is Step.PLACED and waits_on:
            self._defer(purchase, until)
        return self._require_result(purchase, buyer)

    def result_of(self, purchase: Purchase) -> dict[str, Any]:
        """What this task returns about a purchase."""
        from airflow_provider_proxyorders.purchase.outcome import result_of

        return with_address(dict(result_of(purchase, purchase.vendor)))

    def _require_result(self, purchase: Purchase, buyer: Buyer) -> dict[str, Any]:
        """:raises OrderNotUsable, OrderPending: the order cannot be used, or cannot be used yet."""
        purchase = buyer.require_usable(purchase, on_partial=self.on_partial)
        price = f", price {purchase.price}" if purchase.price else ""
        until = f", until {utc(purchase.expires_at)}" if purchase.expires_at else ""
        self.log.info("Order %s is %s%s%s", purchase.order_id, purchase.step.value, price, until)
        return self.result_of(purchase)

    def _look_briefly(self, purchase: Purchase, buyer: Buyer) -> Purchase:
        """A first look in the worker: many orders are ready at once, and their tasks need no triggerer."""
        first = min(buyer.vendor.capabilities.polling.first, 2.0)
        return self._look_until(datetime.now(timezone.utc) + timedelta(seconds=first), purchase, buyer, first)

    def _poll_in_worker(self, purchase: Purchase, buyer: Buyer, reason: Any, deadline: datetime) -> Purchase:
        """Look at an order in the triggerer's place, long enough to keep the task from going to and fro."""
        now = datetime.now(timezone.utc)
        until = max(now, min(deadline, now + timedelta(seconds=POLLED_IN_WORKER)))
        text = "The triggerer could not read order %s (%s), the worker can and looks at it for the next %.0f s"
        self.log.warning(text, purchase.order_id, reason, (until - now).total_seconds())
        return self._look_until(until, purchase, buyer, self.poll_interval)

    def _look_until(
        self,
        until: datetime,
        purchase: Purchase,
        buyer: Buyer,
        poll_interval: float | None,
        missed: tuple[int, float] = (0, 0.0),
    ) -> Purchase:
        """Look at an order until it is final, or until a moment; at least once.

        :param missed: see :meth:`OrderTracker.wait`.
        """
        try:
            return buyer.wait(purchase, deadline=until, poll_interval=poll_interval, missed=missed)
        except OrderMissing:
            raise
        except OrderPending:
            return buyer.ledger.find(purchase.order_key) or purchase

    def _defer(self, purchase: Purchase, deadline: datetime) -> None:
        from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger

        assert purchase.order_id is not None
        text = "Order %s is %s; waiting in the triggerer until %s at the latest"
        self.log.info(text, purchase.order_id, purchase.vendor_status, utc(deadline, "seconds"))
        self.defer(
            trigger=ProxyOrderTrigger(
                conn_id=conn_id_of(self.conn_id),
                order_id=purchase.order_id,
                deadline=deadline.isoformat(),
                placed_at=(purchase.sent_at or purchase.created_at).isoformat(),
                poll_interval=self.poll_interval,
                kind=purchase.kind,
                evidence=purchase.evidence if purchase.kind == "extend" else {},
            ),
            method_name="execute_complete",
            kwargs={"order_key": purchase.order_key, "deadline": deadline.isoformat()},
            timeout=max(timedelta(0), deadline - datetime.now(timezone.utc)) + TRIGGERER_PATIENCE,
        )

    def _push_page(self, purchase: Purchase, context: Context) -> None:
        self.order_key_of_purchase = purchase.order_key
        set_page(self, context, self.hook.order_page(purchase.order_id) if purchase.order_id else None)


def _end_of_wait(timeout: float | None, buyer: Buyer) -> datetime:
    """The deadline of a wait that begins now."""
    patience = buyer.vendor.capabilities.polling.timeout if timeout is None else timeout
    return datetime.now(timezone.utc) + timedelta(seconds=patience)


def _with_output(task: OrderOperator, result: dict[str, Any], context: Context) -> dict[str, Any]:
    """The result, with the order's id as an XCom of its own, so that ``order.output["order_id"]`` finds it."""
    if task.do_xcom_push:
        context["ti"].xcom_push(key="order_id", value=result["order_id"])
    return result


@contextmanager
def _trying(task: OrderOperator, context: Context, waiting: Waiting | None = None) -> Iterator[None]:
    """What every try of a task that buys does around its work: explain an error, count its end, and ask where it may."""
    begin_without_page(task)
    with explained(task.log), telling_of_the_wallet(), counted(task), asked_about(task, context, waiting):
        yield


__all__ = ["OrderOperator"]
