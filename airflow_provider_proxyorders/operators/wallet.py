"""The operator that watches wallets and says in time that money runs out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, RetryPolicy

from airflow_provider_proxyorders.domain.inputs import (
    amount_of,
    duration_of,
    ids_of,
    is_given,
    is_template,
    optional_body_of,
    text_of,
)
from airflow_provider_proxyorders.tasks.order_operator import RETRIES, RETRY_DELAY, RETRY_POLICY

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier, Context

    from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
    from airflow_provider_proxyorders.domain.levels import Levels
    from airflow_provider_proxyorders.ledger.alarms import Crossing
    from airflow_provider_proxyorders.wallet.check import WalletCheck

Amount = str | int | Decimal


class CheckWalletOperator(BaseOperator):
    """Reads wallets, and alerts once when one gets low and once when it has recovered. It never spends.

    A wallet is low when its balance is below ``low_balance`` or empty, or when it does not cover the renewals that are due
    within ``horizon``. It has recovered when its balance is at least ``recovered_at`` and covers them; orders of which nobody
    knows the price, or the end, do not hold that back, and the text says how many they are. Who has been told is in the ledger,
    so several DAGs and hosts alert once for a crossing together. An alert whose notifiers all failed is repeated by the next try.

    Notifiers get the task's context with ``alert``: ``state`` (``low`` or ``ok``), ``subject``, ``text``, ``key`` and the facts
    below, so ``SlackNotifier(text="{{ alert.text }}")`` says it all. Without notifiers the task's log says it, as a warning.

    Returns a JSON object with one entry for each connection: ``wallet, state, since, alert, text, balance, currency, spendable,
    runway`` (``covered``, ``short``, ``unknown`` or null), ``renewals_due, renewals_covered, renewals_without_price,
    orders_without_end, needed, short, first_uncovered_order_id, first_uncovered_at, first_uncovered_price, spent_per_day,
    spent_over_days, days_left, renewals`` (with price and where that comes from: ``quote``, ``ledger`` or ``unknown``),
    ``trouble, error``. Amounts are text.

    :param conn_ids: one or several connections; in a template their JSON, or with commas between them (templated).
    :param low_balance: a balance below it is low, in the wallet's currency, as text; or connection -> text (templated). None =
        only the runway counts.
    :param recovered_at: a balance of at least this has recovered; the same forms. None = a tenth above ``low_balance``.
    :param horizon: cover the renewals due so far ahead: timedelta, seconds or ISO text such as ``P7D``; None = only the balance
        counts (templated).
    :param notifiers: any Airflow notifiers.
    :param term: how long an order lasts, for vendors that do not tell when it ends; the same forms as ``horizon`` (templated).
    :param extension: the vendor's body fields of an extension, to ask for its price where the vendor quotes (templated). Without
        it the last extension of each order is asked for, else the ledger's last price counts.
    :param alert_name: alerts of the same name and wallet are one; None = named after the levels, so that other levels are
        another alert (templated).
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
        horizon: timedelta | float | str | None = timedelta(days=7),
        notifiers: Sequence[BaseNotifier] | BaseNotifier = (),
        term: timedelta | float | str | None = None,
        extension: Mapping[str, Any] | str | None = None,
        alert_name: str | None = None,
        fail_when_low: bool = False,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        super().__init__(retries=retries, retry_delay=retry_delay, retry_policy=retry_policy, **kwargs)
        if low_balance is None and horizon is None:
            raise ValueError("CheckWalletOperator needs low_balance, horizon or both: else no wallet could ever be low")
        for name, value in (("low_balance", low_balance), ("recovered_at", recovered_at)):
            for amount in value.values() if isinstance(value, Mapping) else [value]:
                if not is_template(amount):
                    amount_of(name, amount)  # a mistake shows when the DAG is read
        self.conn_ids = conn_ids
        self.low_balance = low_balance
        self.recovered_at = recovered_at
        self.horizon = horizon
        self.notifiers = list(notifiers) if isinstance(notifiers, Sequence) else [notifiers]
        self.term = term
        self.extension = extension
        self.alert_name = alert_name
        self.fail_when_low = fail_when_low

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowFailException

        from airflow_provider_proxyorders.domain.errors import ProxyOrdersError

        result: dict[str, Any] = {}
        errors: dict[str, Exception] = {}
        undelivered: list[str] = []
        for conn_id in self._conn_ids():
            try:
                result[conn_id], trouble = self._check(conn_id, context, undelivered)
                if trouble is not None:
                    errors[conn_id] = trouble
            except Exception as error:  # whatever is wrong with one wallet, the others are checked and alert
                known = isinstance(error, ProxyOrdersError)
                self.log.error("Wallet of connection %s cannot be checked: %s", conn_id, error, exc_info=not known)
                errors[conn_id] = error
                result[conn_id] = {"conn_id": conn_id, "state": None, "error": f"{type(error).__name__}: {error}"}
        low = [conn_id for conn_id, facts in result.items() if facts.get("state") == "low"]
        if errors or undelivered or (low and self.fail_when_low):
            context["ti"].xcom_push(key="return_value", value=result)
        if errors:
            raise self._unchecked(errors, len(result), undelivered)
        if undelivered:
            raise AirflowFailException(_not_through_all(undelivered))
        if low and self.fail_when_low:
            raise AirflowFailException(
                "; ".join(f"wallet {result[name]['wallet']} is low: {result[name]['text']}" for name in low)
            )
        return result

    # -- one wallet ------------------------------------------------------------------------------------------------

    def _check(self, conn_id: str, context: Context, undelivered: list[str]) -> tuple[dict[str, Any], ProxyOrdersError | None]:
        """Look at one wallet and tell of a crossing; returns the facts, and why not all of them could be read."""
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
        from airflow_provider_proxyorders.ledger.alarms import Alarms
        from airflow_provider_proxyorders.wallet.check import look

        horizon, term = duration_of("horizon", self.horizon), duration_of("term", self.term)
        extension = optional_body_of(self.extension, "extension")
        levels = self._levels(conn_id)
        hook = ProxyOrdersHook(conn_id)
        buyer = hook.buyer(context, self.log.info)
        try:
            wallet_check = look(buyer, horizon=horizon, term=term, extension=extension)
        finally:
            hook.http.close()
        wallet, name = buyer.account.wallet, text_of("alert_name", self.alert_name) or _name(levels, horizon)
        state = wallet_check.judge(levels, with_runway=horizon is not None)
        alarms = Alarms(buyer.ledger.engine, buyer.ledger.clock)
        crossing = alarms.observe(wallet, name, state, balance=wallet_check.holds)
        known = crossing or alarms.find(wallet, name)
        assert known is not None
        text = wallet_check.told(levels)
        self.log.info("Wallet %s is %s since %s UTC. %s", wallet, known.state, f"{known.since:%Y-%m-%d %H:%M}", text)
        facts = {
            **wallet_check.facts(),
            "state": known.state,
            "since": known.since.isoformat(),
            "alert": None if crossing is None else ("low" if crossing.state == "low" else "recovered"),
            "text": text,
            "error": None,
        }
        if crossing is not None:
            try:
                self._tell(_alert(crossing, wallet_check, facts), context, undelivered)
            except BaseException:
                alarms.release(crossing)
                raise
            alarms.confirm(crossing)
        return facts, wallet_check.trouble

    def _tell(self, alert: dict[str, Any], context: Context, undelivered: list[str]) -> None:
        """Hand an alert to every notifier.

        :raises ConfigError: when none of them took it; then it is repeated.
        """
        from airflow_provider_proxyorders.domain.errors import ConfigError

        self.log.log(30 if alert["state"] == "low" else 20, "ALERT: %s. %s", alert["subject"], alert["text"])
        failed: list[str] = []
        for notifier in self.notifiers:
            try:
                given: Any = {**context, "alert": alert}
                copy.copy(notifier)(given)  # it renders its templates in place, and the next alert needs them anew
            except Exception as error:
                self.log.exception("Notifier %s failed", type(notifier).__name__)
                failed.append(f"{type(notifier).__name__} ({type(error).__name__})")
        if failed and len(failed) == len(self.notifiers):
            raise ConfigError(
                f"{alert['subject']}, and nobody could be told: {', '.join(failed)} failed. The next try tells it again.",
                retry="soon",
            )
        undelivered += [f"{alert['subject']}: {name}" for name in failed]

    # -- what was asked for ----------------------------------------------------------------------------------------

    def _conn_ids(self) -> list[str]:
        from airflow_provider_proxyorders.domain.errors import ConfigError

        found = [*dict.fromkeys(ids_of("conn_ids", self.conn_ids) or ())]
        if not found:
            raise ConfigError("conn_ids names no connection, so no wallet would be watched. Nothing was sent.")
        return found

    def _levels(self, conn_id: str) -> Levels | None:
        """The levels of one wallet.

        :raises ConfigError: when they are no amounts, or in the wrong order.
        """
        from airflow_provider_proxyorders.domain.errors import ConfigError
        from airflow_provider_proxyorders.domain.levels import Levels

        given: list[Decimal | None] = []
        for name, value in (("low_balance", self.low_balance), ("recovered_at", self.recovered_at)):
            amount = value.get(conn_id) if isinstance(value, Mapping) else value
            given.append(amount_of(name, amount))
        low, recovered = given
        if low is None:
            if not is_given(self.horizon):
                raise ConfigError(f"low_balance names no level for connection {conn_id!r}, and there is no horizon")
            return None
        try:
            return Levels.of(low, recovered)
        except ValueError as error:
            raise ConfigError(f"connection {conn_id!r}: {error}") from None

    def _unchecked(self, errors: Mapping[str, Exception], many: int, undelivered: Sequence[str]) -> Exception:
        from airflow_provider_proxyorders.domain.errors import ProxyOrdersError

        said = "; ".join(f"{conn_id}: {type(error).__name__}: {error}" for conn_id, error in errors.items())
        others = " The others were checked." if many > len(errors) else ""
        others += f" And {_not_through_all(undelivered)}." if undelivered else ""
        passing = any(not isinstance(error, ProxyOrdersError) or error.retry != "never" for error in errors.values())
        text = f"{len(errors)} of {many} wallets could not be checked: {said.rstrip('.')}.{others}"
        error = ProxyOrdersError(text, retry="soon" if passing else "never")
        error.tell("Nothing was bought.")
        return error


