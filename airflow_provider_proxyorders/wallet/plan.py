"""The planned renewals of a wallet with their prices, as a report for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.text import amount
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.renewal.results import DueOrder, ExpiringOrders
from airflow_provider_proxyorders.wallet.prices import Prices, Renewal

#: Orders that the report lists one by one; the rest is counted.
MOST_LISTED = 1000


@dataclass(frozen=True)
class RenewalPlan:
    """Due orders, each with its renewal."""

    renewals: tuple[tuple[DueOrder, Renewal], ...]

    @property
    def total(self) -> dict[str, Decimal]:
        """Currency -> sum of the known prices."""
        total: dict[str, Decimal] = {}
        for _, renewal in self.renewals:
            if renewal.price is not None:
                currency = renewal.price.currency or ""
                total[currency] = total.get(currency, Decimal(0)) + renewal.price.amount
        return total

    def report(self, orders: ExpiringOrders, postponed: Sequence[DueOrder]) -> dict[str, Any]:
        """Text, numbers and nulls only, for XCom; no secret.

        :param orders: the outcome of the search.
        :param postponed: due orders for the next run.
        """
        return {
            "as_of": orders.as_of.isoformat(),
            "until": orders.until.isoformat(),
            "source": orders.source,
            "looked_at": orders.looked_at,
            "due": [_line(order, renewal) for order, renewal in self.renewals],
            "total": {currency: amount(total) for currency, total in sorted(self.total.items())},
            "unpriced": sum(renewal.price is None for _, renewal in self.renewals),
            "left_out": [
                {
                    "order_id": skipped.order_id,
                    "reason": skipped.reason,
                    "why": skipped.why,
                    "expires_at": skipped.expires_at.isoformat() if skipped.expires_at else None,
                }
                for skipped in orders.left_out[:MOST_LISTED]
            ],
            "left_out_count": orders.left_out_count,
            "postponed": [order.order_id for order in postponed[:MOST_LISTED]],
        }


def plan_renewals(tracker: OrderTracker, due: Sequence[DueOrder], request: Mapping[str, Any] | None) -> RenewalPlan:
    """Find the price of each renewal: quoted if the vendor quotes and the request is known, else the ledger's last price.

    :param request: the vendor's body fields of the extension; ``None`` = ledger prices only.
    """
    prices = Prices(tracker.vendor, tracker.http, tracker.ledger, request=request, most_quotes=len(due) if request else 0)
    renewals = prices.renewals([(order.order_id, order.expires_at) for order in due])
    return RenewalPlan(tuple(zip(due, renewals, strict=True)))


def _line(order: DueOrder, renewal: Renewal) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "expires_at": order.expires_at.isoformat(),
        "expires_from": order.expires_from,
        "product": order.product,
        "location": order.location,
        "note": order.note,
        "price": amount(renewal.price.amount) if renewal.price else None,
        "currency": renewal.price.currency if renewal.price else None,
        "price_from": renewal.source,
    }
