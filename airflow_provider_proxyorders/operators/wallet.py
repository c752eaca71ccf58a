"""The operator for wallets: it alerts in time before the money runs out."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, RetryPolicy
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidParameter, ProxyOrdersError
from airflow_provider_proxyorders.domain.inputs import (
    amount_of,
    duration_of,
    flag_of,
    ids_of,
    is_given,
    is_template,
    optional_body_of,
    require_rendered,
    text_of,
)
from airflow_provider_proxyorders.domain.levels import Levels
from airflow_provider_proxyorders.tasks.order_operator import RETRIES, RETRY_DELAY, RETRY_POLICY
from airflow_provider_proxyorders.tasks.question import notifiers_of
from airflow_provider_proxyorders.tasks.telling import explaining, report_ledger, report_wallet

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier, Context

    from airflow_provider_proxyorders.wallet.report import WalletReport

Amount = str | int | Decimal


class CheckWalletOperator(_compat.KeepsDefaults, BaseOperator):
    """Reads wallets, and alerts once when one gets low and once when it has recovered. It never spends.

    A wallet is low when its balance is below ``low_balance`` or empty, or when the renewals due within ``horizon`` cost more.
    It has recovered when its balance is at least ``recovered_at`` and covers them. Orders with an unknown
    price or end do not delay the recovery; the text says how many they are. The ledger keeps the state of each alert, so
    tasks and hosts of one DAG send one alert for a crossing together, and so do DAGs with one ``alert_name``. Other DAGs, and
    checks without notifiers, take nothing away from each other. If every notifier fails, the next try sends the alert again.

    Notifiers get the task's context with ``alert``: ``state`` (``low`` or ``ok``), ``subject``, ``text``, ``key`` and the facts
    below, so ``SlackNotifier(text="{{ alert.text }}")`` is enough. Without notifiers the task logs the alert as a warning.

    Returns a JSON object with one entry for each connection: ``wallet, state, since, alert, text, balance, currency, spendable,
    runway`` (``covered``, ``short``, ``unknown`` or null), ``renewals_due, renewals_covered, renewals_without_price,
    orders_without_end, needed, short, first_uncovered_order_id, first_uncovered_at, first_uncovered_price, spent_per_day,
    spent_over_days, days_left, renewals`` (each with its price and ``source``: ``quote``, ``ledger`` or ``unknown``),
    ``trouble, error``. Amounts are text.

    :param conn_ids: one or several connections; in a template their JSON, or with commas between them (templated).
    :param low_balance: a balance below it is low, in the wallet's currency, as text; or connection -> text (templated).
        ``None`` = only the runway counts.
    :param recovered_at: a balance of at least this has recovered; the same forms (templated). ``None`` = a tenth above
        ``low_balance``.
    :param horizon: cover the renewals due so far ahead: a timedelta, or text such as ``7 days`` or ``P7D`` (templated).
        ``None`` = only the balance counts.
    :param notifiers: any Airflow notifiers.
    :param term: how long an order lasts, for vendors without end dates; the same forms as ``horizon`` (templated).
    :param extension: the vendor's body fields of an extension, to ask for its price if the vendor quotes (templated). Without it
        the price is asked for the last extension of each order, else the ledger's last price counts.
    :param alert_name: alerts of the same name and wallet are one (templated). ``None`` = named after levels, horizon and DAG, so
        other levels or another DAG make another alert.
    :param fail_when_low: fail the task while a wallet is low, after the alert.
    """

    template_fields: Sequence[str] = (
        "conn_ids",
        "low_balance",
        "recovered_at",
        "horizon",
        "term",
        "extension",
        "alert_name",
    )
    template_fields_renderers = {"extension": "json"}
    ui_color = "#f3ead7"

    def __init__(
        self,
        *,
        conn_ids: str | Sequence[str],
        low_balance: Amount | Mapping[str, Amount] | None = None,
        recovered_at: Amount | Mapping[str, Amount] | None = None,
        horizon: timedelta | str | None = timedelta(days=7),
        notifiers: Sequence[BaseNotifier] | BaseNotifier = (),
        term: timedelta | str | None = None,
        extension: Mapping[str, Any] | str | None = None,
        alert_name: str | None = None,
        fail_when_low: bool = False,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        super().__init__(retries=retries, retry_delay=retry_delay, retry_policy=retry_policy, **kwargs)
        if not is_given(low_balance) and not is_given(horizon):
            rule = "is needed where horizon is empty: set low_balance, horizon or both, so a wallet can be low"
            raise InvalidParameter("low_balance", rule, "50.00")
        for name, value in (("low_balance", low_balance), ("recovered_at", recovered_at)):
            for amount in value.values() if isinstance(value, Mapping) else [value]:
                if not is_template(amount):
                    amount_of(name, amount)  # a mistake shows when the DAG is read
        levels = low_balance if isinstance(low_balance, Mapping) else {None: low_balance}
        self._templated_levels = {conn_id for conn_id, amount in levels.items() if is_template(amount)}
        self.conn_ids = conn_ids
        self.low_balance = low_balance
        self.recovered_at = recovered_at
        self.horizon = horizon
        self.notifiers = notifiers_of(notifiers)
        self.term = term
        self.extension = extension
        self.alert_name = alert_name
        self.fail_when_low = flag_of("fail_when_low", fail_when_low, default=False)

    @explaining
    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_proxyorders.wallet.report import WalletReport

        report = WalletReport()
        for conn_id in self._conn_ids():
            try:
                self._check(conn_id, context, report)
            except Exception as error:  # the other wallets are checked, and alert, all the same
                self.log.error(
                    "The check of connection %s's wallet failed: %s",
                    conn_id,
                    error,
                    exc_info=not isinstance(error, ProxyOrdersError),
                )
                report.add_unreadable(conn_id, error)
        self._fail_if_needed(report, context)
        return report.wallets

    def _check(self, conn_id: str, context: Context, report: WalletReport) -> None:
        """Check one wallet, and send the alert if it crossed a level."""
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
        from airflow_provider_proxyorders.wallet.alert import alert_name_of, record_check
        from airflow_provider_proxyorders.wallet.check import check_wallet

        self._require_rendered(conn_id)
        levels, horizon = self._levels(conn_id), duration_of("horizon", self.horizon)
        term, extension = duration_of("term", self.term), optional_body_of(self.extension, "extension")
        hook = ProxyOrdersHook(conn_id)
        buyer = hook.buyer(context, self.log.info)
        report_ledger(hook)  # also of a wallet whose balance cannot be read right now
        try:
            check = check_wallet(buyer, horizon=horizon, term=term, extension=extension)
        finally:
            hook.http.close()
        wanted, dag_id = text_of("alert_name", self.alert_name), buyer.actor.dag_id
        name = alert_name_of(wanted, levels, horizon, dag_id=dag_id, heard=bool(self.notifiers))
        state = record_check(buyer.ledger, check, levels, name, with_runway=horizon is not None)
        facts = state.facts
        report_wallet(facts, hook.vendor.name)
        self.log.info("Wallet %s is %s since %s. %s", facts["wallet"], facts["state"], facts["since"], facts["text"])
        state.announce(lambda alert: self._send(alert, context, report))
        report.wallets[conn_id] = facts
        if check.trouble is not None:
            report.errors[conn_id] = check.trouble

    def _send(self, alert: dict[str, Any], context: Context, report: WalletReport) -> None:
        """Hand an alert to every notifier.

        :raises ConfigError: all of them failed; the next try sends the alert again.
        """
        level = logging.WARNING if alert["state"] == "low" else logging.INFO
        self.log.log(level, "ALERT: %s. %s", alert["subject"], alert["text"])
        failed: list[str] = []
        for notifier in self.notifiers:
            alert_context: Any = {**context, "alert": alert}
            try:
                copy.copy(notifier)(alert_context)  # a notifier renders its templates in place; the next alert needs them anew
            except Exception as error:
                self.log.exception("Notifier %s failed", type(notifier).__name__)
                failed.append(f"{type(notifier).__name__} ({type(error).__name__})")
        if failed and len(failed) == len(self.notifiers):
            raise ConfigError(
                f"{alert['subject']}, and every notifier failed: {', '.join(failed)}. The next try sends the alert again.",
                retry="soon",
            )
        report.undelivered += [f"{alert['subject']}: {name}" for name in failed]

    def _fail_if_needed(self, report: WalletReport, context: Context) -> None:
        """Fail the task if a wallet is unreadable, a notifier failed, or a wallet is low and ``fail_when_low`` is set.

        The task hands its result on all the same.
        """
        error, partly_sent = report.error(), report.partly_sent()
        low = report.low() if self.fail_when_low else None
        if error or partly_sent or low:
            context["ti"].xcom_push(key="return_value", value=report.wallets)
        if error:
            raise error
        if partly_sent or low:
            raise AirflowFailException(partly_sent or low)

    # -- parameters ------------------------------------------------------------------------------------------------

    def _conn_ids(self) -> list[str]:
        conn_ids = [*dict.fromkeys(ids_of("conn_ids", self.conn_ids) or ())]
        if not conn_ids:
            raise ConfigError("conn_ids is empty: name one connection at least. Nothing was sent.")
        return conn_ids

    def _require_rendered(self, conn_id: str) -> None:
        """:raises InvalidParameter: a template of the level rendered to nothing, so the check would see less."""
        level: Any = self.low_balance
        if isinstance(level, Mapping):
            was_template = conn_id in level and not self._templated_levels.isdisjoint({conn_id, None})
            require_rendered("low_balance", level.get(conn_id), was_template)
        else:
            require_rendered("low_balance", level, None in self._templated_levels)

    def _levels(self, conn_id: str) -> Levels | None:
        """The levels of one wallet; ``None`` if only the runway counts.

        :raises ConfigError: they are in the wrong order, or missing.
        """
        low_balance, recovered_at = (
            amount_of(name, value.get(conn_id) if isinstance(value, Mapping) else value)
            for name, value in (("low_balance", self.low_balance), ("recovered_at", self.recovered_at))
        )
        if low_balance is None:
            if not is_given(self.horizon):
                raise ConfigError(
                    f"low_balance lacks a level for connection {conn_id!r}, and horizon is empty too: set one of them"
                )
            return None
        try:
            return Levels.of(low_balance, recovered_at)
        except ValueError as error:
            raise ConfigError(f"connection {conn_id!r}: {error}") from None


__all__ = ["CheckWalletOperator"]
