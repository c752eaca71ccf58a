"""Extends an order by the vendor's own call, if that is still due.

Three rules. The request names a state ("paid through then"), so a second task finds it reached and buys nothing. The key is fixed
before anything is sent, and all tasks for the same expiry get the same key. The task asks twice whether the extension is due:
before the intent, and with the last read before the request leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from airflow_provider_proxyorders.domain.dates import later
from airflow_provider_proxyorders.domain.errors import InvalidParameter, NotDue, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import Money, Purchase, VendorOrder
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.renewal.due import DueRule, expiry_in, reaches
from airflow_provider_proxyorders.renewal.keys import default_extension_key, expiry_to_extend
from airflow_provider_proxyorders.renewal.ownership import refuse_done_by_another, was_sent

OnAutoExtend = Literal["skip", "fail", "disable", "extend"]


def extend(
    buyer: Buyer,
    order_id: str,
    request: Mapping[str, Any],
    *,
    order_key: str | None = None,
    paid_through: datetime | None = None,
    expiry: datetime | None = None,
    only_within: timedelta | None = None,
    max_price: Decimal | None = None,
    on_auto_extend: OnAutoExtend = "skip",
) -> Purchase:
    """Extend an order once for each expiry.

    :param order_key: ``None`` = wallet, order, the expiry that is extended, and what of the order is extended.
    :param paid_through: target date, aware; an order that reaches it is left alone.
    :param expiry: the expiry to extend, aware; ``None`` = the present one.
    :param only_within: extend only if the order ends within this time from now.
    :param on_auto_extend: the reaction to the vendor's own renewal of the order; see ``ExtendProxyOrderOperator``.
    :raises NotDue: it is paid far enough. Nothing was bought.
    :raises InvalidParameter, ConfigError: it cannot be extended. Nothing was bought.
    """
    title, ledger = buyer.vendor.title, buyer.ledger
    prepared = buyer.vendor.prepare_extend(order_id, request)  # a bad request is refused before anything is read
    part = buyer.vendor.part_of(prepared.body)
    if part and paid_through is not None:
        raise InvalidParameter("paid_through", f"must be left out: {title} shows no end of a part of order {order_id}")
    if not order_key:
        expiry = expiry or expiry_to_extend(buyer, order_id)
        order_key = default_extension_key(buyer, order_id, expiry, part)
    due_until = later(ledger.clock(), only_within, buyer.account.timezone) if only_within is not None else None
    rule = DueRule(title, paid_through, None if part else expiry, due_until)
    refuse_done_by_another(buyer, order_key)
    last_check = _LastCheck(buyer, order_id, rule)
    if not was_sent(buyer, order_key):  # a purchase that was sent is settled, whether or not it is still due
        order = buyer.read_order(order_id)
        rule.require_due(order, order.expires_at, ledger.clock())
        last_check.switch_off = _must_switch_off(order, title, on_auto_extend)
    try:
        return buyer.extend(order_id, request, order_key=order_key, max_price=max_price, still_due=last_check)
    except ProxyOrdersError as error:
        if last_check.switched_off:
            error.args = (f"{error} {title}'s own renewal of it is switched off by now: it ends unless it is extended.",)
        raise


def shortfall(result: Mapping[str, Any], paid_through: datetime | None) -> str | None:
    """Why a bought extension falls short of the target date; ``None`` if it reaches the date, or is still under way.

    :param result: what the task returns.
    """
    ends = expiry_in(result)
    if paid_through is None or ends is None or reaches(ends, paid_through) or result["status"] == "placed":
        return None
    price = f" for {Money.parse(result['price'], result['currency'])}" if result["price"] else ""
    return (
        f"order {result['order_id']} was extended{price} and ends {utc(ends)}, before paid_through="
        f"{utc(paid_through)}: one extension was not enough. This task buys no other, also when it is cleared; the "
        "next run extends from the new expiry. A longer plan reaches further."
    )


@dataclass
class _LastCheck:
    """Asks the rule with the last read before the extension leaves. Then it switches the vendor's own renewal off.

    It waits with that until now: if the extension is too expensive and its order has lost the vendor's renewal, the order lapses.
    """

    buyer: Buyer
    order_id: str
    rule: DueRule
    switch_off: bool = False
    switched_off: bool = False

    def __call__(self, evidence: Mapping[str, Any]) -> None:
        self.rule.require_unpaid(self.order_id, expiry_in(evidence))
        if not self.switch_off or self.switched_off:
            return
        vendor, http = self.buyer.vendor, self.buyer.http
        http.run(vendor.set_auto_extend(self.order_id, False, None))
        self.switched_off = True
        self.buyer.say(f"Order {self.order_id}: the vendor's own renewal is switched off")
        # the vendor may have renewed it once more, right before
        self.rule.require_unpaid(self.order_id, http.run(vendor.get(self.order_id)).expires_at)


def _must_switch_off(order: VendorOrder, title: str, on_auto_extend: OnAutoExtend) -> bool:
    """Whether the vendor's own renewal has to be switched off before the extension.

    :raises NotDue, InvalidParameter: the vendor renews the order, so the task leaves it alone. Nothing was bought.
    """
    if not order.auto_extends:
        return False
    if on_auto_extend == "skip":
        raise NotDue(
            f"{title} renews order {order.order_id} by itself, so extending it could pay twice. Nothing was bought. "
            "on_auto_extend='disable' switches that off and extends."
        )
    if on_auto_extend == "fail":
        raise InvalidParameter("order_id", f"names order {order.order_id}, and {title} renews by itself; on_auto_extend='fail'")
    return on_auto_extend == "disable"
