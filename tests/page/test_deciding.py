"""A real lost answer, decided on the page: the order is read first, and one charge stays one charge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.hooks.settings import ledger as ledger_of_settings
from tests.hooks.connections import REQUESTS, Shops

from .conftest import Visitor


def lost_answer(shops: Shops, order_key: str) -> str:
    """Buy at Voodoo, which takes the order and hangs up; returns the id that the answer would have named."""
    hook = ProxyOrdersHook(shops.connect("voodoo", extra={"webhook_secret": None}))
    shops.box.fault("voodoo", "create", when="after", action="reset", times=1)
    with pytest.raises(OutcomeUnknown):
        hook.create_order(REQUESTS["voodoo"], order_key=order_key, max_price="20.00")
    return str(shops.box.book.orders("voodoo")[-1].order_id)


def decision(order_key: str, order_id: str, **more: Any) -> dict[str, Any]:
    return {"order_key": order_key, "word": "adopt", "order_id": order_id, **more}


def test_a_lost_order_is_adopted_after_a_look(log_in: Callable[[str], Visitor], shops: Shops) -> None:
    order_id = lost_answer(shops, "lost")
    page = log_in("op")
    looked = page.post("decision/check", decision("lost", order_id))
    assert looked.status_code == 200 and order_id in looked.json()["outcome"], looked.text
    assert page.post("decision", decision("lost", order_id, note="seen")).json()["order_id"] == order_id
    ledger = ledger_of_settings()
    purchase = ledger.find("lost")
    assert purchase is not None and purchase.step is Step.DELIVERED and not purchase.unresolved
    assert any("op (Airflow user)" in str(entry.actor) and "seen" in entry.why for entry in ledger.history("lost"))
    again = ProxyOrdersHook("voodoo_default").create_order(REQUESTS["voodoo"], order_key="lost", max_price="20.00")
    assert again.order_id == order_id and len(shops.bought("voodoo")) == 1


def test_a_forged_order_id_is_refused(log_in: Callable[[str], Visitor], shops: Shops) -> None:
    """Neither an order that is missing at the vendor nor one of another purchase."""
    others = ProxyOrdersHook(shops.connect("voodoo")).create_order(REQUESTS["voodoo"], order_key="other", max_price="20.00")
    lost_answer(shops, "lost")
    page = log_in("admin")
    for order_id in ("missing", str(others.order_id), "../balance", "<b>"):
        for path in ("decision/check", "decision"):
            refused = page.post(path, decision("lost", order_id))
            assert refused.status_code == 409, refused.text
    purchase = ledger_of_settings().find("lost")
    assert purchase is not None and purchase.unresolved
