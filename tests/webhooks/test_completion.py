"""A webhook completes a lost answer: it carries the order id, and the vendor's calls keep that to themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_proxyorders.domain.account import Account, Caps
from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, Quarantined
from airflow_provider_proxyorders.domain.model import Step, decimal
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.ledger.inbox import Hint
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.voodoo import Voodoo

from .conftest import SECRET, Running

REQUEST = {"item_id": 5120, "quantity": 2}
MakeBuyer = Callable[..., Buyer]


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with Sandbox.start(processing=0.2) as box:
        yield box


@pytest.fixture
def ledger(running: Running) -> Ledger:
    return open_ledger(running.inbox.engine.url.render_as_string(hide_password=False))


@pytest.fixture
def buyer(box: Sandbox, ledger: Ledger, tmp_path: Path) -> MakeBuyer:
    def new(secret: str | None = SECRET) -> Buyer:
        account = Account(
            "voodoo",
            "voodoo_default",
            "voodoo:voodoo_default",
            box.url("voodoo"),
            box.token("voodoo"),
            settings={"settle": 0.2, **({"webhook_secret": secret} if secret else {})},
            caps=Caps(max_order_price=decimal("25.00")),
            currency="EUR",
            timeout=2.0,
        )
        return Buyer(Voodoo(account), Http(account), ledger, say=lambda text: None)

    return new


def wait_for_webhook(running: Running) -> Hint:
    end = time.monotonic() + 30
    while not running.kept():
        assert time.monotonic() < end, "the webhook is missing"
        time.sleep(0.05)
    hint: Hint = running.kept()[0]
    return hint


def send_webhooks_to(box: Sandbox, running: Running, **settings: object) -> None:
    url = f"{running.url}/voodoo_default"
    box.control({"vendor": "voodoo", "webhook": {"url": url, "secret": SECRET, "gap": 0.2, **settings}})


def test_the_webhook_of_a_lost_purchase_completes_it(box: Sandbox, running: Running, buyer: MakeBuyer, ledger: Ledger) -> None:
    send_webhooks_to(box, running)
    box.fault(vendor="voodoo", operation="create", when="after", times=1, action="reset")
    box.control({"vendor": "voodoo", "processing": 5.0})
    with pytest.raises(OutcomeUnknown, match="webhook will tell the order id") as lost:
        buyer().place(REQUEST, order_key="k")
    assert not isinstance(lost.value, Quarantined) and lost.value.retry == "later"
    box.advance(10)
    hint = wait_for_webhook(running)
    order = buyer().place(REQUEST, order_key="k")
    assert order.order_id == hint.order_id == box.book.orders("voodoo")[0].order_id
    assert order.step is Step.DELIVERED and len(box.book.orders("voodoo")) == 1


def test_a_late_webhook_decides_in_place_of_a_person(box: Sandbox, running: Running, buyer: MakeBuyer, ledger: Ledger) -> None:
    box.fault(vendor="voodoo", operation="create", when="after", times=1, action="reset")
    with pytest.raises(Quarantined):
        buyer(secret=None).place(REQUEST, order_key="k")
    order = box.book.orders("voodoo")[0]
    running.inbox.keep([Hint("d" * 64, "voodoo_default", "voodoo:voodoo_default", order.order_id, order.reference, "completed")])
    assert buyer().place(REQUEST, order_key="k").order_id == order.order_id
    assert buyer().settle is not None and ledger.find("k").step is not Step.QUARANTINED  # type: ignore[union-attr]


def test_a_webhook_with_the_order_of_another_buyer_adopts_nothing(box: Sandbox, running: Running, buyer: MakeBuyer) -> None:
    other = buyer().place(REQUEST, order_key="other")
    box.fault(vendor="voodoo", operation="create", when="after", times=1, action="reset")
    with pytest.raises(OutcomeUnknown):
        buyer().place(REQUEST, order_key="k")
    reference = buyer().reference("k")
    running.inbox.keep([Hint("e" * 64, "voodoo_default", "voodoo:voodoo_default", other.order_id or "", reference, "completed")])
    with pytest.raises(OutcomeUnknown):
        buyer().place(REQUEST, order_key="k")


@pytest.mark.parametrize("modes", [["doubled"], ["delayed"], ["held", "normal"], ["forged", "normal"], ["altered", "normal"]])
def test_the_ledger_ends_the_same_in_every_order_of_webhooks(
    box: Sandbox, running: Running, buyer: MakeBuyer, ledger: Ledger, modes: list[str]
) -> None:
    send_webhooks_to(box, running, modes=modes, delay=0.3, tries=1)
    keys = ["a", "b"]
    for key in keys:
        own = buyer()
        order = own.place(REQUEST, order_key=key)
        end = time.monotonic() + 30
        while order.step is Step.PLACED and time.monotonic() < end:
            time.sleep(0.1)
            order = own.refresh(order)
    time.sleep(0.8)
    for key, entry in zip(keys, box.book.orders("voodoo"), strict=True):
        purchase = ledger.find(key)
        assert purchase is not None and (purchase.step, purchase.order_id) == (Step.DELIVERED, entry.order_id)
    assert {hint.order_id for hint in running.kept()} <= {entry.order_id for entry in box.book.orders("voodoo")}
