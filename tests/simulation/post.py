"""Voodoo's webhooks in virtual time: soon, late, doubled or lost.

One rule: what arrives is what the real receiver keeps of a verified delivery, read by the vendor's own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders.domain.exact_json import load_json
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox, digest_of
from airflow_provider_proxyorders.sandbox.voodoo import SandboxVoodoo
from airflow_provider_proxyorders.sandbox.webhook_sender import WebhookSender, payload
from airflow_provider_proxyorders.vendors.voodoo import Voodoo

from .tasks import account

if TYPE_CHECKING:
    from .run import Run


class Post(WebhookSender):
    """Takes the place of the sandbox's own courier."""

    def __init__(self, run: Run, shop: SandboxVoodoo):
        super().__init__()
        self.run, self.shop = run, shop

    def order_ended(self, order: Mapping[str, Any]) -> None:
        run, chance, body = self.run, self.run.chance, payload(order)
        wallet = self.shop.orders[str(order["id"])].wallet.name
        if chance.random() < 0.15:
            run.clockwork.note("webhook", f"about {order['id']} is lost")
            run.lost_webhooks.add(str(order["id"]))
            return
        for _ in range(chance.choice((1, 1, 2))):
            run.clockwork.after(chance.choice((0.0, 0.5, 60.0, 400.0)), lambda: self._kept(wallet, body))

    def _kept(self, wallet: str, body: bytes) -> None:
        run, own = self.run, account(self.run, "voodoo", wallet)
        order_id, reference, status = Voodoo(own).read_webhook(load_json(body))
        run.clockwork.note("webhook", f"order {order_id} of {reference} is {status}")
        hint = Hint(digest_of(own.wallet, body), own.conn_id, own.wallet, order_id, reference, status)
        Inbox(run.engine, lambda: datetime.fromtimestamp(run.clockwork.now, timezone.utc)).keep([hint])
