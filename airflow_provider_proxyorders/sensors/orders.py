"""The sensor that waits for an order which somebody else bought: another task, another DAG, or a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseSensorOperator, PokeReturnValue, RetryPolicy
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError
from airflow_provider_proxyorders.domain.inputs import seconds_of
from airflow_provider_proxyorders.tasks.links import PAGE, OrderPageLink
from airflow_provider_proxyorders.tasks.order_operator import (
    RETRIES,
    RETRY_DELAY,
    RETRY_POLICY,
    SHORTEST_PAUSE,
    default_deferrable,
)
from airflow_provider_proxyorders.tasks.waiting_sensor import poll_in_worker

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.domain.model import VendorOrder
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.purchase.polling import PollIntervals


class ProxyOrderSensor(BaseSensorOperator):
    """Waits until an order can be used ("processed", "completed", "confirmed"), by polling. It only reads.

    Returns the same JSON object as the operators; ``order_key`` is null for an order that the ledger does not know. With
    ``end_from_trigger`` it returns nothing.

    :param conn_id: the Airflow connection of the order's account (templated).
    :param order_id: the vendor's id (templated).
    :param on_partial: ``fail`` or ``accept`` an order that the vendor could deliver only in part.
    :param deferrable: wait in the triggerer; default ``[operators] default_deferrable``.
    :param poll_interval: never wait longer than this between two looks in the triggerer, in seconds; None = the vendor's
        rhythm. In the worker a ``poke_interval`` counts instead, where one is given.
    :param end_from_trigger: let a deferred sensor succeed in the triggerer as soon as the order can be used, without a worker,
        which ends many sensors ten times as fast. It returns nothing, and the ledger learns of the end from its next reader. What
        ends badly still goes to a worker, which says why. Airflow refuses it where a listener plugin is installed.
    :param timeout: seconds or timedelta after which the sensor gives up, as for every sensor. It cancels nothing at the vendor.
    """

    template_fields: Sequence[str] = ("conn_id", "order_id")
    operator_extra_links = (OrderPageLink(),)
    ui_color = "#e4eef9"

    def __init__(
        self,
        *,
        conn_id: str,
        order_id: str,
        on_partial: Literal["fail", "accept"] = "fail",
        deferrable: bool | None = None,
        poll_interval: float | timedelta | None = None,
        end_from_trigger: bool = False,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        self.own_rhythm = "poke_interval" not in kwargs
        super().__init__(retries=retries, retry_delay=retry_delay, retry_policy=retry_policy, **kwargs)
        self.conn_id = conn_id
        self.order_id = order_id
        self.on_partial = on_partial
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds_of("poll_interval", poll_interval, least=SHORTEST_PAUSE)
        self.end_from_trigger = end_from_trigger
        self.backstop: float | None = None
        self._next: float | None = None

    @cached_property
    def poll_intervals(self) -> PollIntervals:
        """The rules of when to look again, the same as in the triggerer."""
        from airflow_provider_proxyorders.purchase.polling import PollIntervals

        vendor = self.hook.vendor
        return PollIntervals(vendor.capabilities.polling, self.poll_interval, vendor.settle_time)

    @cached_property
    def hook(self) -> ProxyOrdersHook:
        """The hook of this task; one connection look-up, one HTTP session."""
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

        return ProxyOrdersHook(self.conn_id)

    def poke(self, context: Context) -> PokeReturnValue:
        """One look at the order.

        :raises OrderNotUsable: when it ended badly.
        """
        age = self._age(context)
        try:
            order = self.hook.get_order(str(self.order_id))
        except ProxyOrdersError as error:
            self._next = self.poll_intervals.after_trouble(error, age)
            if self._next is None:
                raise self._ended(error) from None
            self.log.info("%s Looking again in %.0f s.", error, self._next)
            return PokeReturnValue(is_done=False)
        if not order.status.final:
            self._next = self.poll_intervals.after_look(age)
            self.log.info("Order %s is %s", order.order_id, order.vendor_status)
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._result(order, context))

    def _age(self, context: Context) -> float:
        """Seconds since this sensor first looked, over all its reschedules and deferrals."""
        now = datetime.now(timezone.utc)
        if self.mode == "reschedule" and not self.deferrable:
            return (now - (context["ti"].get_first_reschedule_date(context) or now)).total_seconds()
        self._began: datetime = getattr(self, "_began", now)
        return (now - self._began).total_seconds()

    def _get_next_poke_interval(self, started_at: Any, run_duration: Any, poke_count: int) -> float:
        """The vendor's rhythm, or the user's ``poke_interval``; never sooner than a vendor in trouble asks for."""
        wanted: float = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        if self._next is None:
            return wanted
        return self._next if self.own_rhythm else max(wanted, self._next if self.poll_intervals.trouble else 0.0)

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        first = self.poke(context)
        if first.is_done:
            return first.xcom_value
        self._defer(datetime.now(timezone.utc) + timedelta(seconds=self.timeout))

    def execute_complete(self, context: Context, event: Mapping[str, Any], deadline: str) -> Any:
        """Go on after the triggerer's hint: read the order at the vendor, and believe that."""
        until = datetime.fromisoformat(deadline)
        self._began = until - timedelta(seconds=self.timeout)
        seen = self.poke(context)
        if not seen.is_done and event.get("outcome") == "unreadable":
            seen = poll_in_worker(self, context, event.get("reason"), until, lambda: self._next or SHORTEST_PAUSE)
        if seen.is_done:
            return seen.xcom_value
        if event.get("outcome") == "deadline" or datetime.now(timezone.utc) >= until:
            raise AirflowSensorTimeout(
                f"order {self.order_id} was still pending after {self.timeout:.0f} s; it stays at the vendor as it is"
            )
        self._defer(until)

    def _defer(self, deadline: datetime) -> None:
        from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger

        good = ["delivered", "partial"] if self.on_partial == "accept" else ["delivered"]
        self.defer(
            trigger=ProxyOrderTrigger(
                conn_id=self.conn_id,
                order_id=str(self.order_id),
                deadline=deadline.isoformat(),
                placed_at=(deadline - timedelta(seconds=self.timeout)).isoformat(),
                poll_interval=self.poll_interval,
                ends=good if self.end_from_trigger else (),
                backstop=self.backstop,
            ),
            method_name="execute_complete",
            kwargs={"deadline": deadline.isoformat()},
        )

    def _result(self, seen: VendorOrder, context: Context) -> dict[str, Any]:
        page = self.hook.order_page(seen.order_id)
        if page:
            context["ti"].xcom_push(key=PAGE, value=page)

        try:
            return self.hook.buyer(context, self.log.info).result_for(seen, on_partial=self.on_partial)
        except ProxyOrdersError as error:
            raise self._ended(error) from None

    def _ended(self, error: Exception) -> Exception:
        """With ``soft_fail`` or ``never_fail`` a bad end skips the task, as for every sensor."""
        if not (self.soft_fail or self.never_fail):
            return error

        return AirflowSkipException(f"Skipping since {'soft_fail' if self.soft_fail else 'never_fail'} is set: {error}")


