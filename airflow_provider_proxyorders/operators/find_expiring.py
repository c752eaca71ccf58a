"""The operator that finds the orders of a wallet which end soon, for tasks that are mapped over them.

Two rules: it only reads; and what it hands on is exactly what :class:`ExtendProxyOrderOperator` is expanded over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, RetryPolicy, conf

from airflow_provider_proxyorders.domain.inputs import (
    count_of,
    duration_of,
    ids_of,
    moment_of,
    optional_body_of,
    required_duration,
    text_of,
)
from airflow_provider_proxyorders.tasks.order_operator import RETRIES, RETRY_DELAY, RETRY_POLICY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.purchase.buyer import Buyer
    from airflow_provider_proxyorders.renewal.results import DueOrder, ExpiringOrders
    from airflow_provider_proxyorders.wallet.runway import Renewal

#: XCom key under which everything is told that was found; the return value is only what is to be extended.
FOUND = "found"
#: Orders that are told one by one in XCom; the rest is counted.
MOST_TOLD = 1000


class FindExpiringOrdersOperator(BaseOperator):
    """Finds the orders of a wallet that end within a horizon, the soonest first. It buys nothing.

    Returns a JSON list that ``ExtendProxyOrderOperator.partial(...).expand_kwargs(find.output)`` is made for: one object for each
    order, ``{"order_id": ..., "expires_at": ...}``, where ``expires_at`` is the expiry to be extended (UTC). With it every mapped
    task means the same extension as any other task that saw this expiry.

    Under the XCom key ``found`` is what people and reports want to know: ``as_of, until, source, looked_at``, ``due`` (a list of
    ``order_id, expires_at, expires_from, product, location, note, price, currency, price_from``), ``total`` (currency -> sum of
    the known prices), ``unpriced`` (how many have none), ``left_out`` (a list of ``order_id, reason, why, expires_at``),
    ``left_out_count`` and ``postponed`` (ids beyond ``limit``). No secret is in any of it.

    :param conn_id: the Airflow connection that holds the wallet (templated).
    :param within: how far to look: a timedelta, seconds, or ISO text such as ``P3D`` or ``P1M`` (templated). Days and months of
        ISO text are the calendar's, in the connection's time zone.
    :param as_of: what counts as now, as datetime or ISO text (templated); by default the time of the try. With
        ``{{ data_interval_end }}`` a run that is repeated looks at the same horizon. A bare date is refused: what ends on
        that day would be over at its end, and the horizon be short from its beginning.
    :param request: the body of the extension that is planned (templated); the vendor is asked what it would cost, one call for
        each order that is due. Without it the price is that of the order's last purchase in the ledger.
    :param product: only orders with this word in the name of product or plan (templated). So are ``location`` and ``note``.
    :param order_ids: only these orders (templated).
    :param exclude: never these orders (templated).
    :param auto_extending: also orders that the vendor renews by itself; they are left out otherwise.
    :param term: how long an order lasts from its purchase, for vendors that do not tell when it ends (templated, as ``within``).
    :param limit: hand on at most so many, the soonest to end. Without it more than ``[core] max_map_length`` fail the task, since
        Airflow would map none of them.
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
        within: timedelta | float | str,
        as_of: datetime | str | None = None,
        request: Mapping[str, Any] | str | None = None,
        product: str | None = None,
        location: str | None = None,
        note: str | None = None,
        order_ids: Sequence[str] | str | None = None,
        exclude: Sequence[str] | str = (),
        auto_extending: bool = False,
        term: timedelta | float | str | None = None,
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
        self.auto_extending = auto_extending
        self.term = term
        self.limit = limit

    def execute(self, context: Context) -> list[dict[str, str]]:
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

        buyer = ProxyOrdersHook(self.conn_id).buyer(context, self.log.info)
        most = count_of("limit", self.limit)
        found = self._find(buyer)
        for line in found.lines():
            self.log.info("%s", line)
        due, postponed = self._bounded(found, most)
        request = optional_body_of(self.request)
        context["ti"].xcom_push(key=FOUND, value=_told(found, _priced(buyer, due, request), due, postponed))
        return [{"order_id": one.order_id, "expires_at": one.expires_at.isoformat()} for one in due]

    def _find(self, buyer: Buyer) -> ExpiringOrders:
        from airflow_provider_proxyorders.renewal.search import OrderFilter, find_due

        zone = buyer.account.timezone
        only = OrderFilter(
            product=text_of("product", self.product),
            location=text_of("location", self.location),
            note=text_of("note", self.note),
            order_ids=ids_of("order_ids", self.order_ids),
            exclude=ids_of("exclude", self.exclude) or (),
        )
        return find_due(
            buyer,
            as_of=moment_of("as_of", self.as_of, zone, bare_day=False) or datetime.now(timezone.utc),
            within=required_duration("within", self.within),
            only=only,
            auto_extending=self.auto_extending,
            term=duration_of("term", self.term),
        )

    def _bounded(self, found: ExpiringOrders, most: int | None) -> tuple[list[DueOrder], list[DueOrder]]:
        """What is handed on, and what waits for the next run."""
        from airflow_provider_proxyorders.domain.errors import InvalidRequest

        mappable = conf.getint("core", "max_map_length", fallback=1024)
        bound = mappable if most is None else min(most, mappable)
        if most is None and len(found.due) > bound:
            raise InvalidRequest(
                "within",
                f"finds {len(found.due)} orders, and Airflow maps a task over {mappable} at most ([core] max_map_length). Set "
                "limit (the soonest to end come first, the next run takes the rest), look less far, or raise that setting",
            )
        due, postponed = list(found.due[:bound]), list(found.due[bound:])
        if postponed:
            first = postponed[0]
            self.log.warning(
                "%d orders are due beyond the limit of %d and wait for the next run; the first of them, %s, ends %s UTC",
                len(postponed),
                bound,
                first.order_id,
                f"{first.expires_at:%Y-%m-%d %H:%M}",
            )
        return due, postponed


