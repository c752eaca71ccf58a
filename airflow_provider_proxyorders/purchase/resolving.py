"""The decisions of a person: the outcome of an unresolved purchase, and the end of a wallet's freeze.

Three rules. Only an unresolved purchase can be resolved. One vendor order is one purchase, so an order id belongs to one key.
A wallet stays frozen while one of its refused purchases may have landed, because the task would send it again.

The command ``proxyorders ledger`` asks for a confirmation between a check and a decision. So every decision checks anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.domain.model import STEP_OF, Actor, OrderStatus, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.purchase.attempt import may_be_running
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor


@dataclass(frozen=True)
class TakenOrder:
    """The vendor order of a purchase, and the purchase's step by that order."""

    vendor_order: VendorOrder
    step: Step


def check_resolvable(ledger: Ledger, purchase: Purchase) -> None:
    """Refuse a purchase without a question for a person.

    :raises ConfigError: the purchase is being sent, or its outcome is settled. Nothing was changed.
    """
    if may_be_running(purchase, ledger.clock()):
        assert purchase.sent_until is not None
        raise ConfigError(
            f"a worker may be sending {purchase.order_key!r} right now; try again after {utc(purchase.sent_until, 'seconds')}. "
            "Nothing was changed."
        )
    if not purchase.unresolved:
        raise ConfigError(
            f"{purchase.order_key!r} is {purchase.step.value}; only an unresolved purchase can be resolved. Nothing was changed."
        )


def check_order_id(ledger: Ledger, purchase: Purchase, order_id: str) -> None:
    """Refuse the order id of another purchase.

    :raises ConfigError: an extension of another order, or an order of another key. Nothing was changed.
    """
    if purchase.kind == "extend":
        if order_id != purchase.target:
            raise ConfigError(f"{purchase.order_key!r} extends order {purchase.target}, not {order_id}. Nothing was changed.")
        return
    for other in ledger.by_order_id(purchase.wallet, order_id):
        if other.kind == "create":
            raise ConfigError(f"order {order_id} belongs to order key {other.order_key!r} already. Nothing was changed.")


def read_taken_order(vendor: Vendor, http: Http, purchase: Purchase, order_id: str) -> TakenOrder:
    """Read the order of a purchase at its vendor.

    :raises ConfigError: the account pays from another wallet than the purchase. Nothing was changed.
    :raises ProxyOrdersError: reading the order failed. Nothing was changed.
    """
    wallet = vendor.account.wallet
    if wallet != purchase.wallet:
        raise ConfigError(f"it pays from wallet {wallet!r} now, the purchase was from {purchase.wallet!r}.")
    vendor_order = http.run(vendor.get(order_id))
    step = STEP_OF[vendor_order.status]
    if purchase.kind == "extend" and step is Step.DELIVERED and not vendor.extended(purchase.evidence, vendor_order):
        step = Step.PLACED  # the expiry will grow later; its task waits for that
    return TakenOrder(vendor_order, step)


def unread_taken_order(order_id: str) -> TakenOrder:
    """The order of a purchase on a person's word alone: PLACED, so the task reads it next."""
    return TakenOrder(VendorOrder(order_id, OrderStatus.PENDING, "adopted unchecked"), Step.PLACED)


def resolve_as_taken(ledger: Ledger, purchase: Purchase, taken: TakenOrder, actor: Actor) -> Purchase:
    """Record this order as the one purchase of the key. Its charge counts, and the key is used up.

    :param taken: from :func:`read_taken_order` or :func:`unread_taken_order`.
    :raises ConfigError: see :func:`check_resolvable` and :func:`check_order_id`. Nothing was changed.
    :raises StaleClaim: a worker has taken the purchase further meanwhile. Nothing was changed.
    """
    check_resolvable(ledger, purchase)
    check_order_id(ledger, purchase, taken.vendor_order.order_id)
    purchase = _take_from_tasks(ledger, purchase, actor)
    return ledger.record(purchase, taken.step, "adopted by a person", actor, vendor_order=taken.vendor_order)


def resolve_as_absent(ledger: Ledger, purchase: Purchase, actor: Actor) -> Purchase:
    """Record a purchase as absent at the vendor. Its reservation is given back, and its task may send it again.

    :raises ConfigError: see :func:`check_resolvable`. Nothing was changed.
    :raises StaleClaim: a worker has taken the purchase further meanwhile. Nothing was changed.
    """
    check_resolvable(ledger, purchase)
    purchase = _take_from_tasks(ledger, purchase, actor)
    return ledger.record(purchase, Step.INTENDED, "declared absent by a person", actor, maybe_sent=False)


def _take_from_tasks(ledger: Ledger, purchase: Purchase, actor: Actor) -> Purchase:
    """Bring the purchase to UNKNOWN or QUARANTINED: from there a task must look before it sends."""
    if purchase.step is Step.SENT:
        return ledger.record(purchase, Step.UNKNOWN, "its worker is gone and left no answer", actor)
    if purchase.step in (Step.INTENDED, Step.REJECTED):
        return ledger.reopen(purchase, "a person looks into it", actor)
    return purchase


def check_unfreezable(ledger: Ledger, wallet: str) -> None:
    """Refuse to unfreeze a wallet while one of its refused purchases may have landed.

    :raises ConfigError: with the key of such a purchase. Nothing was changed.
    """
    for purchase in ledger.unresolved(wallet=wallet, limit=1000):
        if purchase.step is Step.REJECTED:  # its task takes the refusal for a proof that nothing was bought
            raise ConfigError(
                f"{purchase.order_key!r} was refused after an earlier sending. The vendor may have taken that sending. Resolve "
                f"the purchase first: proxyorders ledger resolve {purchase.order_key!r}, with --adopt ORDER_ID or --absent. "
                "Nothing was changed."
            )


def unfreeze(ledger: Ledger, wallet: str) -> None:
    """Allow purchases from a frozen wallet again.

    :raises ConfigError: see :func:`check_unfreezable`. Nothing was changed.
    """
    check_unfreezable(ledger, wallet)
    ledger.freeze(wallet, None)