class ProxyOrderWebhookSensor(ProxyOrderSensor):
    """Waits until an order can be used, woken by the vendor's webhook; a slow poll is the back-stop for one that gets lost.

    A verified delivery makes the triggerer look at the order at once; what the delivery says is not believed, what the vendor
    then answers is. It needs the connection's ``webhook_secret`` and a receiver that the vendor reaches, see docs/webhooks.md.
    It always waits in the triggerer.

    :param backstop: look at the order this often without a delivery, in seconds or as timedelta.
    :param conn_id, order_id, on_partial, end_from_trigger, timeout: as for :class:`ProxyOrderSensor`.
    """

    def __init__(self, *, backstop: float | timedelta = 300.0, **kwargs: Any):
        super().__init__(**{**kwargs, "deferrable": True})
        self.backstop = seconds_of("backstop", backstop, 300.0, least=SHORTEST_PAUSE)

    def execute(self, context: Context) -> Any:
        vendor = self.hook.vendor
        if vendor.webhook is None:
            raise ConfigError(f"{vendor.title} documents no webhooks; ProxyOrderSensor waits for its orders by polling")
        if not vendor.account.takes_webhooks:
            raise ConfigError(
                f"connection {self.conn_id!r} has no webhook_secret, so no delivery could be believed; add it to the extra, or "
                "use ProxyOrderSensor"
            )
        return super().execute(context)


__all__ = ["ProxyOrderSensor", "ProxyOrderWebhookSensor"]
