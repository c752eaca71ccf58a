"""The operator that keeps an order paid: by the vendor's extension, or where there is none by a new order in its place.

Three rules: it is asked for a state ("paid through then"), so whoever comes second finds it reached and buys nothing; what
an extension is known by is fixed before anything is sent, and is the same for every task that means it; and whether it is
still wanted is looked at twice, before it is intended and with the last read before it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_proxyorders.domain.inputs import (
    body_of,
    duration_of,
    is_given,
    moment_of,
    one_of,
    optional_body_of,
    order_id_of,
    order_key_of,
    price_cap,
)
from airflow_provider_proxyorders.renewal.replacement import begun, refuse_done_by_another, refuse_ended, replace
from airflow_provider_proxyorders.tasks.order_operator import OrderOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.domain.model import Purchase
    from airflow_provider_proxyorders.purchase.buyer import Buyer


class ExtendProxyOrderOperator(OrderOperator):
    """Extends an order by the vendor's own call and waits until its expiry has grown.

    By default the purchase is identified by wallet, order and the expiry that is being extended, so a retry, a manual run
    and a second DAG all mean the same extension. One task buys one extension at most.

    Returns what :class:`CreateProxyOrderOperator` returns, and ``expires_before`` (ISO text or null) and ``replaces`` (the old
    order's id where another was bought in its place, else null).

    :param conn_id: the Airflow connection that holds the wallet (templated).
    :param order_id: the vendor's id of the order to extend (templated).
    :param request: the vendor's own body fields, as its documentation names them, or their JSON as text (templated). For an
        order that is replaced, the body of a new order; without it the one in the ledger, as the old order was bought.
    :param order_key: identity of this extension (templated); see above for the default.
    :param paid_through: until when the order must be paid, as datetime or ISO text (templated); without a zone it is in the
        connection's, and a bare date is the end of that day there. An order that is paid that far is skipped.
    :param expires_at: the expiry that is to be extended, as an upstream task read it, e.g. :class:`FindExpiringOrdersOperator`
        (templated). An order that ends later by now was extended meanwhile, and is skipped. For an order that is replaced: when
        it ends, where the vendor does not tell.
    :param only_within: skip the task when the order expires later than this from now, as timedelta or seconds (templated).
    :param max_price: the most it may cost, in major currency units (templated).
    :param on_auto_extend: what to do with an order that the vendor renews by itself, which could be paid for twice: ``skip``
        the task, ``fail`` it, ``disable`` the vendor's renewal and extend, or ``extend`` all the same.
    :param on_short: what to do when the order still ends before ``paid_through`` after one extension: ``fail`` the task, or
        ``accept`` it. Either way nothing more is bought by this task; the next run extends from the new expiry.
    :param if_unsupported: at a vendor that extends nothing: ``fail``, or ``reorder``: buy a new order in its place, once for each
        old one. Its proxies are others.
    :param wait_for_completion, deferrable, poll_interval, timeout: as for :class:`CreateProxyOrderOperator`.
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
        order_id: str,
        request: Mapping[str, Any] | str | None = None,
        order_key: str | None = None,
        paid_through: datetime | str | None = None,
        expires_at: datetime | str | None = None,
        only_within: timedelta | float | str | None = None,
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
        self._cap_was_set = max_price is not None
        self.on_auto_extend = one_of("on_auto_extend", on_auto_extend, ("skip", "fail", "disable", "extend"))
        self.on_short = one_of("on_short", on_short, ("fail", "accept"))
        self.if_unsupported = one_of("if_unsupported", if_unsupported, ("fail", "reorder"))
        self._switched_off = False

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        from airflow_provider_proxyorders.domain.errors import NotDue, OrderNotFound

        buyer = self.hook.buyer(context, self.log.info)
        try:
            order = self._extended(buyer, context) if buyer.vendor.capabilities.extend else self._replaced(buyer)
        except NotDue as error:
            raise AirflowSkipException(str(error)) from None
        except OrderNotFound as error:
            error.tell("Nothing was bought.")
            raise
        return self._judged(self.finish(order, buyer, context), context)

    def execute_complete(self, context: Context, event: Mapping[str, Any], order_key: str, deadline: str) -> dict[str, Any]:
        return self._judged(super().execute_complete(context, event, order_key, deadline), context)

    # -- extending -------------------------------------------------------------------------------------------------

    def _extended(self, buyer: Buyer, context: Context) -> Purchase:
        from airflow_provider_proxyorders.domain.errors import InvalidRequest, ProxyOrdersError
        from airflow_provider_proxyorders.hooks.proxyorders import key_of_extension

        order_id = order_id_of(self.order_id)
        if not is_given(self.request):
            raise InvalidRequest("request", f"is needed to extend an order at {buyer.vendor.title}")
        request = body_of(self.request)
        buyer.vendor.prepare_extend(order_id, request)  # a bad request is refused before anything is read
        target, expiry = self._moment("paid_through"), self._moment("expires_at")
        key = order_key_of(self.order_key)
        if not key:
            text = expiry.isoformat() if expiry else self.hook.extended_expiry(buyer, order_id, context)
            expiry = datetime.fromisoformat(text)
            key = key_of_extension(buyer.account.wallet, order_id, text)
        refuse_done_by_another(buyer, key)
        switch_off = False
        if not begun(buyer, key):  # else whether it was due is no longer the question
            switch_off = self._check_due(buyer, order_id, target, expiry)
        try:
            return buyer.extend(
                order_id,
                request,
                order_key=key,
                max_price=price_cap(self.max_price, was_set=self._cap_was_set),
                still_due=self._still_due(order_id, target, expiry, switch_off),
            )
        except ProxyOrdersError as error:
            if self._switched_off:
                error.args = (
                    f"{error} {buyer.vendor.title}'s own renewal of it is switched off by now: it ends unless it is extended.",
                )
            raise

    def _check_due(self, buyer: Buyer, order_id: str, target: datetime | None, expiry: datetime | None) -> bool:
        """Skip or refuse an order that is not to be extended now; reads only.

        :returns: whether the vendor's own renewal has to be switched off first.
        """
        from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidRequest, NotDue

        order, title = self.hook.get_order(order_id), buyer.vendor.title
        refuse_ended(order, title)
        now = buyer.ledger.clock()
        if order.expires_at is not None and order.expires_at <= now:
            raise InvalidRequest(
                "order_id",
                f"must name a running order; {order_id} ended {order.expires_at:%Y-%m-%d %H:%M} UTC, though {title} says "
                f"{order.vendor_status!r}. If it still runs, the connection's time zone for this vendor is wrong",
            )
        if order.expires_at is None and (target or expiry):
            raise ConfigError(
                f"order {order_id} has no expiry at {title}, so it cannot be told how far it is paid. Nothing was sent."
            )
        if order.expires_at is not None:
            self._refuse_paid(order_id, order.expires_at, target, expiry)
            if expiry is not None and order.expires_at < expiry:
                raise InvalidRequest(
                    "expires_at", f"is not when order {order_id} ends: {title} says {order.expires_at.isoformat()}"
                )
        within = duration_of("only_within", self.only_within, least=timedelta(0))
        if within is not None and order.expires_at is not None and order.expires_at - now > within:
            raise NotDue(
                f"order {order_id} runs until {order.expires_at:%Y-%m-%d %H:%M} UTC, "
                f"longer than only_within={within}; nothing bought"
            )
        return bool(order.auto_extends) and self._own_renewal(order_id, title)

    def _still_due(
        self, order_id: str, target: datetime | None, expiry: datetime | None, switch_off: bool
    ) -> Callable[[Mapping[str, Any]], None]:
        """The same question for the last read before the extension leaves: another key, or the vendor, may have been quicker.

        Not before is the vendor's own renewal switched off: an order whose extension is too dear would lapse.
        """

        def check(evidence: Mapping[str, Any]) -> None:
            if evidence.get("expires_at"):
                self._refuse_paid(order_id, datetime.fromisoformat(evidence["expires_at"]), target, expiry)
            if switch_off and not self._switched_off:
                self.hook.set_auto_extend(order_id, False)
                self._switched_off = True
                self.log.info("Order %s: the vendor's own renewal is switched off", order_id)
                ends = self.hook.get_order(order_id).expires_at  # it may have renewed once more, right before
                if ends is not None:
                    self._refuse_paid(order_id, ends, target, expiry)

        return check

    @staticmethod
    def _refuse_paid(order_id: str, ends: datetime, target: datetime | None, expiry: datetime | None) -> None:
        from airflow_provider_proxyorders.domain.errors import NotDue

        if target is not None and ends >= target:
            raise NotDue(
                f"order {order_id} is paid through {ends:%Y-%m-%d %H:%M} UTC, which reaches paid_through="
                f"{target:%Y-%m-%d %H:%M} UTC; nothing bought"
            )
        if expiry is not None and ends > expiry:
            raise NotDue(
                f"order {order_id} runs until {ends:%Y-%m-%d %H:%M} UTC and was to be extended from "
                f"{expiry:%Y-%m-%d %H:%M} UTC: somebody has extended it already; nothing bought"
            )

    def _own_renewal(self, order_id: str, title: str) -> bool:
        """Whether the vendor's own renewal is to be switched off."""
        from airflow_provider_proxyorders.domain.errors import InvalidRequest, NotDue

        if self.on_auto_extend == "skip":
            raise NotDue(
                f"{title} renews order {order_id} by itself, so extending it could pay twice; nothing bought. "
                "on_auto_extend='disable' switches that off and extends."
            )
        if self.on_auto_extend == "fail":
            raise InvalidRequest("order_id", f"names order {order_id}, which {title} renews by itself; on_auto_extend='fail'")
        return bool(self.on_auto_extend == "disable")

    # -- replacing -------------------------------------------------------------------------------------------------

    def _replaced(self, buyer: Buyer) -> Purchase:
        from airflow_provider_proxyorders.domain.errors import UnsupportedOperation

        if self.if_unsupported == "fail":
            raise UnsupportedOperation(
                f"{buyer.vendor.title} offers no call for extending an order. Nothing was sent. Place a new order in good time "
                "(CreateProxyOrderOperator), or set if_unsupported='reorder': it buys one in the old one's place, once, with the "
                "request it was bought with. Either way the proxies are others."
            )
        return replace(
            buyer,
            order_id_of(self.order_id),
            request=optional_body_of(self.request),
            order_key=order_key_of(self.order_key),
            target=self._moment("paid_through"),
            ends=self._moment("expires_at"),
            within=duration_of("only_within", self.only_within, least=timedelta(0)),
            max_price=price_cap(self.max_price, was_set=self._cap_was_set),
        )

    # -- what became of it -----------------------------------------------------------------------------------------

    def result_of(self, order: Purchase) -> dict[str, Any]:
        replaces = order_id_of(self.order_id) if order.kind == "create" else None
        return {**super().result_of(order), "expires_before": order.evidence.get("expires_at"), "replaces": replaces}

    def _judged(self, result: dict[str, Any], context: Context) -> dict[str, Any]:
        """Hand the result on, unless another task bought it, or it is known to fall short of what was asked for."""
        from airflow.sdk.exceptions import AirflowSkipException

        from airflow_provider_proxyorders.domain.errors import NotDue, NotFarEnough

        try:
            refuse_done_by_another(self.hook.buyer(context), result["order_key"])
        except NotDue as error:  # it was under way when this task asked for it, and is counted there
            raise AirflowSkipException(str(error)) from None
        target = self._moment("paid_through")
        ends = datetime.fromisoformat(result["expires_at"]) if result["expires_at"] else None
        if target is None or ends is None or ends >= target or result["status"] == "placed":
            return result
        price = f" for {result['price']} {result['currency'] or ''}".rstrip() if result["price"] else ""
        short = (
            f"order {result['order_id']} was extended{price} and ends {ends:%Y-%m-%d %H:%M} UTC, before paid_through="
            f"{target:%Y-%m-%d %H:%M} UTC: one extension was not enough. This task buys no other, also when it is cleared; the "
            "next run extends from the new expiry. A longer plan reaches further."
        )
        if self.on_short == "accept":
            self.log.warning("%s", short)
            return result
        context["ti"].xcom_push(key="return_value", value=result)
        raise NotFarEnough(short)

    def _moment(self, name: str) -> datetime | None:
        """A templated moment as aware UTC."""
        return moment_of(name, getattr(self, name), self.hook.vendor.account.timezone)


__all__ = ["ExtendProxyOrderOperator"]
