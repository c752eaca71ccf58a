"""The operator that finds expiring orders of a wallet, for mapped tasks.

Two rules: it only reads; and :class:`ExtendProxyOrderOperator` is expanded over its list as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, RetryPolicy, conf

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import InvalidParameter
from airflow_provider_proxyorders.domain.inputs import (
    conn_id_of,
    count_of,
    duration_of,
    flag_of,
    ids_of,
    moment_of,
    optional_body_of,
    required_duration,
    text_of,
)
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.tasks.order_operator import RETRIES, RETRY_DELAY, RETRY_POLICY
from airflow_provider_proxyorders.tasks.telling import explaining

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.purchase.buyer import Buyer
    from airflow_provider_proxyorders.renewal.results import DueOrder, ExpiringOrders

#: XCom key of the report; the return value is only the list of orders to extend.
FOUND = "found"
#: Years of ``as_of``; a horizon of ten years around them stays inside the calendar.
FIRST_YEAR, LAST_YEAR = 1970, 9000


class FindExpiringOrdersOperator(_compat.KeepsDefaults, BaseOperator):
    """Finds the orders of a wallet with an end inside a horizon, the soonest first. It only reads.

    Returns a JSON list for ``ExtendProxyOrderOperator.partial(...).expand_kwargs(find.output)``: one object for each order,
    ``{"order_id": ..., "expires_at": ...}``. ``expires_at`` is the expiry to be extended (UTC). All tasks that saw the same
    expiry mean the same extension.

    The XCom key ``found`` holds a report for people, without secrets: ``as_of, until, source, looked_at``, ``due`` (a list of
    ``order_id, expires_at, expires_from, product, location, note, price, currency, price_from``), ``total`` (currency -> sum of
    the known prices), ``unpriced`` (a count), ``left_out`` (a list of ``order_id, reason, why, expires_at``),
    ``left_out_count`` and ``postponed`` (ids beyond ``limit``).

    :param conn_id: the Airflow connection that holds the wallet (templated).
    :param within: the horizon: a timedelta, or text such as ``3 days``, ``P3D`` or ``P1M`` (templated). Days and months of
        ISO text are those of the calendar, in the connection's time zone. A number without a unit is refused.
    :param as_of: the beginning of the horizon, as datetime or ISO text (templated); by default the time of the try. With
        ``{{ data_interval_end }}`` a repeated run has the same horizon. A bare date is refused: it would mean the end of the
        day, and the orders of that day have already ended by then.
    :param request: the body of the planned extension (templated). With it the vendor is asked for the price, one call for
        each order that is due. Without it the price is that of the order's last purchase in the ledger.
    :param product: only orders with this word in the name of product or plan (templated). ``location`` and ``note`` work alike.
    :param order_ids: only these orders (templated).
    :param exclude: never these orders (templated).
    :param auto_extending: include orders with the vendor's own renewal; by default they are left out.
    :param term: how long an order lasts from its purchase, for vendors without end dates (templated; the forms of ``within``).
    :param limit: return at most so many orders, the soonest to end (templated). Without it more than ``[core] max_map_length``
        orders fail the task, since Airflow would map none of them.
    """

    template_fields: Sequence[str] = (
        "conn_id",
        "within",
        "as_of",
        "request",
        "product",
        "location",
        "note",
        "order_ids",
        "exclude",
        "term",
        "limit",
    )
    template_fields_renderers = {"request": "json"}
    ui_color = "#dfe9f5"

    def __init__(
        self,
        *,
        conn_id: str,
        within: timedelta | str,
        as_of: datetime | str | None = None,
        request: Mapping[str, Any] | str | None = None,
        product: str | None = None,
        location: str | None = None,
        note: str | None = None,
        order_ids: Sequence[str] | str | None = None,
        exclude: Sequence[str] | str = (),
        auto_extending: bool = False,
        term: timedelta | str | None = None,
        limit: int | str | None = None,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        super().__init__(retries=retries, retry_delay=retry_delay, retry_policy=retry_policy, **kwargs)
        self.conn_id = conn_id
        self.within = within
        self.as_of = as_of
        self.request = request
        self.product = product
        self.location = location
        self.note = note
        self.order_ids = order_ids
        self.exclude = exclude
        self.auto_extending = flag_of("auto_extending", auto_extending, default=False)
        self.term = term
        self.limit = limit

    @explaining
    def execute(self, context: Context) -> list[dict[str, str]]:
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
        from airflow_provider_proxyorders.wallet.plan import plan_renewals

        buyer = ProxyOrdersHook(conn_id_of(self.conn_id)).buyer(context, self.log.info)
        limit = count_of("limit", self.limit)
        orders = self._find(buyer)
        for line in orders.lines():
            self.log.info("%s", line)
        due, postponed = self._split(orders, limit)
        plan = plan_renewals(buyer, due, optional_body_of(self.request))
        context["ti"].xcom_push(key=FOUND, value=plan.report(orders, postponed))
        return [{"order_id": order.order_id, "expires_at": order.expires_at.isoformat()} for order in due]

    def _find(self, buyer: Buyer) -> ExpiringOrders:
        from airflow_provider_proxyorders.renewal.search import OrderFilter, find_due

        as_of = moment_of("as_of", self.as_of, buyer.account.timezone, bare_day=False) or datetime.now(timezone.utc)
        if not FIRST_YEAR <= as_of.year <= LAST_YEAR:
            raise InvalidParameter(
                "as_of", f"must be in the years {FIRST_YEAR} to {LAST_YEAR}", "2026-12-31T12:00:00+00:00", got=self.as_of
            )
        return find_due(
            buyer,
            as_of=as_of,
            within=required_duration("within", self.within),
            only=OrderFilter(
                product=text_of("product", self.product),
                location=text_of("location", self.location),
                note=text_of("note", self.note),
                order_ids=ids_of("order_ids", self.order_ids),
                exclude=ids_of("exclude", self.exclude) or (),
            ),
            auto_extending=self.auto_extending,
            term=duration_of("term", self.term),
        )

    def _split(self, orders: ExpiringOrders, limit: int | None) -> tuple[list[DueOrder], list[DueOrder]]:
        """The orders for this run, and those that wait for the next one.

        :raises InvalidParameter: without a limit, if Airflow would map none of so many.
        """
        mappable = conf.getint("core", "max_map_length", fallback=1024)
        bound = mappable if limit is None else min(limit, mappable)
        if limit is None and len(orders.due) > bound:
            raise InvalidParameter(
                "within",
                f"finds {len(orders.due)} orders, and Airflow maps a task over {mappable} at most ([core] max_map_length). Set "
                "limit (the soonest to end come first, the next run takes the rest), shorten the horizon, or raise that setting",
            )
        due, postponed = list(orders.due[:bound]), list(orders.due[bound:])
        if postponed:
            self.log.warning(
                "%d orders are due beyond the limit of %d and wait for the next run; the first of them, %s, ends %s",
                len(postponed),
                bound,
                postponed[0].order_id,
                utc(postponed[0].expires_at),
            )
        return due, postponed


__all__ = ["FOUND", "FindExpiringOrdersOperator"]
