"""The sensors that wait for an order from elsewhere: another task, another DAG, or a person at the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import PokeReturnValue, RetryPolicy

from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError
from airflow_provider_proxyorders.domain.inputs import conn_id_of, flag_of, is_given, one_of, order_id_of, seconds_of
from airflow_provider_proxyorders.domain.names import AnyOrder
from airflow_provider_proxyorders.tasks.links import OrderPageLink, begin_without_page, set_page, with_address
from airflow_provider_proxyorders.tasks.order_operator import RETRIES, RETRY_DELAY, RETRY_POLICY, SHORTEST_PAUSE
from airflow_provider_proxyorders.tasks.waiting_sensor import WaitingSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.domain.model import VendorOrder
    from airflow_provider_proxyorders.purchase.polling import PollIntervals
    from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger

#: A sensor that waits for a webhook looks by itself this often, in seconds.
BACKSTOP = 300.0


class ProxyOrderSensor(WaitingSensor):
    """Waits until an order can be used ("processed", "completed", "confirmed"), by polling. It only reads.

    Returns the same JSON object as the operators; ``order_key`` is null for an order from outside of the ledger. With
    ``end_from_trigger`` it returns nothing.

    :param conn_id: the Airflow connection of the order's account (templated).
    :param order_id: the vendor's id, or the whole result of the task that bought the order (templated).
    :param on_partial: ``fail`` or ``accept`` an order with a part of its units.
    :param deferrable: wait in the triggerer; default ``[operators] default_deferrable``.
    :param poll_interval: the longest time between two looks in the triggerer: seconds, timedelta or text such as ``36h`` or
        ``PT36H``; None = the vendor's rhythm. In the worker a ``poke_interval`` counts instead, if you set one.
    :param end_from_trigger: let a deferred sensor succeed in the triggerer as soon as the order can be used. Many sensors end ten
        times as fast without a worker. They return nothing, and the ledger learns of the end from its next reader. A bad
        end still goes to a worker for the reason. Airflow refuses this if a listener plugin is installed.
    :param timeout: how long until the sensor gives up, in the same forms; default ``[sensors] default_timeout``. The order stays
        at the vendor as it is.
    """

    template_fields: Sequence[str] = ("conn_id", "order_id")
    operator_extra_links = (OrderPageLink(),)

    def __init__(
        self,
        *,
        conn_id: str,
        order_id: AnyOrder,
        on_partial: Literal["fail", "accept"] = "fail",
        deferrable: bool | None = None,
        poll_interval: timedelta | float | str | None = None,
        end_from_trigger: bool = False,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        self.own_rhythm = not is_given(kwargs.get("poke_interval"))
        super().__init__(
            conn_id=conn_id,
            deferrable=deferrable,
            retries=retries,
            retry_delay=retry_delay,
            retry_policy=retry_policy,
            **kwargs,
        )
        self.order_id = order_id
        self.on_partial = one_of("on_partial", on_partial, ("fail", "accept"))
        self.poll_interval = seconds_of("poll_interval", poll_interval, least=SHORTEST_PAUSE)
        self.end_from_trigger = flag_of("end_from_trigger", end_from_trigger, default=False)
        self.backstop: float | None = None
        self._next_pause: float | None = None
        self._started_at: datetime | None = None

    @cached_property
    def poll_intervals(self) -> PollIntervals:
        """The rules for the next look, the same as in the triggerer."""
        from airflow_provider_proxyorders.purchase.polling import PollIntervals

        vendor = self.hook.vendor
        return PollIntervals(vendor.capabilities.polling, self.poll_interval, vendor.settle_time)

    def pause(self) -> float:
        return self._next_pause or SHORTEST_PAUSE

    def begin(self, started_at: datetime, missed: tuple[int, float]) -> None:
        from airflow_provider_proxyorders.purchase.polling import Misses

        self._started_at = started_at
        if missed[0]:
            age = (datetime.now(timezone.utc) - started_at).total_seconds()
            self.poll_intervals.misses = Misses(missed[0], age - missed[1], age)

    def timeout_text(self) -> str:
        return f"order {order_id_of(self.order_id)} was still pending after {self.timeout:.0f} s; it stays at the vendor as it is"

    def poke(self, context: Context) -> PokeReturnValue:
        """One look at the order.

        :raises OrderNotUsable: it ended badly.
        :raises OrderMissing: an order of the ledger is not shown any more. The money was spent.
        """
        from airflow_provider_proxyorders.purchase.polling import is_miss

        begin_without_page(self)
        age = self._age(context)
        try:
            order = self._read_order(context)
        except ProxyOrdersError as error:
            asked_enough = self._forgets and is_miss(error)
            self._next_pause = None if asked_enough else self.poll_intervals.after_trouble(error, age)
            if self._next_pause is None:
                raise self.fail_or_skip(self._describe(error, context)) from None
            self.log.info("%s Looking again in %.0f s.", error, self._next_pause)
            return PokeReturnValue(is_done=False)
        if not order.status.final:
            self._next_pause = self.poll_intervals.after_look(age)
            self.log.info("Order %s is %s", order.order_id, order.vendor_status)
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._result(order, context))

    @property
    def _forgets(self) -> bool:
        """Whether each look is a process of its own, which cannot count misses. Then one look asks again by itself."""
        return self.mode == "reschedule" and not self.deferrable

    def _read_order(self, context: Context) -> VendorOrder:
        order_id = order_id_of(self.order_id)
        if self._forgets:
            return self.hook.buyer(context, self.log.info).read_order(order_id)
        return self.hook.get_order(order_id)

    def _describe(self, error: ProxyOrdersError, context: Context) -> ProxyOrdersError:
        """The error to raise: for an order of the ledger that reads do not show, it tells where the money is."""
        misses = self.poll_intervals.misses
        return (
            self.hook.buyer(context, self.log.info).missing(order_id_of(self.order_id), error, misses) if misses.count else error
        )

    def _age(self, context: Context) -> float:
        """Seconds since this sensor first looked, over all its reschedules and deferrals."""
        now = datetime.now(timezone.utc)
        if self.mode == "reschedule" and not self.deferrable:
            return (now - (context["ti"].get_first_reschedule_date(context) or now)).total_seconds()
        self._started_at = self._started_at or now
        return (now - self._started_at).total_seconds()

    def _get_next_poke_interval(self, started_at: Any, run_duration: Any, poke_count: int) -> float:
        """The vendor's rhythm, or your ``poke_interval``; a vendor in trouble gets at least the pause it asks for."""
        wanted: float = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        if self._next_pause is None:
            return wanted
        return self._next_pause if self.own_rhythm else max(wanted, self._next_pause if self.poll_intervals.trouble else 0.0)

    def trigger(self, deadline: datetime) -> ProxyOrderTrigger:
        from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger

        good = ["delivered", "partial"] if self.on_partial == "accept" else ["delivered"]
        return ProxyOrderTrigger(
            conn_id=conn_id_of(self.conn_id),
            order_id=order_id_of(self.order_id),
            deadline=deadline.isoformat(),
            placed_at=(deadline - timedelta(seconds=self.timeout)).isoformat(),
            poll_interval=self.poll_interval,
            ends=good if self.end_from_trigger else (),
            backstop=self.backstop,
        )

    def _result(self, order: VendorOrder, context: Context) -> dict[str, Any]:
        set_page(self, context, self.hook.order_page(order.order_id))
        try:
            result = self.hook.buyer(context, self.log.info).result_for(order, on_partial=self.on_partial)
        except ProxyOrdersError as error:
            raise self.fail_or_skip(error) from None
        return with_address(dict(result))


