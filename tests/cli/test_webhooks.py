"""``proxyorders webhooks list``: all webhooks, and the webhooks about orders outside of the ledger."""

from __future__ import annotations

from airflow_provider_proxyorders.domain.model import Actor, OrderStatus, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox
from tests.hooks.connections import Shops

from .conftest import Command
from .test_ledger import unknown


def came(ledger: Ledger, order_id: str, *, wallet: str = "voodoo:mine", reference: str | None = None) -> None:
    Inbox(ledger.engine).keep([Hint(f"{wallet}/{order_id}", "mine", wallet, order_id, reference, "completed")])


def test_nothing_came(shops: Shops, command: Command) -> None:
    said = command("webhooks", "list")
    assert (said.status, said.out) == (0, "no webhook came\n")


def test_the_newest_first_with_all_that_is_known(shops: Shops, command: Command, ledger: Ledger) -> None:
    came(ledger, "order-1", reference="af-1")
    came(ledger, "order-2")
    came(ledger, "order-1", reference="af-1")
    newest, older = command("webhooks", "list").out.splitlines()
    assert newest.split()[2:] == ["x1", "mine", "completed", "order-2", "-"]
    assert older.split()[2:] == ["x2", "mine", "completed", "order-1", "af-1"]
    assert command("webhooks", "list", "--limit", "1").out.splitlines() == [newest]


def test_only_webhooks_about_orders_outside_of_the_ledger(shops: Shops, command: Command, ledger: Ledger) -> None:
    purchase = unknown(ledger, "k", vendor="voodoo", conn_id="mine", wallet="voodoo:mine")
    ledger.record(purchase, Step.PLACED, "found", Actor(), vendor_order=VendorOrder("known", OrderStatus.PENDING, "pending"))
    came(ledger, "known")
    said = command("webhooks", "list", "--unmatched")
    assert (said.status, said.out) == (0, "every webhook is about an order of the ledger\n")
    came(ledger, "stranger")
    came(ledger, "known", wallet="voodoo:other")  # the same id in another wallet is another order
    lines = command("webhooks", "list", "--unmatched").out.splitlines()
    assert [line.split()[5] for line in lines] == ["known", "stranger"]
    assert len(command("webhooks", "list").out.splitlines()) == 3
