"""The words of the question in *Required Actions*.

One rule: a vendor's text is data. Airflow renders the body of a question as Markdown, so everything that a vendor or a DAG wrote
stands in one block of code, where neither links nor HTML count, and control characters and templates are taken out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.wire.gate import plain

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import Purchase
    from airflow_provider_proxyorders.ledger.looks import NotedLook
    from airflow_provider_proxyorders.vendors.base import Vendor

#: The most characters of one fact.
LONGEST_FACT = 1000


def subject_of(purchase: Purchase, vendor: Vendor) -> str:
    """The headline: ``Did Voodoo take this order (up to 100.00 USD)?``."""
    what = "extension" if purchase.kind == "extend" else "order"
    return f"Did {vendor.title} take this {what} (up to {purchase.reserved})?"


def body_of(purchase: Purchase, vendor: Vendor, looks: Sequence[NotedLook]) -> str:
    """What to look at, and what each answer means for the money."""
    reference = vendor.reference_in(purchase.request)
    extension = purchase.kind == "extend"
    facts = {
        "may cost": f"up to {purchase.reserved}",
        "sent at": utc(purchase.sent_at, "seconds") if purchase.sent_at else "",
        "extends order": purchase.target or "",
        "asked for": dump_json(purchase.request),
        "reference": reference or "",
        "seen": f"{looks[-1].verdict}: {looks[-1].detail}" if looks else "",
        "connection": f"{purchase.conn_id}, wallet {purchase.wallet}",
        "order key": purchase.order_key,
    }
    lines = [f"{name:<14}{plain(value)[:LONGEST_FACT]}" for name, value in facts.items() if value]
    id_is_known = (
        "No order id is needed: it is the order that was to be extended." if extension else "Put the order's id into the field."
    )
    return (
        f"{vendor.title} gave no usable answer to this purchase, and what it shows does not tell whether the purchase was taken. "
        f"Look for it in the vendor's dashboard, then answer.\n\n{_as_code(lines)}\n\n"
        f"**It was taken:** {id_is_known} The order is read and checked first. Then the task goes on with it.\n\n"
        f"**It was not taken:** leave the field empty. The task buys again, for up to {purchase.reserved}.\n\n"
        "An answer that the checks refuse is asked again. The task's log tells why."
    )


def address_of(context: Any) -> str | None:
    """Where Airflow shows the question; ``None`` if Airflow's address is not configured."""
    from airflow.sdk import conf

    base, ti = conf.get("api", "base_url", fallback=None), context["ti"]
    if not base:
        return None
    names = (quote(str(name), safe="") for name in (ti.dag_id, ti.run_id, ti.task_id))
    path = "/dags/{}/runs/{}/tasks/{}".format(*names)
    mapped = f"/mapped/{ti.map_index}" if ti.map_index is not None and ti.map_index >= 0 else ""
    return f"{base.rstrip('/')}{path}{mapped}/required_actions"


def _as_code(lines: Sequence[str]) -> str:
    """Lines as a block of code, with a fence that none of them can end."""
    longest = max((len(run) for line in lines for run in re.findall("~+", line)), default=0)
    fence = "~" * max(3, longest + 1)
    return "\n".join([fence, *lines, fence])
