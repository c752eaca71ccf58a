"""The operators that buy and extend orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_proxyorders.tasks.ordering import OrderOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.core.desk import Desk


class CreateProxyOrderOperator(OrderOperator):
    """Buys one prepaid order and waits until it can be used.

    The same order key never buys twice: a retry, Clear, a backfill of the same interval or a second worker all get the
    same order. To buy again on purpose, give another ``order_key``.

    Returns a JSON object of text, numbers and nulls: ``order_key, order_id, vendor, kind, status, vendor_status, price,
    currency, expires_at, delivered, ledger_url``. What the order yielded is secret and is not in it; a later task reads it with
    ``ProxyOrdersHook(conn_id).get_delivery(order_id)``.

    :param conn_id: the Airflow connection that holds the wallet (templated).
    :param request: the vendor's own body fields, as its documentation names them, or their JSON as text (templated).
    :param order_key: identity of this purchase (templated); by default DAG, task, map index and data interval, or the run where a
        run has no interval.
    :param max_price: the most it may cost, in major currency units, as text or Decimal (templated). Without it the connection's
        ``max_order_price`` counts; without both nothing is bought.
    :param on_partial: ``fail`` or ``accept`` an order that the vendor could deliver only in part.
    :param wait_for_completion: wait until the order can be used, else return as soon as it is placed.
    :param deferrable: wait in the triggerer, without holding a worker; default ``[operators] default_deferrable``.
    :param poll_interval: never wait longer than this between two looks at the order, in seconds; None = the vendor's rhythm.
    :param timeout: how long one try waits, in seconds or as timedelta; None = the vendor's default.
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
        self.on_partial = _choice("on_partial", on_partial, ("fail", "accept"))

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_proxyorders.hooks.proxyorders import price_cap

        desk = self.hook.desk(context, self.log.info)
        key = self.order_key or default_key(context)
        order = desk.place(_body(self.request), order_key=key, max_price=price_cap(self.max_price))
        return self.finish(order, desk, context)