def _priced(buyer: Buyer, due: Sequence[DueOrder], request: Mapping[str, Any] | None) -> dict[str, Renewal]:
    """What each renewal will cost: quoted where the vendor quotes and the request is known, else the ledger's last price."""
    from airflow_provider_proxyorders.wallet.runway import Prices

    prices = Prices(buyer.vendor, buyer.http, buyer.ledger, request=request, most_quotes=len(due) if request else 0)
    return {one.order_id: prices.renewal(one.order_id, one.expires_at) for one in due}


def _told(
    found: ExpiringOrders, prices: Mapping[str, Renewal], due: Sequence[DueOrder], postponed: Sequence[DueOrder]
) -> dict[str, Any]:
    total: dict[str, Decimal] = {}
    for renewal in prices.values():
        if renewal.price is not None:
            currency = renewal.price.currency or ""
            total[currency] = total.get(currency, Decimal(0)) + renewal.price.amount
    return {
        "as_of": found.as_of.isoformat(),
        "until": found.until.isoformat(),
        "source": found.source,
        "looked_at": found.looked_at,
        "due": [_line(one, prices[one.order_id]) for one in due],
        "total": {currency: f"{amount:f}" for currency, amount in sorted(total.items())},
        "unpriced": sum(renewal.price is None for renewal in prices.values()),
        "left_out": [
            {
                "order_id": left.order_id,
                "reason": left.reason,
                "why": left.why,
                "expires_at": left.expires_at.isoformat() if left.expires_at else None,
            }
            for left in found.left_out[:MOST_TOLD]
        ],
        "left_out_count": len(found.left_out),
        "postponed": [one.order_id for one in postponed[:MOST_TOLD]],
    }


def _line(one: DueOrder, renewal: Renewal) -> dict[str, Any]:
    return {
        "order_id": one.order_id,
        "expires_at": one.expires_at.isoformat(),
        "expires_from": one.expires_from,
        "product": one.product,
        "location": one.location,
        "note": one.note,
        "price": f"{renewal.price.amount:f}" if renewal.price else None,
        "currency": renewal.price.currency if renewal.price else None,
        "price_from": renewal.source,
    }


__all__ = ["FOUND", "FindExpiringOrdersOperator"]
