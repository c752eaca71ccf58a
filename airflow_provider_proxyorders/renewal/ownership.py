"""How far a purchase has come in the ledger, and which task owns it."""

from __future__ import annotations

from airflow_provider_proxyorders.domain.errors import NotDue
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.purchase.buyer import Buyer


def was_sent(buyer: Buyer, order_key: str) -> bool:
    """Whether any part of a purchase may have left. An intended purchase is as good as new.

    So is a refused one, after a last look at the vendor: the vendor may have taken a first copy of it.

    :raises OutcomeUnknown: it is too early for that look, or the vendor cannot be read.
    """
    purchase = buyer.keys.find(order_key)
    if purchase is not None and purchase.step is Step.REJECTED:
        purchase = buyer.sending.refusals.look_again(purchase)
    return purchase is not None and (purchase.maybe_sent or purchase.step not in (Step.INTENDED, Step.REJECTED))


def refuse_done_by_another(buyer: Buyer, order_key: str) -> None:
    """Refuse a purchase of another task or run. It counts there, and for this task the order is already paid.

    A retry and a cleared task are the same task. They get their own purchase back.

    :raises NotDue: with the name of the buying task. Nothing was bought.
    """
    purchase = buyer.keys.find(order_key)
    if purchase is None or purchase.step not in (Step.DELIVERED, Step.PARTIAL):
        return
    senders = [entry.actor for entry in buyer.ledger.history(purchase.order_key) if entry.step is Step.SENT]
    task = (buyer.actor.dag_id, buyer.actor.run_id, buyer.actor.task_id)
    if not senders or (senders[-1].dag_id, senders[-1].run_id, senders[-1].task_id) == task:
        return
    what = (
        f"order {purchase.target} was extended"
        if purchase.kind == "extend"
        else f"order {purchase.order_id} was bought in its place"
    )
    until = f", paid until {utc(purchase.expires_at)}," if purchase.expires_at else ""
    raise NotDue(f"{what}{until} by {senders[-1]}. Nothing was bought.")
