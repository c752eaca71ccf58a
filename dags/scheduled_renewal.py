"""Keep orders paid: find the expiring ones, ask a person above an amount, extend each once, report.

- ``find`` reads the wallet's orders and the price of extending them.
- ``approve`` waits for a yes in Airflow's page (*Required actions*) if the run costs more than ``approve_above``. Without an
  answer within half a day the run fails. Nothing is bought.
- ``extend`` runs once per order.
- ``report`` lists every extension with dates and cost, every skipped order with the reason, and every error. It fails the run if
  an order was not extended.

Run it as often as you like. It skips an order that is already paid through the horizon, and two runs with the same expiry mean
the same extension. The file has no schedule, so a copy waits for you: set ``SCHEDULE``. Without notifiers the report is logged.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, BaseNotifier, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_proxyorders.operators.orders import ExtendProxyOrderOperator, FindExpiringOrdersOperator

log = logging.getLogger(__name__)

#: When it runs, such as "0 6 * * *"; None = by hand only.
SCHEDULE: str | None = None
#: They send the report, for example ``[SlackNotifier(text="{{ report.text }}")]``, and the request for an approval.
NOTIFIERS: list[BaseNotifier] = []
APPROVAL_NOTIFIERS: list[BaseNotifier] = []
#: The wait for an approval.
PATIENCE = timedelta(hours=12)

PARAMS = {
    "conn_id": Param(
        "iproyal_default", type="string", title="Connection", description="It holds the wallet and names the vendor"
    ),
    "within": Param(
        "P3D",
        type="string",
        title="Horizon",
        description="Every order is paid through this: 3 days, P3D or P1M, with days in the connection's time zone",
    ),
    "request": Param(
        {"product_plan_id": 22}, type="object", title="Request", description="The vendor's own body fields of an extension"
    ),
    "max_price": Param(
        "25.00", type="string", title="Price cap", description="The most one extension may cost, in major currency units"
    ),
    "approve_above": Param(
        "50.00",
        type=["string", "null"],
        pattern=r"^([0-9]+(\.[0-9]+)?)?$",
        title="Ask above",
        description="A person approves a run above this cost, or with an unknown cost; empty: without approval",
    ),
    "note": Param(
        None, type=["string", "null"], title="Note", description="Only orders with this word in their note; empty: all orders"
    ),
    "exclude": Param([], type="array", title="Never", description="Ids of orders to leave alone"),
    "limit": Param(
        500, type="integer", minimum=1, title="At most", description="The soonest to end first; the next run takes the rest"
    ),
}
#: The report's part of an extension's result.
EXTENSION = ("order_id", "expires_before", "expires_at", "price", "currency")
#: The full result of ``find``, in templates.
FOUND = "ti.xcom_pull(task_ids='find', key='found')"
#: Airflow shows it as Markdown. An indented line is code there, so a vendor's text stays text.
BODY = f"The orders, with their ends and prices:\n\n{{% for order in {FOUND}['due'] %}}" + (
    "    {{ order.order_id }}, {{ order.product }}, ends {{ order.expires_at }}: "
    "{{ order.price or 'price unknown' }} {{ order.currency or '' }} ({{ order.price_from }})\n{% endfor %}"
)


def total(expiring: dict[str, Any]) -> str:
    """The cost of a run, for people."""
    sums = " + ".join(f"{amount} {currency}".strip() for currency, amount in expiring["total"].items()) or "unknown"
    return f"{sums} and {expiring['unpriced']} without a known price" if expiring["unpriced"] else sums


@task.branch(retries=2)
def approval_needed(params: dict[str, Any] | None = None) -> str:
    """The next task: the approval, or the extensions at once."""
    assert params is not None
    expiring = get_current_context()["ti"].xcom_pull(task_ids="find", key="found")
    above = params["approve_above"]
    if not expiring["due"] or not above:
        return "extend"
    sums = expiring["total"]
    comparable = not expiring["unpriced"] and len(sums) == 1  # sums in two currencies cannot be compared with one amount
    cheap = comparable and Decimal(next(iter(sums.values()))) <= Decimal(above)
    log.info("%d orders for %s; approval is %s", len(expiring["due"]), total(expiring), "not needed" if cheap else "wanted")
    return "extend" if cheap else "approve"


@task(trigger_rule="all_done", retries=2)
def report(extended: Any) -> dict[str, Any]:
    """The outcome of every expiring order, exact to the cent: an extension counts in the run that bought it."""
    context = get_current_context()
    ti, run_id = context["ti"], context["run_id"]
    expiring = ti.xcom_pull(task_ids="find", key="found")
    if expiring is None:
        raise AirflowFailException("The wallet's orders are unreadable, see the log of task find. Nothing was bought.")
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[run_id], task_ids=["extend", "approve"]).get(run_id, {})
    summary = summarize(expiring, extended or [], states)
    for line in summary["text"].splitlines():
        log.info("%s", line)
    for notifier in NOTIFIERS:
        copy.copy(notifier)({**context, "report": summary})
    if summary["errors"]:
        ti.xcom_push(key="return_value", value=summary)
        raise AirflowFailException(f"{len(summary['errors'])} orders were not extended; the log names them and their tasks")
    return summary


def summarize(expiring: dict[str, Any], extended: Iterable[Any], states: dict[str, Any]) -> dict[str, Any]:
    """The report as facts: extensions, skipped orders, errors, cost per currency, and all of it as text."""
    results = {result["order_key"]: result for result in extended if result}
    by_order = {result["replaces"] or result["order_id"]: result for result in results.values()}
    summary: dict[str, Any] = {"extended": [], "short": [], "skipped": [], "errors": [], "cost": {}}
    for number, due in enumerate(expiring["due"]):
        result = by_order.get(due["order_id"])
        state = states.get(f"extend_{number}", states.get("extend"))
        if result is not None:
            count(summary, due, result, expiring["until"])
        if state == "skipped":
            summary["skipped"].append(due["order_id"])
        elif result is None or state != "success":
            failed = "approve" if states.get("approve") == "failed" else f"extend[{number}]"
            summary["errors"].append({"order_id": due["order_id"], "task": failed, "state": state})
    summary["left_out"] = [{key: left[key] for key in ("order_id", "reason", "why")} for left in expiring["left_out"]]
    summary["postponed"] = expiring["postponed"]
    summary["text"] = written(summary)
    return summary


def count(summary: dict[str, Any], due: dict[str, Any], result: dict[str, Any], until: str) -> None:
    """Add one extension to the summary."""
    summary["extended"].append({key: result[key] for key in EXTENSION})
    if (result["expires_at"] or until) < until:  # both are ISO text in UTC
        summary["short"].append(due["order_id"])
    if result["price"]:
        sums, currency = summary["cost"], result["currency"] or ""
        sums[currency] = f"{Decimal(sums.get(currency, '0')) + Decimal(result['price']):f}"


def written(summary: dict[str, Any]) -> str:
    """The report as text, one fact a line."""
    cost = " + ".join(f"{amount} {currency}".strip() for currency, amount in summary["cost"].items()) or "0"
    lines = [
        f"{len(summary['extended'])} orders extended for {cost}; {len(summary['skipped'])} skipped, "
        f"{len(summary['errors'])} failed, {len(summary['left_out'])} left out, "
        f"{len(summary['postponed'])} wait for the next run"
    ]
    for result in summary["extended"]:
        price = f" for {result['price']} {result['currency'] or ''}".rstrip() if result["price"] else ""
        lines.append(f"extended: {result['order_id']} from {result['expires_before']} to {result['expires_at']}{price}")
    lines += [f"short: {order_id} still ends before the horizon; the next run extends it again" for order_id in summary["short"]]
    lines += [f"skipped: {order_id}, already paid or not approved" for order_id in summary["skipped"]]
    lines += [f"FAILED: {error['order_id']}, see the log of {error['task']} ({error['state']})" for error in summary["errors"]]
    lines += [f"left out: {left['order_id']} ({left['reason']}): {left['why']}" for left in summary["left_out"]]
    return "\n".join(lines)


with DAG(
    "scheduled_renewal",
    schedule=SCHEDULE,
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "proxies"},
    doc_md=__doc__,
    tags=["proxyorders"],
    params=PARAMS,
    user_defined_macros={"total": total},
) as scheduled_renewal:
    find = FindExpiringOrdersOperator(
        task_id="find",
        conn_id="{{ params.conn_id }}",
        within="{{ params.within }}",
        request="{{ params.request | tojson }}",
        note="{{ params.note or '' }}",
        exclude="{{ params.exclude | tojson }}",
        limit="{{ params.limit }}",
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject=f"Extend {{{{ {FOUND}['due'] | length }}}} orders for {{{{ total({FOUND}) }}}}?",
        body=BODY,
        response_timeout=PATIENCE,
        notifiers=APPROVAL_NOTIFIERS,
    )
    extend = ExtendProxyOrderOperator.partial(
        task_id="extend",
        conn_id="{{ params.conn_id }}",
        request="{{ params.request | tojson }}",
        max_price="{{ params.max_price }}",
        paid_through=f"{{{{ {FOUND}['until'] }}}}",
        on_short="accept",
        deferrable=True,
        max_active_tis_per_dagrun=4,
        map_index_template="{{ task.order_id }}",
        trigger_rule="none_failed_min_one_success",
    ).expand_kwargs(find.output)
    needed = approval_needed()
    find >> needed >> [approve, extend]
    approve >> extend >> report(extend.output)
