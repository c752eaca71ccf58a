"""Keep orders paid: find those that end soon, ask a person when it gets expensive, extend each once, report.

``find`` reads the wallet's orders and what extending them would cost. Above ``approve_above`` the run waits in ``approve`` until
somebody says yes in Airflow's page (*Required actions*); nobody's answer within half a day buys nothing and fails the run.
``extend`` runs once for each order. ``report`` says what was extended from when to when, what it cost, what was left out and what
went wrong, and fails the run where an order was not extended.

Run it as often as you like: an order that is paid through the horizon is skipped, and two runs that see the same expiry mean the
same extension. The file has no schedule, so copying it buys nothing: set ``SCHEDULE``. Without notifiers the report is logged.
"""

from __future__ import annotations

import copy
import logging
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
#: Who gets the report, for example ``[SlackNotifier(text="{{ report.text }}")]``, and who is told that an approval is wanted.
NOTIFIERS: list[BaseNotifier] = []
APPROVAL_NOTIFIERS: list[BaseNotifier] = []
#: How long an approval is waited for.
PATIENCE = timedelta(hours=12)

PARAMS = {
    "conn_id": Param(
        "iproyal_default", type="string", title="Connection", description="It holds the wallet and names the vendor"
    ),
    "within": Param(
        "P3D",
        type="string",
        title="Horizon",
        description="Every order is paid through this; days are the connection's, P3D or P1M",
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
        description="A person approves a run that costs more than this, or whose cost is not known; empty asks nobody",
    ),
    "note": Param(
        None, type=["string", "null"], title="Note", description="Only orders with this word in their note; empty takes all"
    ),
    "exclude": Param([], type="array", title="Never", description="Ids of orders that are not extended"),
    "limit": Param(
        500, type="integer", minimum=1, title="At most", description="The soonest to end first; the next run takes the rest"
    ),
}
#: What ``find`` told, in templates.
FOUND = "ti.xcom_pull(task_ids='find', key='found')"
BODY = f"{{% for one in {FOUND}['due'] %}}" + (
    "* {{ one.order_id }}, {{ one.product }}, ends {{ one.expires_at }}: "
    "{{ one.price or 'price unknown' }} {{ one.currency or '' }} ({{ one.price_from }})\n{% endfor %}"
)


def total(found: dict[str, Any]) -> str:
    """What a run will cost, for people."""
    sums = " + ".join(f"{amount} {currency}".strip() for currency, amount in found["total"].items()) or "nothing known"
    return f"{sums} and {found['unpriced']} without a known price" if found["unpriced"] else sums


@task.branch(retries=2)
def approval_needed(params: dict[str, Any] | None = None) -> str:
    """Who goes on: the person, or the extensions at once."""
    assert params is not None
    found = get_current_context()["ti"].xcom_pull(task_ids="find", key="found")
    above = params["approve_above"]
    if not found["due"] or not above:
        return "extend"
    sums = found["total"]
    known = not found["unpriced"] and len(sums) == 1  # sums in two currencies cannot be compared with one amount
    cheap = known and Decimal(next(iter(sums.values()))) <= Decimal(above)
    log.info("%d orders for %s; approval is %s", len(found["due"]), total(found), "not needed" if cheap else "wanted")
    return "extend" if cheap else "approve"


@task(trigger_rule="all_done", retries=2)
def report(extended: Any) -> dict[str, Any]:
    """What became of every order that was found, right to the cent: an extension is counted in the run that bought it."""
    context = get_current_context()
    ti, run_id = context["ti"], context["run_id"]
    found = ti.xcom_pull(task_ids="find", key="found")
    if found is None:
        raise AirflowFailException("the wallet's orders could not be read, so nothing was extended; see the log of task find")
    results = {one["order_key"]: one for one in extended or [] if one}
    by_order = {one["replaces"] or one["order_id"]: one for one in results.values()}
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[run_id], task_ids=["extend", "approve"]).get(run_id, {})
    told: dict[str, Any] = {"extended": [], "short": [], "skipped": [], "errors": [], "cost": {}}
    for number, due in enumerate(found["due"]):
        one = by_order.get(due["order_id"])
        state = states.get(f"extend_{number}", states.get("extend"))
        if one is not None:
            told["extended"].append({key: one[key] for key in ("order_id", "expires_before", "expires_at", "price", "currency")})
            if (one["expires_at"] or found["until"]) < found["until"]:  # both are ISO text in UTC
                told["short"].append(due["order_id"])
            if one["price"]:
                sums, currency = told["cost"], one["currency"] or ""
                sums[currency] = f"{Decimal(sums.get(currency, '0')) + Decimal(one['price']):f}"
        if state == "skipped":
            told["skipped"].append(due["order_id"])
        elif one is None or state != "success":
            failed = "approve" if states.get("approve") == "failed" else f"extend[{number}]"
            told["errors"].append({"order_id": due["order_id"], "task": failed, "state": state})
    told["left_out"] = [{key: left[key] for key in ("order_id", "reason", "why")} for left in found["left_out"]]
    told["postponed"] = found["postponed"]
    told["text"] = text = written(told)
    for line in text.splitlines():
        log.info("%s", line)
    for notifier in NOTIFIERS:
        copy.copy(notifier)({**context, "report": told})
    if told["errors"]:
        ti.xcom_push(key="return_value", value=told)
        raise AirflowFailException(f"{len(told['errors'])} orders were not extended; the log names them and their tasks")
    return told


def written(told: dict[str, Any]) -> str:
    """The report as text, a line a fact."""
    cost = " + ".join(f"{amount} {currency}".strip() for currency, amount in told["cost"].items()) or "0"
    lines = [
        f"{len(told['extended'])} orders extended for {cost}; {len(told['skipped'])} skipped, {len(told['errors'])} failed, "
        f"{len(told['left_out'])} left out, {len(told['postponed'])} wait for the next run"
    ]
    for one in told["extended"]:
        price = f" for {one['price']} {one['currency'] or ''}".rstrip() if one["price"] else ""
        lines.append(f"extended: {one['order_id']} from {one['expires_before']} to {one['expires_at']}{price}")
    lines += [f"short: {order_id} still ends before the horizon; the next run extends it again" for order_id in told["short"]]
    lines += [f"skipped: {order_id}, paid for already or not approved" for order_id in told["skipped"]]
    lines += [f"FAILED: {one['order_id']}, see the log of {one['task']} ({one['state']})" for one in told["errors"]]
    lines += [f"left out: {left['order_id']} ({left['reason']}): {left['why']}" for left in told["left_out"]]
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
