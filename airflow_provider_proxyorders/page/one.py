"""One purchase: its history, its looks, its order at the vendor, and counts."""

from __future__ import annotations

from typing import Any

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.page import shapes
from airflow_provider_proxyorders.page.reading import Reading, hook_of


def describe(reading: Reading, purchase: Purchase) -> dict[str, Any]:
    """Everything about a purchase but its delivery."""
    ledger = reading.ledger
    assert ledger is not None
    history = ledger.history(purchase.order_key)
    of_order = ledger.by_order_id(purchase.wallet, purchase.order_id) if purchase.order_id else []
    webhooks, copies = reading.attention.webhooks_of_order(purchase.wallet, purchase.order_id) if purchase.order_id else (0, 0)
    return {
        **shapes.purchase(purchase),
        "task": shapes.first_task(history),
        "history": [shapes.history(entry) for entry in history],
        "looks": [
            {"at": shapes.moment(look.at), "verdict": shapes.clean(look.verdict), "detail": shapes.clean(look.detail)}
            for look in ledger.looks(purchase.order_key)
        ],
        "questions": [
            {"order_id": shapes.clean(each.order_id), "why": shapes.clean(each.why)}
            for each in ledger.questions(order_key=purchase.order_key)
        ],
        "same_order": [
            {"order_key": other.order_key, "kind": other.kind, "step": other.step.value}
            for other in reading.readable(of_order)
            if other.order_key != purchase.order_key
        ],
        "frozen": shapes.clean(ledger.freeze_reason(purchase.wallet)),
        "webhooks": webhooks,
        "webhook_copies": copies,
        "order_page": _order_page(purchase),
        "may_decide": reading.rights.may_edit(purchase.conn_id),
    }


def _order_page(purchase: Purchase) -> str | None:
    """The address of the order in the vendor's dashboard, if it is one of the web."""
    if not purchase.order_id:
        return None
    try:
        address = hook_of(purchase.conn_id).order_page(purchase.order_id)
    except ProxyOrdersError:
        return None
    return address if address and address.startswith(("https://", "http://")) else None