def _not_through_all(undelivered: Sequence[str]) -> str:
    return f"the alert went out, but not through every notifier: {'; '.join(undelivered)}"


def _name(levels: Levels | None, horizon: timedelta | None) -> str:
    """What the alert is about; whoever asks the same shares it."""
    parts = [str(levels)] if levels is not None else []
    if horizon is not None:
        parts.append(f"runway of {horizon.total_seconds():.0f} s")
    return f"alert: {', '.join(parts)}"


def _alert(crossing: Crossing, wallet_check: WalletCheck, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What notifiers are told."""
    wallet, balance = crossing.wallet, wallet_check.holds
    subject = f"Wallet {wallet} is low: {balance}" if crossing.state == "low" else f"Wallet {wallet} has recovered: {balance}"
    text = facts["text"]
    if crossing.again:
        text += f" (Since {crossing.since:%Y-%m-%d %H:%M} UTC; an earlier try to tell this did not get through.)"
    elif crossing.missed:
        text += " (Nobody could be told of the change before this one.)"
    shown = {name: value for name, value in facts.items() if name not in ("renewals", "error", "alert", "state", "text")}
    return {
        **shown,
        "state": crossing.state,
        "subject": subject,
        "text": text,
        "crossing": crossing.crossing,
        "key": crossing.key,
    }


__all__ = ["CheckWalletOperator"]
