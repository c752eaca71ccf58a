"""The operator that keeps an order paid: by the vendor's extension, or by a new order if the vendor cannot extend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_proxyorders.domain.errors import (
    InvalidParameter,
    InvalidRequest,
    NotDue,
    NotFarEnough,
    OrderNotFound,
    UnsupportedOperation,
    telling_of_the_wallet,
)
from airflow_provider_proxyorders.domain.inputs import (
    duration_of,
    is_template,
    moment_of,
    one_of,
    optional_body_of,
    order_id_of,
    order_key_of,
    require_rendered,
)
from airflow_provider_proxyorders.domain.names import AnyOrder
from airflow_provider_proxyorders.tasks.order_operator import OrderOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.domain.model import Purchase
    from airflow_provider_proxyorders.purchase.buyer import Buyer


#: Conditions of an extension. Without them the task extends on every run.
CONDITIONS = ("paid_through", "expires_at", "only_within")


class ExtendProxyOrderOperator(OrderOperator):
    """Extends an order by the vendor's own call and waits until its expiry has grown.

    By default the purchase is identified by wallet, order and the expiry that is being extended. A retry, a manual run and a
    second DAG then all mean the same extension. One task buys at most one extension.

    Returns a JSON object like :class:`CreateProxyOrderOperator`, with two more keys. ``expires_before`` is ISO text or null.
    ``replaces`` is the id of the old order if a new one was bought, else null.

    :param conn_id: the Airflow connection that holds the wallet (templated).
    :param order_id: the vendor's id of the order to extend, or the whole result of the task that bought it (templated).
    :param request: the vendor's own body fields, as its documentation names them, or their JSON as text (templated). For a
        replacement it is the body of the new order; without it the new order gets the old request from the ledger.
    :param order_key: identity of this extension (templated); see above for the default.
    :param paid_through: target date, as datetime or ISO text (templated). The task skips an order that already reaches it. It
        checks again immediately before it sends the extension. A moment without a zone is in the connection's zone, and a bare
        date is the end of that day there.
    :param expires_at: the expiry to extend, as an upstream task such as :class:`FindExpiringOrdersOperator` read it (templated).
        If the order ends later by now, it was extended meanwhile and the task skips it. For a replacement it is the end of the
        old order, at a vendor without end dates.
    :param only_within: skip an order that expires later than this from now; a timedelta, or text such as ``3 days`` or ``P3D``
        (templated).
    :param max_price: the most it may cost, in major currency units (templated).
    :param on_auto_extend: for an order with the vendor's own renewal, since it could be paid for twice: ``skip`` the task,
        ``fail`` it, ``disable`` the vendor's renewal and extend, or ``extend`` all the same.
    :param on_short: if the order still ends before ``paid_through`` after one extension: ``fail`` the task, or ``accept`` it. In
        both cases this task buys nothing more, and the next run extends from the new expiry.
    :param if_unsupported: if the vendor cannot extend: ``fail`` the task, or ``reorder``: buy one new order in the place of the
        old one. The new order has different proxies.
    :param wait_for_completion, deferrable, poll_interval, timeout: as for :class:`CreateProxyOrderOperator`.
    :param on_unresolved, notifiers, assigned_users, response_timeout: as for :class:`CreateProxyOrderOperator`.
    """

    template_fields: Sequence[str] = (
        "conn_id",
        "order_id",
        "request",
        "order_key",
        "only_within",
        "max_price",
        "paid_through",
        "expires_at",
    )
    template_fields_renderers = {"request": "json"}

    def __init__(
        self,
        *,
        order_id: AnyOrder,
        request: Mapping[str, Any] | str | None = None,
        order_key: str | None = None,
        paid_through: datetime | str | None = None,
        expires_at: datetime | str | None = None,
        only_within: timedelta | str | None = None,
        max_price: str | Decimal | None = None,
        on_auto_extend: Literal["skip", "fail", "disable", "extend"] = "skip",
        on_short: Literal["fail", "accept"] = "fail",
        if_unsupported: Literal["fail", "reorder"] = "fail",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.order_id = order_id
        self.request = request
        self.order_key = order_key
        self.paid_through = paid_through
        self.expires_at = expires_at
        self.only_within = only_within
        self.max_price = max_price
        self.cap_was_set = max_price is not None
        self._templated = {name for name in CONDITIONS if is_template(getattr(self, name))}
        with telling_of_the_wallet():
            self.on_auto_extend = one_of("on_auto_extend", on_auto_extend, ("skip", "fail", "disable", "extend"))
            self.on_short = one_of("on_short", on_short, ("fail", "accept"))
            self.if_unsupported = one_of("if_unsupported", if_unsupported, ("fail", "reorder"))

    def buy(self, buyer: Buyer, context: Context) -> Purchase:
        order_id, key = order_id_of(self.order_id), order_key_of(self.order_key)
        try:
            return self._extend(buyer) if buyer.vendor.capabilities.extend else self._replace(buyer)
        except InvalidRequest as error:
            buyer.refuse(error, order_key=key, target=order_id)
        except NotDue as error:
            raise AirflowSkipException(str(error)) from None
        except OrderNotFound as error:
            error.tell("Nothing was bought. Correct order_id, or conn_id.")
            raise

    def result_of(self, purchase: Purchase) -> dict[str, Any]:
        replaces = order_id_of(self.order_id) if purchase.kind == "create" else None
        return {**super().result_of(purchase), "expires_before": purchase.evidence.get("expires_at"), "replaces": replaces}

    def _extend(self, buyer: Buyer) -> Purchase:
        from airflow_provider_proxyorders.renewal.extension import extend

        self._require_conditions()
        request = optional_body_of(self.request)
        if request is None:
            raise InvalidParameter("request", f"is needed to extend an order at {buyer.vendor.title}")
        return extend(
            buyer,
            order_id_of(self.order_id),
            request,
            order_key=order_key_of(self.order_key),
            paid_through=self._moment("paid_through"),
            expiry=self._moment("expires_at"),
            only_within=duration_of("only_within", self.only_within, least=timedelta(0)),
            max_price=self.price_cap(),
            on_auto_extend=self.on_auto_extend,
        )

    def _replace(self, buyer: Buyer) -> Purchase:
        from airflow_provider_proxyorders.renewal.replacement import replace

        if self.if_unsupported == "fail":
            raise UnsupportedOperation(
                f"{buyer.vendor.title} cannot extend orders. Nothing was sent. Place a new order in good time "
                "(CreateProxyOrderOperator), or set if_unsupported='reorder' to buy one new order in the place of the old one, "
                "with the same request. Either way the new order has different proxies."
            )
        self._require_conditions()
        return replace(
            buyer,
            order_id_of(self.order_id),
            request=optional_body_of(self.request) or None,
            order_key=order_key_of(self.order_key),
            paid_through=self._moment("paid_through"),
            ends=self._moment("expires_at"),
            only_within=duration_of("only_within", self.only_within, least=timedelta(0)),
            max_price=self.price_cap(),
        )

    def check_result(self, result: dict[str, Any], context: Context) -> dict[str, Any]:
        """Skip the task if another task bought the extension, and fail it if the order still ends before the target date."""
        from airflow_provider_proxyorders.renewal.extension import shortfall
        from airflow_provider_proxyorders.renewal.ownership import refuse_done_by_another

        try:
            refuse_done_by_another(self.hook.buyer(context), result["order_key"])
        except NotDue as error:  # the other task was under way when this one asked for it; it counts there
            raise AirflowSkipException(str(error)) from None
        short = shortfall(result, self._moment("paid_through"))
        if short is None:
            return result
        if self.on_short == "fail":
            context["ti"].xcom_push(key="return_value", value=result)
            raise NotFarEnough(short)
        self.log.warning("%s", short)
        return result

    def _require_conditions(self) -> None:
        for name in CONDITIONS:
            require_rendered(name, getattr(self, name), name in self._templated)

    def _moment(self, name: str) -> datetime | None:
        """A templated moment as aware UTC."""
        return moment_of(name, getattr(self, name), self.hook.vendor.account.timezone)


__all__ = ["ExtendProxyOrderOperator"]
