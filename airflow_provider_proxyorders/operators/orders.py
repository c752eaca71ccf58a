"""The operators that buy, find and extend orders; finding and extending live in files of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_proxyorders.domain.errors import InvalidRequest, telling_of_the_wallet
from airflow_provider_proxyorders.domain.inputs import body_of, one_of, order_key_of
from airflow_provider_proxyorders.operators.extend import ExtendProxyOrderOperator
from airflow_provider_proxyorders.operators.find_expiring import FindExpiringOrdersOperator
from airflow_provider_proxyorders.tasks.order_operator import OrderOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.domain.model import Purchase
    from airflow_provider_proxyorders.purchase.buyer import Buyer


class CreateProxyOrderOperator(OrderOperator):
    """Buys one prepaid order and waits until it can be used.

    An order key buys at most once: a retry, Clear, a backfill of the same interval or a second worker all get the same order.
    To buy again on purpose, give another ``order_key``.

    Returns a JSON object of text, numbers and nulls, free of secrets: ``order_key, order_id, vendor, kind, status,
    vendor_status, price, currency, expires_at, delivered, ledger_url``. The id is also an XCom of its own, so a later task takes
    ``order.output`` or ``order.output["order_id"]``. It reads the proxies or codes with
    ``ProxyOrdersHook(conn_id).get_delivery(order_id)``.

    :param conn_id: the Airflow connection that holds the wallet (templated).
    :param request: the vendor's own body fields, as its documentation names them, or their JSON as text (templated).
    :param order_key: identity of this purchase (templated). By default, and if it rendered to nothing: DAG, task, map index and
        data interval, or the run if it has no interval.
    :param max_price: the most it may cost, in major currency units, as text or Decimal (templated). Without it the connection's
        ``max_order_price`` counts; if both are missing, the task refuses to buy. It also refuses a template that rendered to
        nothing.
    :param on_partial: ``fail`` or ``accept`` an order that was delivered only in part.
    :param wait_for_completion: wait until the order can be used, else return as soon as it is placed.
    :param deferrable: wait in the triggerer, without holding a worker; default ``[operators] default_deferrable``.
    :param poll_interval: the longest pause between two looks at the order, as seconds, timedelta or text such as ``PT5M``;
        ``None`` = the vendor's rhythm.
    :param timeout: how long one try waits, in the same forms; ``None`` = the vendor's default.
    :param on_unresolved: if evidence cannot decide whether the vendor took the purchase: ``fail`` the task, or ``ask`` a person
        in Airflow's *Required Actions* and go on with the answer.
    :param notifiers: Airflow notifiers, called when a person is asked.
    :param assigned_users: the users for the answer, each with ``id`` and ``name`` as for Airflow's ``HITLOperator``; ``None``
        = all with the right.
    :param response_timeout: how long a question stays open, as timedelta or text such as ``3 days``; ``None`` = without an end.
        Afterwards the task fails.
    """

    template_fields: Sequence[str] = ("conn_id", "request", "order_key", "max_price")
    template_fields_renderers = {"request": "json"}

    def __init__(
        self,
        *,
        request: Mapping[str, Any] | str,
        order_key: str | None = None,
        max_price: str | Decimal | None = None,
        on_partial: Literal["fail", "accept"] = "fail",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.request = request
        self.order_key = order_key
        self.max_price = max_price
        self.cap_was_set = max_price is not None
        with telling_of_the_wallet():
            self.on_partial = one_of("on_partial", on_partial, ("fail", "accept"))

    def buy(self, buyer: Buyer, context: Context) -> Purchase:
        key = order_key_of(self.order_key) or default_key(context)
        try:
            cap = self.price_cap()
            return buyer.place(body_of(self.request), order_key=key, max_price=cap)
        except InvalidRequest as error:
            buyer.refuse(error, order_key=key)


def default_key(context: Mapping[str, Any]) -> str:
    """Identity of a purchase by default: DAG, task, map index and data interval, or the run if it has no interval.

    The try number is left out, so retries, Clear and a backfill of the same interval mean the same purchase.
    """
    ti, run = context["ti"], context["dag_run"]
    start, end = getattr(run, "data_interval_start", None), getattr(run, "data_interval_end", None)
    when = f"{start.isoformat()}/{end.isoformat()}" if start is not None and end is not None else run.run_id
    mapped = f"[{ti.map_index}]" if ti.map_index is not None and ti.map_index >= 0 else ""
    return f"create:{ti.dag_id}:{ti.task_id}{mapped}:{when}"


__all__ = ["CreateProxyOrderOperator", "ExtendProxyOrderOperator", "FindExpiringOrdersOperator", "default_key"]
