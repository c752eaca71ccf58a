"""The sensor that waits until a wallet holds enough, for example after a top-up."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import PokeReturnValue, RetryPolicy

from airflow_provider_proxyorders.domain.errors import ConfigError, LedgerError, ProxyOrdersError
from airflow_provider_proxyorders.domain.inputs import conn_id_of, is_template, required_amount, seconds_of
from airflow_provider_proxyorders.tasks.order_operator import RETRIES, RETRY_DELAY, RETRY_POLICY, SHORTEST_PAUSE
from airflow_provider_proxyorders.tasks.waiting_sensor import WaitingSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.purchase.polling import PollIntervals
    from airflow_provider_proxyorders.triggers.wallet import WalletLevelTrigger

#: Seconds between two readings of a balance; money arrives by hand.
INTERVAL = 60.0


class WalletBalanceSensor(WaitingSensor):
    """Waits until the balance of a wallet is at least an amount. It only reads.

    Returns ``{"wallet": ..., "balance": ..., "currency": ...}``, the balance as text.

    :param conn_id: the Airflow connection that holds the wallet (templated).
    :param at_least: the amount to wait for, in the wallet's currency, as text (templated).
    :param deferrable: wait in the triggerer; default ``[operators] default_deferrable``.
    :param poll_interval: time between two readings in the triggerer: seconds, timedelta or text such as ``PT5M``. One reading
        serves every task on the connection. In the worker ``poke_interval`` counts. A vendor in trouble gets longer pauses.
    :param timeout: how long until the sensor gives up, in the same forms; default ``[sensors] default_timeout``.
    """

    template_fields: Sequence[str] = ("conn_id", "at_least")

    def __init__(
        self,
        *,
        conn_id: str,
        at_least: str | int | Decimal,
        deferrable: bool | None = None,
        poll_interval: timedelta | float | str = INTERVAL,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        super().__init__(
            conn_id=conn_id,
            deferrable=deferrable,
            retries=retries,
            retry_delay=retry_delay,
            retry_policy=retry_policy,
            **kwargs,
        )
        self.at_least = at_least
        if not is_template(at_least):
            self._enough()  # a mistake shows when the DAG file is read
        self.poll_interval = seconds_of("poll_interval", poll_interval, INTERVAL, least=SHORTEST_PAUSE)
        self._trouble_pause: float | None = None

    @cached_property
    def poll_intervals(self) -> PollIntervals:
        """How long to leave a vendor in trouble alone."""
        from airflow_provider_proxyorders.purchase.polling import PollIntervals

        return PollIntervals(self.hook.vendor.capabilities.polling)

    def pause(self) -> float:
        return max(self.poll_interval, self._trouble_pause or 0.0)

    def timeout_text(self) -> str:
        return f"the wallet of {self.conn_id!r} still held less than {self.at_least}"

    def poke(self, context: Context) -> PokeReturnValue:
        """One reading of the balance.

        :raises VendorError: it cannot be read, and waiting does not help.
        """
        from airflow_provider_proxyorders.hooks.wallets import look_up_wallet

        try:
            balance = self.hook.get_balance().available
        except ProxyOrdersError as error:
            self._trouble_pause = self.poll_intervals.after_trouble(error, 0.0)
            if self._trouble_pause is None:
                raise self.fail_or_skip(error) from None
            self.log.info("%s Looking again in %.0f s at the earliest.", error, self._trouble_pause)
            return PokeReturnValue(is_done=False)
        self._trouble_pause, self.poll_intervals.trouble = None, 0
        account = self.hook.vendor.account
        with contextlib.suppress(LedgerError):  # only the name in the result
            look_up_wallet(account)
        if not balance.comparable(account.currency):
            raise self.fail_or_skip(
                ConfigError(
                    f"wallet {account.wallet!r} holds {balance}, but connection {self.conn_id!r} says its currency is "
                    f"{account.currency}. Correct 'currency' in the connection. Nothing was sent."
                )
            )
        if balance.amount < self._enough():
            self.log.info("Wallet %s holds %s, waiting for %s", account.wallet, balance, self.at_least)
            return PokeReturnValue(is_done=False)
        self.log.info("Wallet %s holds %s", account.wallet, balance)
        result = {"wallet": account.wallet, "balance": f"{balance.amount:f}", "currency": balance.currency or account.currency}
        return PokeReturnValue(is_done=True, xcom_value=result)

    def trigger(self, deadline: datetime) -> WalletLevelTrigger:
        from airflow_provider_proxyorders.triggers.wallet import WalletLevelTrigger

        return WalletLevelTrigger(
            conn_id=conn_id_of(self.conn_id),
            at_least=f"{self._enough():f}",
            deadline=deadline.isoformat(),
            poll_interval=self.poll_interval,
        )

    def _get_next_poke_interval(self, started_at: Any, run_duration: Any, poke_count: int) -> float:
        """Your ``poke_interval``; a vendor in trouble gets at least the pause it asks for."""
        wanted: float = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        return max(wanted, self._trouble_pause or 0.0)

    def _enough(self) -> Decimal:
        return required_amount("at_least", self.at_least)


__all__ = ["WalletBalanceSensor"]
