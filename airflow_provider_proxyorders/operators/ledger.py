"""The operator that compares the ledger with the vendor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, RetryPolicy
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.inputs import conn_id_of, flag_of
from airflow_provider_proxyorders.tasks.order_operator import RETRIES, RETRY_DELAY, RETRY_POLICY
from airflow_provider_proxyorders.tasks.telling import explaining, report_ledger

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReconcileLedgerOperator(_compat.KeepsDefaults, BaseOperator):
    """Compares a wallet's ledger with the vendor's orders, sub-accounts and balance. It never spends.

    It settles purchases with a lost answer, and brings orders up to date. A foreign order is one at the vendor from outside of
    this ledger. It is reported once and freezes purchases from the wallet, since it could be mistaken for a lost purchase;
    ``proxyorders ledger unfreeze WALLET`` allows them again. If the order may belong to a purchase under way, the task only logs
    it at first. It is in ``maybe_ours`` when the next comparison cannot tell either. Orders from before the first comparison
    count as known.

    Returns a JSON object: ``wallet``, ``settled``, ``updated``, ``unresolved``, ``foreign``, ``maybe_ours``, ``missing``
    (lists of keys and ids), ``unexplained`` (text or null) and ``frozen`` (text or null). Each list has at most a hundred
    entries, and so has the log. ``counts`` has the number of all: kind -> number.

    :param conn_id: the Airflow connection that holds the wallet (templated).
    :param fail_on_findings: fail the task if a person should look, so that Airflow's alerts fire.
    """

    template_fields: Sequence[str] = ("conn_id",)
    ui_color = "#f3ead7"

    def __init__(
        self,
        *,
        conn_id: str,
        fail_on_findings: bool = True,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        super().__init__(retries=retries, retry_delay=retry_delay, retry_policy=retry_policy, **kwargs)
        self.conn_id = conn_id
        self.fail_on_findings = flag_of("fail_on_findings", fail_on_findings, default=True)

    @explaining
    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
        from airflow_provider_proxyorders.wallet.findings import MOST_IN_ERROR
        from airflow_provider_proxyorders.wallet.reconcile import reconcile

        hook = ProxyOrdersHook(conn_id_of(self.conn_id))
        buyer = hook.buyer(context, self.log.info)
        try:
            report, wallet = reconcile(buyer), buyer.account.wallet
        finally:  # what was settled before the vendor went away is settled
            report_ledger(hook)
        for line in report.lines():
            self.log.info("%s", line)
        frozen = buyer.ledger.freeze_reason(wallet)
        result = {
            "wallet": wallet,
            "counts": report.counts,
            "settled": report.settled,
            "updated": report.updated,
            "unresolved": sorted(report.unresolved),
            "foreign": report.foreign,
            "maybe_ours": report.still_maybe_ours,
            "missing": report.missing,
            "unreadable": report.unreadable,
            "unexplained": str(report.unexplained) if report.unexplained else None,
            "frozen": frozen,
        }
        if report.clean:
            self.log.info("Wallet %s: ledger and vendor agree", wallet)
        elif self.fail_on_findings:
            context["ti"].xcom_push(key="return_value", value=result)
            then = f" Purchases from it are frozen; afterwards: proxyorders ledger unfreeze {wallet}" if frozen else ""
            findings = "; ".join(report.lines(MOST_IN_ERROR))
            raise AirflowFailException(f"wallet {wallet!r} needs a look: {findings}.{then}")
        return result


__all__ = ["ReconcileLedgerOperator"]