class ExtendProxyOrderOperator(OrderOperator):
    """Extends an order by the vendor's own call and waits until its expiry has grown.

    By default the purchase is identified by wallet, order and the expiry that is being extended, so a retry, a manual run
    and a second DAG all mean the same extension.

    :param conn_id: the Airflow connection that holds the wallet (templated).
    :param order_id: the vendor's id of the order to extend (templated).
    :param request: the vendor's own body fields, as its documentation names them, or their JSON as text (templated).
    :param order_key: identity of this extension (templated); see above for the default.
    :param only_within: skip the task when the order expires later than this from now, as timedelta or seconds (templated).
    :param max_price: the most it may cost, in major currency units (templated).
    :param on_auto_extend: what to do with an order that the vendor renews by itself, which could be paid for twice: ``skip``
        the task, ``fail`` it, ``disable`` the vendor's renewal and extend, or ``extend`` all the same.
    :param wait_for_completion, deferrable, poll_interval, timeout: as for :class:`CreateProxyOrderOperator`.
    """

    template_fields: Sequence[str] = ("conn_id", "order_id", "request", "order_key", "only_within", "max_price")
    template_fields_renderers = {"request": "json"}

    def __init__(
        self,
        *,
        order_id: str,
        request: Mapping[str, Any] | str,
        order_key: str | None = None,
        only_within: timedelta | float | str | None = None,
        max_price: str | Decimal | None = None,
        on_auto_extend: Literal["skip", "fail", "disable", "extend"] = "skip",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.order_id = order_id
        self.request = request
        self.order_key = order_key
        self.only_within = only_within
        self.max_price = max_price
        self.on_auto_extend = _choice("on_auto_extend", on_auto_extend, ("skip", "fail", "disable", "extend"))

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_proxyorders.hooks.proxyorders import price_cap

        desk = self.hook.desk(context, self.log.info)
        order_id = str(self.order_id)
        request = _body(self.request)
        desk.vendor.prepare_extend(order_id, request)  # a bad request is refused before anything is read
        key = self.order_key or self.hook.extension_key(desk, order_id, context)
        if desk.ledger.find(key) is None:  # else this extension was begun before; whether it was due is no longer the question
            self._check_due(desk, order_id)
        order = desk.extend(order_id, request, order_key=key, max_price=price_cap(self.max_price))
        return self.finish(order, desk, context)

    def _check_due(self, desk: Desk, order_id: str) -> None:
        """Skip or refuse an order that is not to be extended now; reads only."""
        from datetime import datetime, timezone

        from airflow.sdk.exceptions import AirflowSkipException

        from airflow_provider_proxyorders.core.errors import InvalidRequest
        from airflow_provider_proxyorders.core.model import OrderStatus

        order = self.hook.get_order(order_id)
        if order.status in (OrderStatus.EXPIRED, OrderStatus.REFUNDED, OrderStatus.FAILED):
            raise InvalidRequest(
                "order_id",
                f"must name a running order; {order_id} is {order.vendor_status!r} at {desk.vendor.title} and cannot be extended",
            )
        within = _duration(self.only_within)
        if within is not None and order.expires_at is not None:
            left = order.expires_at - datetime.now(timezone.utc)
            if left > within:
                raise AirflowSkipException(
                    f"order {order_id} runs until {order.expires_at:%Y-%m-%d %H:%M} UTC, "
                    f"longer than only_within={within}; nothing bought"
                )
        if order.auto_extends and self.on_auto_extend != "extend":
            if self.on_auto_extend == "skip":
                raise AirflowSkipException(
                    f"{desk.vendor.title} renews order {order_id} by itself, so extending it could pay twice; nothing bought. "
                    "on_auto_extend='disable' switches that off and extends."
                )
            if self.on_auto_extend == "fail":
                raise InvalidRequest(
                    "order_id", f"names order {order_id}, which {desk.vendor.title} renews by itself; on_auto_extend='fail'"
                )
            self.hook.set_auto_extend(order_id, False)
            self.log.info("Order %s: the vendor's own renewal is switched off", order_id)


def default_key(context: Mapping[str, Any]) -> str:
    """Identity of a purchase by default: DAG, task, map index and data interval, or the run where it has no interval.

    Never the try number; so retries, Clear and a backfill of the same interval mean the same purchase.
    """
    ti, run = context["ti"], context["dag_run"]
    start, end = getattr(run, "data_interval_start", None), getattr(run, "data_interval_end", None)
    when = f"{start.isoformat()}/{end.isoformat()}" if start is not None and end is not None else run.run_id
    mapped = f"[{ti.map_index}]" if ti.map_index is not None and ti.map_index >= 0 else ""
    return f"create:{ti.dag_id}:{ti.task_id}{mapped}:{when}"


def _body(request: Mapping[str, Any] | str) -> Mapping[str, Any]:
    """The request as an object; a template renders to text, which must then be JSON.

    :raises InvalidRequest: when it is something else.
    """
    from airflow_provider_proxyorders.core.errors import InvalidRequest
    from airflow_provider_proxyorders.core.wire import UnreadableBody, load_json

    body: Any = request
    if isinstance(request, str):
        try:
            body = load_json(request)
        except UnreadableBody as error:
            raise InvalidRequest("request", f"is text, but {error}; in a template use the filter `tojson`") from None
    if not isinstance(body, Mapping):
        raise InvalidRequest("request", "must be an object of the vendor's body fields", {"quantity": 1}, got=body)
    return body


def _choice(name: str, value: str, allowed: Sequence[str]) -> Any:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def _duration(value: timedelta | float | str | None) -> timedelta | None:
    """A duration as a user or a template writes it.

    :raises InvalidRequest: when it is neither a timedelta nor a number of seconds.
    """
    if value is None or value == "":
        return None
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=float(value))
    except (TypeError, ValueError, OverflowError):
        from airflow_provider_proxyorders.core.errors import InvalidRequest

        raise InvalidRequest("only_within", "must be a timedelta or seconds", 86400, got=value) from None


__all__ = ["CreateProxyOrderOperator", "ExtendProxyOrderOperator", "default_key"]
