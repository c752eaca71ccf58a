"""What every sensor of this package does beside its look: defer, go on after the triggerer, and fail or skip.

Two rules. If the triggerer cannot read, the worker looks for about a minute before it defers again; without this, a connection
for workers only would send the task to and fro. A look that ends the wait ends it at once.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, TaskDeferralTimeout

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.inputs import conn_id_of, flag_of, seconds_of
from airflow_provider_proxyorders.tasks.order_operator import (
    NO_TRIGGERER,
    POLLED_IN_WORKER,
    TRIGGERER_PATIENCE,
    default_deferrable,
    missed_of,
)
from airflow_provider_proxyorders.tasks.telling import explaining

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.purchase.polling import PollIntervals

#: Airflow's own default, in seconds.
POKE_INTERVAL = 60.0


class WaitingSensor(_compat.KeepsDefaults, BaseSensorOperator):
    """Base of the sensors: one look in the worker, then wait there or in the triggerer.

    :param conn_id: the Airflow connection to read.
    :param deferrable: wait in the triggerer; default ``[operators] default_deferrable``.
    :param poke_interval: time between two looks of a worker: seconds, timedelta or text such as ``PT5M``; default a minute.
    :param timeout: how long the sensor waits, in the same forms; default ``[sensors] default_timeout``.
    """

    ui_color = "#e4eef9"

    def __init__(
        self,
        *,
        conn_id: str,
        deferrable: bool | None = None,
        poke_interval: timedelta | float | str | None = None,
        timeout: timedelta | float | str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            poke_interval=seconds_of("poke_interval", poke_interval, POKE_INTERVAL, least=0.0),
            timeout=seconds_of("timeout", timeout, least=0.0),
            **kwargs,
        )
        self.conn_id = conn_id
        self.deferrable = flag_of("deferrable", deferrable, default=default_deferrable())

    @cached_property
    def hook(self) -> ProxyOrdersHook:
        """The hook of this task: one connection look-up, one HTTP session."""
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

        return ProxyOrdersHook(conn_id_of(self.conn_id))

    @abstractmethod
    def poke(self, context: Context) -> PokeReturnValue:
        """One look."""

    @cached_property
    @abstractmethod
    def poll_intervals(self) -> PollIntervals:
        """The rhythm of the looks."""

    @abstractmethod
    def pause(self) -> float:
        """Seconds before the next look of a worker that stands in for the triggerer."""

    @abstractmethod
    def trigger(self, deadline: datetime) -> BaseTrigger:
        """The trigger that waits in this sensor's place."""

    @abstractmethod
    def timeout_text(self) -> str:
        """The error text at the deadline."""

    def begin(self, started_at: datetime, missed: tuple[int, float]) -> None:
        """Called after a deferral.

        :param started_at: the moment of the first look.
        :param missed: how many reads in a row the triggerer made without the order, and over how many seconds.
        """

    @explaining
    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        look = self.poke(context)
        if look.is_done:
            return look.xcom_value
        self._defer(self._deadline())

    def execute_complete(self, context: Context, event: Mapping[str, Any], deadline: str | None = None) -> Any:
        """Go on after the triggerer's hint: read at the vendor, and believe that.

        :param deadline: of the wait; Airflow's ``dag.test()`` hands on the event alone, and then the wait begins anew.
        """
        until = datetime.fromisoformat(deadline) if deadline else self._deadline()
        self.begin(until - timedelta(seconds=self.timeout), missed_of(event))
        look = self.poke(context)
        if not look.is_done and event.get("outcome") == "unreadable":
            look = self._poll_in_worker(context, event.get("reason"), until)
        if look.is_done:
            return look.xcom_value
        if event.get("outcome") == "deadline" or datetime.now(timezone.utc) >= until:
            raise AirflowSensorTimeout(self.timeout_text())
        self._defer(until)

    @explaining
    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral. If no triggerer looked in time, the worker looks once in its place."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except Exception as error:
            if not _is_deferral_timeout(error):
                raise
        look = self.poke(context)
        if look.is_done:
            return look.xcom_value
        raise self.fail_or_skip(AirflowSensorTimeout(f"{self.timeout_text()}. {NO_TRIGGERER}"))

    def fail_or_skip(self, error: Exception) -> Exception:
        """The error to raise: with ``soft_fail`` or ``never_fail`` a bad end skips the task, as for every sensor."""
        if not (self.soft_fail or self.never_fail):
            return error
        return AirflowSkipException(f"Skipping since {'soft_fail' if self.soft_fail else 'never_fail'} is set: {error}")

    def _deadline(self) -> datetime:
        """The end of a wait that begins now."""
        return datetime.now(timezone.utc) + timedelta(seconds=self.timeout)

    def _defer(self, deadline: datetime) -> None:
        kwargs = {"deadline": deadline.isoformat()}
        self.defer(
            trigger=self.trigger(deadline),
            method_name="execute_complete",
            kwargs=kwargs,
            timeout=max(timedelta(0), deadline - datetime.now(timezone.utc)) + TRIGGERER_PATIENCE,
        )

    def _poll_in_worker(self, context: Context, reason: Any, deadline: datetime) -> PokeReturnValue:
        """Look for about a minute, up to the deadline.

        :param reason: name of the triggerer's error.
        :raises ProxyOrdersError: as a poke does.
        """
        until = min(deadline, datetime.now(timezone.utc) + timedelta(seconds=POLLED_IN_WORKER))
        left = (until - datetime.now(timezone.utc)).total_seconds()
        self.log.warning("The triggerer failed to look (%s); the worker looks for the next %.0f s", reason, max(0.0, left))
        while left > 0:
            pause = self.pause()
            time.sleep(min(pause, left))
            if pause > left and self.poll_intervals.trouble:
                break  # the vendor asked for a longer pause than this
            look = self.poke(context)
            if look.is_done:
                return look
            left = (until - datetime.now(timezone.utc)).total_seconds()
        return PokeReturnValue(is_done=False)


def _is_deferral_timeout(error: BaseException | None) -> bool:
    """Whether Airflow ended a deferral; it may have wrapped that into the sensor's own timeout or skip."""
    while error is not None and not isinstance(error, TaskDeferralTimeout):
        error = error.__cause__
    return error is not None


__all__ = ["WaitingSensor"]
