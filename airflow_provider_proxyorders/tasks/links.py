"""The links of a task: to its purchase on the page in Airflow, and to its order in the vendor's dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperatorLink, conf
from airflow.sdk.bases.xcom import BaseXCom

if TYPE_CHECKING:
    from airflow.sdk import Context

#: XCom key for the address of a task's order.
PAGE = "order_page"


def purchase_address(order_key: str) -> str:
    """The address of a purchase on the page *Browse -> Proxy orders*."""
    return _address(purchase=order_key)


def with_address(result: dict[str, Any]) -> dict[str, Any]:
    """The result of a task with the address of its purchase; of an order from elsewhere, as it is."""
    order_key = result["order_key"]
    return {**result, "ledger_url": purchase_address(order_key)} if order_key else result


def _address(**fields: str | int) -> str:
    base_url = conf.get("api", "base_url", fallback="") or "http://localhost:8080"
    return f"{base_url.rstrip('/')}/plugin/proxyorders?{urlencode(fields, quote_via=quote)}"


class PurchaseLink(BaseOperatorLink):
    """Opens the purchase of a task on the page in Airflow; of an unresolved purchase too, so that a person can decide there."""

    name = "Purchase"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        order_key = getattr(operator, "order_key_of_purchase", None)
        if order_key:
            return purchase_address(order_key)
        map_index = -1 if ti_key.map_index is None else ti_key.map_index
        return _address(dag_id=ti_key.dag_id, run_id=ti_key.run_id, task_id=ti_key.task_id, map_index=map_index)


class OrderPageLink(BaseOperatorLink):
    """Opens the order in the vendor's dashboard.

    The vendors leave the address of that page undocumented, so the connection's setting ``order_page`` names it, for example
    ``https://dashboard.example.com/orders/{order_id}``. Without it the button stays inactive.
    """

    name = "Order"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        address = BaseXCom.get_value(key=PAGE, ti_key=ti_key)
        return str(address) if address else ""


def begin_without_page(task: Any) -> None:
    """Take the link *Order* from a task at work. When it ends, Airflow stores the address of each link, an empty one too."""
    task.operator_extra_links = tuple(link for link in task.operator_extra_links if not isinstance(link, OrderPageLink))


def set_page(task: Any, context: Context, page: str | None) -> None:
    """Give a task the link to the page of its order, if there is one."""
    if page:
        context["ti"].xcom_push(key=PAGE, value=page)
        task.operator_extra_links = type(task).operator_extra_links
