"""The sensor that waits until a wallet holds enough, for example until somebody has topped it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, RetryPolicy
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError
from airflow_provider_proxyorders.domain.inputs import is_template, required_amount, seconds_of
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

    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.purchase.polling import PollIntervals

#: Seconds between two readings of a balance; money arrives by hand.
INTERVAL = 60.0


class WalletBalanceSensor(BaseSensorOperator):
    """Waits until the balance of a wallet is at least an amount. It only reads.

    Returns ``{"wallet": ..., "balance": ..., "currency": ...}``, the balance as text.

    :param conn_id: the Airflow connection that holds the wallet (templated).
    :param at_least: the amount to wait for, in the wallet's currency, as text (templated).
    :param deferrable: wait in the triggerer; default ``[operators] default_deferrable``.
    :param poll_interval: seconds between two readings in the triggerer; one reading serves all who wait on the connection. In the
        worker ``poke_interval`` counts. A vendor in trouble is left alone for longer.
    :param timeout: seconds or timedelta after which the sensor gives up, as for every sensor.
    """

    template_fields: Sequence[str] = ("conn_id", "at_least")
    ui_color = "#e4eef9"

    def __init__(
        self,
        *,
        conn_id: str,
        at_least: str | int | Decimal,
        deferrable: bool | None = None,
        poll_interval: float | timedelta = INTERVAL,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        kwargs.setdefault("poke_interval", INTERVAL)
        super().__init__(retries=retries, retry_delay=retry_delay, retry_policy=retry_policy, **kwargs)
        self.conn_id = conn_id
        self.at_least = at_least
        if not is_template(at_least):
            self._enough()  # a mistake shows when the DAG is read
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds_of("poll_interval", poll_interval, INTERVAL, least=SHORTEST_PAUSE)
        self._trouble: float | None = None

    @cached_property
    def hook(self) -> ProxyOrdersHook:
        """The hook of this task; one connection look-up, one HTTP session."""
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

        return ProxyOrdersHook(self.conn_id)

    @cached_property
    def poll_intervals(self) -> PollIntervals:
        """How long a vendor in trouble is left alone."""
        from airflow_provider_proxyorders.purchase.polling import PollIntervals

        return PollIntervals(self.hook.vendor.capabilities.polling)

    def poke(self, context: Context) -> PokeReturnValue:
        """One reading of the balance.

        :raises VendorError: when it cannot be read, and waiting does not help.
        """
        try:
            balance = self.hook.get_balance().available
        except ProxyOrdersError as error:
            self._trouble = self.poll_intervals.after_trouble(error, 0.0)
            if self._trouble is None:
                raise self._ended(error) from None
            self.log.info("%s Looking again in %.0f s at the earliest.", error, self._trouble)
            return PokeReturnValue(is_done=False)
        self._trouble, self.poll_intervals.trouble = None, 0
        account = self.hook.vendor.account
        if not balance.comparable(account.currency):
            raise self._ended(
                ConfigError(
                    f"wallet {account.wallet!r} holds {balance}, but connection {self.conn_id!r} says its currency is "
                    f"{account.currency}. Correct 'currency' in the connection. Nothing was sent."
                )
            )
        if balance.amount < self._enough():
            self.log.info("Wallet %s holds %s, waiting for %s", account.wallet, balance, self.at_least)
            return PokeReturnValue(is_done=False)
        self.log.info("Wallet %s holds %s", account.wallet, balance)
        found = {"wallet": account.wallet, "balance": f"{balance.amount:f}", "currency": balance.currency or account.currency}
        return PokeReturnValue(is_done=True, xcom_value=found)

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        first = self.poke(context)
        if first.is_done:
            return first.xcom_value
        self._defer(datetime.now(timezone.utc) + timedelta(seconds=self.timeout))

    def execute_complete(self, context: Context, event: Mapping[str, Any], deadline: str) -> Any:
        """Go on after the triggerer's hint: read the balance, and believe that."""
        until = datetime.fromisoformat(deadline)
        seen = self.poke(context)
        if not seen.is_done and event.get("outcome") == "unreadable":
            seen = poll_in_worker(
                self, context, event.get("reason"), until, lambda: max(self.poll_interval, self._trouble or 0.0)
            )
        if seen.is_done:
            return seen.xcom_value
        if event.get("outcome") == "deadline" or datetime.now(timezone.utc) >= until:
            raise AirflowSensorTimeout(f"the wallet of {self.conn_id!r} still held less than {self.at_least}")
        self._defer(until)

    def _defer(self, deadline: datetime) -> None:
        from airflow_provider_proxyorders.triggers.wallet import WalletLevelTrigger

        self.defer(
            trigger=WalletLevelTrigger(
                conn_id=self.conn_id,
                at_least=f"{self._enough():f}",
                deadline=deadline.isoformat(),
                poll_interval=self.poll_interval,
            ),
            method_name="execute_complete",
            kwargs={"deadline": deadline.isoformat()},
        )

    def _get_next_poke_interval(self, started_at: Any, run_duration: Any, poke_count: int) -> float:
        """The user's ``poke_interval``; never sooner than a vendor in trouble asks for."""
        wanted: float = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        return max(wanted, self._trouble or 0.0)

    def _enough(self) -> Decimal:
        return required_amount("at_least", self.at_least)

    def _ended(self, error: Exception) -> Exception:
        """With ``soft_fail`` or ``never_fail`` a bad end skips the task, as for every sensor."""
        if not (self.soft_fail or self.never_fail):
            return error

        return AirflowSkipException(f"Skipping since {'soft_fail' if self.soft_fail else 'never_fail'} is set: {error}")


__all__ = ["WalletBalanceSensor"]