class ProxyOrderWebhookSensor(ProxyOrderSensor):
    """Waits until an order can be used, woken by the vendor's webhook. A slow poll covers lost webhooks.

    A verified delivery makes the triggerer look at the order at once. The delivery is a hint; the vendor's answer to that look
    counts. The sensor needs the connection's ``webhook_secret`` and a receiver in reach of the vendor, see docs/webhooks.md. It
    always waits in the triggerer.

    :param backstop: look at the order this often without a delivery: seconds, timedelta or text such as ``PT5M``.
    :param conn_id, order_id, on_partial, end_from_trigger, timeout: as for :class:`ProxyOrderSensor`.
    """

    def __init__(self, *, backstop: timedelta | float | str = BACKSTOP, **kwargs: Any):
        super().__init__(**{**kwargs, "deferrable": True})
        self.backstop = seconds_of("backstop", backstop, BACKSTOP, least=SHORTEST_PAUSE)

    def execute(self, context: Context) -> Any:
        vendor = self.hook.vendor
        if vendor.webhook is None:
            raise ConfigError(f"{vendor.title} documents no webhooks. Nothing was sent. ProxyOrderSensor waits by polling.")
        if not vendor.account.takes_webhooks:
            raise ConfigError(
                f"connection {self.conn_id!r} lacks the webhook_secret that verifies deliveries. Nothing was sent. Add it to the "
                "extra, or use ProxyOrderSensor."
            )
        return super().execute(context)


__all__ = ["ProxyOrderSensor", "ProxyOrderWebhookSensor"]
