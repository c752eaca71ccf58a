"""The decisions of a person: the outcome of an unresolved purchase, and the end of a wallet's freeze.

Three rules. Only an unresolved purchase can be resolved. One vendor order is one purchase, so an order id belongs to one key.
A wallet stays frozen while one of its refused purchases may have landed, because the task would send it again; and while
nobody has decided about the order of a late answer.

The command ``proxyorders ledger`` asks for a confirmation between a check and a decision. So every decision checks anew.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.domain.model import STEP_OF, TAKEN, Actor, Money, OrderStatus, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.ledger import Ledger, OwnedElsewhere, facts
from airflow_provider_proxyorders.ledger.accounts import Accounts
from airflow_provider_proxyorders.ledger.questions import Question
from airflow_provider_proxyorders.purchase.attempt import may_be_running
from airflow_provider_proxyorders.purchase.price import quoted_price
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Operation, Vendor


@dataclass(frozen=True)
class TakenOrder:
    """The vendor order of a purchase, and the purchase's step by that order.

    :param names: all ids of the order; see ``Vendor.names``.
    :param price: the quote, for an order that shows no price.
    """

    vendor_order: VendorOrder
    step: Step
    names: frozenset[str] = frozenset()
    price: Money | None = None


class OrderTaken(ConfigError):
    """The order of a decision belongs to another purchase. Nothing was changed.

    :ivar owner: the order key of the other purchase, only for readers of its connection; see :meth:`unnamed`.
    """

    def __init__(self, order_id: str, owner: str, rest: str = "Nothing was changed."):
        self.order_id, self.owner, self.rest = order_id, owner, rest
        super().__init__(f"order {order_id} belongs to order key {owner!r} already. {rest}")

    def unnamed(self) -> ConfigError:
        """The same without the key."""
        return ConfigError(f"order {self.order_id} belongs to a purchase of another connection already. {self.rest}")


def check_resolvable(ledger: Ledger, purchase: Purchase) -> None:
    """Refuse a purchase without a question for a person.

    :raises ConfigError: the purchase is being sent, or its outcome is settled. Nothing was changed.
    """
    purchase = ledger.cut_sending(purchase)
    if may_be_running(purchase, ledger.clock()):
        assert purchase.sent_until is not None
        raise ConfigError(
            f"a worker may be sending {purchase.order_key!r} right now; try again after {utc(purchase.sent_until, 'seconds')}. "
            "Nothing was changed."
        )
    if purchase.step not in TAKEN and ledger.questions(order_key=purchase.order_key):
        return
    if not purchase.unresolved:
        key, unsent = f"{purchase.order_key!r}", purchase.step is Step.INTENDED
        advice = f" To give it up unsent: proxyorders ledger resolve {key} --give-up." if unsent else ""
        rule = "only an unresolved purchase can be resolved"
        raise ConfigError(f"{key} is {purchase.step.value}; {rule}. Nothing was changed.{advice}")


def check_order_id(ledger: Ledger, purchase: Purchase, order_id: str) -> None:
    """Refuse the order id of another purchase.

    :raises ConfigError: an extension of another order, or an order of another key. Nothing was changed.
    """
    if purchase.kind == "extend":
        if order_id != purchase.target:
            raise ConfigError(f"{purchase.order_key!r} extends order {purchase.target}, not {order_id}. Nothing was changed.")
        return
    owner = ledger.owner_of(purchase.wallet, order_id)
    if owner is not None and owner != purchase.order_key:
        raise OrderTaken(order_id, owner)


def read_taken_order(ledger: Ledger, vendor: Vendor, http: Http, purchase: Purchase, order_id: str) -> TakenOrder:
    """Read the order of a purchase at its vendor.

    :raises ConfigError: the account pays from another wallet than the purchase, or the order shows that it is another purchase,
        for example by its reference. Nothing was changed.
    :raises ProxyOrdersError: reading the order failed. Nothing was changed.
    """
    wallet = vendor.account.wallet
    if wallet != purchase.wallet:
        raise ConfigError(f"it pays from wallet {wallet!r} now, the purchase was from {purchase.wallet!r}.")
    vendor_order = http.run(vendor.get(order_id))
    kind, evidence = cast(Operation, purchase.kind), ledger.with_seen(purchase, purchase.evidence, vendor.seen_ids)
    if contradiction := vendor.contradiction(kind, purchase.request, evidence, vendor_order):
        raise ConfigError(f"order {order_id} is another purchase's: {contradiction}")
    step = STEP_OF[vendor_order.status]
    if purchase.kind == "extend" and step is Step.DELIVERED and not vendor.extended(purchase.evidence, vendor_order):
        step = Step.PLACED  # the expiry will grow later; its task waits for that
    return TakenOrder(vendor_order, step, vendor.names(vendor_order), quoted_price(vendor, purchase))


def unread_taken_order(order_id: str) -> TakenOrder:
    """The order of a purchase on a person's word alone: PLACED, so the task reads it next."""
    return TakenOrder(VendorOrder(order_id, OrderStatus.PENDING, "adopted unchecked"), Step.PLACED)


def resolve_as_taken(ledger: Ledger, purchase: Purchase, taken: TakenOrder, actor: Actor, note: str = "") -> Purchase:
    """Record this order as the one purchase of the key. Its charge counts, and the key is used up.

    :param taken: from :func:`read_taken_order` or :func:`unread_taken_order`.
    :param note: the person's reason, for the history.
    :raises ConfigError: see :func:`check_resolvable` and :func:`check_order_id`. Nothing was changed.
    :raises StaleClaim: a worker has taken the purchase further meanwhile. Nothing was changed.
    """
    check_resolvable(ledger, purchase)
    check_order_id(ledger, purchase, taken.vendor_order.order_id)
    purchase = _take_from_tasks(ledger, purchase, actor)
    why, order = _noted(f"adopted by a person as order {taken.vendor_order.order_id}", note), taken.vendor_order
    try:
        return ledger.record(
            purchase, taken.step, why, actor, vendor_order=order, price=taken.price, names=taken.names, confirmed=True
        )
    except OwnedElsewhere as owned:
        raise OrderTaken(owned.vendor_id, owned.owner, "The purchase stays unresolved, without an order.") from None


def resolve_as_absent(ledger: Ledger, purchase: Purchase, actor: Actor, note: str = "") -> Purchase:
    """Record a purchase as absent at the vendor. Its reservation is given back, and its task may send it again.

    :param note: what was seen, and the person's reason, for the history.
    :raises ConfigError: see :func:`check_absent`. Nothing was changed.
    :raises StaleClaim: a worker has taken the purchase further meanwhile. Nothing was changed.
    """
    check_absent(ledger, purchase)
    purchase = _take_from_tasks(ledger, purchase, actor)
    why = _noted("declared absent by a person", note)
    return ledger.record(purchase, Step.INTENDED, why, actor, maybe_sent=False)


def check_absent(ledger: Ledger, purchase: Purchase) -> None:
    """Refuse to call a purchase absent while a late answer names an order for it.

    :raises ConfigError: that, or see :func:`check_resolvable`. Nothing was changed.
    """
    check_resolvable(ledger, purchase)
    for question in ledger.questions(order_key=purchase.order_key):
        raise ConfigError(f"{_decide(question)} Nothing was changed.")


def check_foreign(ledger: Ledger, purchase: Purchase, order_id: str) -> None:
    """Refuse an answer without its question.

    :raises ConfigError: no late answer named this order for the purchase, or that is decided. Nothing was changed.
    """
    if order_id not in {question.order_id for question in ledger.questions(order_key=purchase.order_key)}:
        raise ConfigError(f"no open question of {purchase.order_key!r} is about order {order_id}. Nothing was changed.")


def resolve_as_foreign(ledger: Ledger, purchase: Purchase, order_id: str, actor: Actor, note: str = "") -> Purchase:
    """Record that the order of a late answer does not count for its purchase: it was paid back, or is another buyer's.

    Its reservation ends. A refused purchase may be sent again by its task.

    :raises ConfigError: see :func:`check_foreign`. Nothing was changed.
    :raises StaleClaim: a worker has taken the purchase further meanwhile. Nothing was changed.
    """
    check_foreign(ledger, purchase, order_id)
    return ledger.answer(purchase, order_id, _noted("paid back, or not ours; decided by a person", note), actor)


def check_given_up(ledger: Ledger, purchase: Purchase) -> None:
    """Refuse to give up a purchase that may have been sent.

    :raises ConfigError: it is not INTENDED, may have been sent, or a late answer names an order for it. Nothing was changed.
    """
    for question in ledger.questions(order_key=purchase.order_key):
        raise ConfigError(f"{_decide(question)} Nothing was changed.")
    if purchase.step is not Step.INTENDED or purchase.maybe_sent:
        raise ConfigError(
            f"{purchase.order_key!r} is {purchase.step.value}{', and may have been sent' if purchase.unresolved else ''}; only a "
            "purchase before its first sending can be given up. Nothing was changed."
        )


def give_up(ledger: Ledger, purchase: Purchase, actor: Actor, note: str = "") -> Purchase:
    """End a purchase that was never sent. Its reservation is given back; its key may stand for another request.

    :param note: the person's reason, for the history.
    :raises ConfigError: see :func:`check_given_up`. Nothing was changed.
    :raises StaleClaim: a worker has taken the purchase further meanwhile. Nothing was changed.
    """
    check_given_up(ledger, purchase)
    return ledger.give_up(purchase, _noted("given up by a person, unsent", note), actor)


def _noted(why: str, note: str) -> str:
    return f"{why}; {note}" if note else why


def _decide(question: Question) -> str:
    """What to decide about the order of a late answer, for a person."""
    key, order_id = question.order_key, question.order_id
    return (
        f"{question.why}. Decide about that order first: proxyorders ledger resolve {key!r} --adopt {order_id} if it is this "
        f"purchase, or --foreign {order_id} if it was paid back or is not yours."
    )


def _take_from_tasks(ledger: Ledger, purchase: Purchase, actor: Actor) -> Purchase:
    """Bring the purchase to UNKNOWN or QUARANTINED: from there a task must look before it sends."""
    if purchase.step is Step.SENT:
        return ledger.record(purchase, Step.UNKNOWN, "its worker is gone and left no answer", actor)
    if purchase.step in (Step.INTENDED, Step.REJECTED):
        return ledger.reopen(purchase, "a person looks into it", actor)
    return purchase


def check_unfreezable(ledger: Ledger, wallet: str, gone: Collection[str] = ()) -> None:
    """Refuse to unfreeze a wallet while one of its refused purchases may have landed, or before a restored one was reconciled.

    :param gone: connections gone for good by a person's word. Nothing can be reconciled through them.
    :raises ConfigError: with the key of such a purchase, or of one with the order of a late answer. Nothing was changed.
    """
    _require_reconciled(ledger, wallet, gone)
    for question in ledger.questions(wallet=wallet):
        raise ConfigError(f"{_decide(question)} Nothing was changed.")
    for purchase in ledger.unresolved(wallet=wallet, limit=1000):
        if purchase.step is Step.REJECTED:  # its task takes the refusal for a proof that nothing was bought
            raise ConfigError(
                f"{purchase.order_key!r} was refused after an earlier sending. The vendor may have taken that sending. Resolve "
                f"the purchase first: proxyorders ledger resolve {purchase.order_key!r}, with --adopt ORDER_ID or --absent. "
                "Nothing was changed."
            )


def _require_reconciled(ledger: Ledger, wallet: str, gone: Collection[str]) -> None:
    """:raises ConfigError: the ledger was restored, and an account of the wallet was not compared as a whole since."""
    moment = facts.restored_from(ledger).get()
    if not moment:
        return
    accounts = Accounts(ledger.engine, ledger.clock).of_wallet(wallet)
    left = [conn_id for digest, conn_id in accounts.items() if not facts.reconciled(ledger, wallet, digest).get()]
    left = [conn_id for conn_id in left if conn_id not in gone]
    if left or not accounts:
        raise ConfigError(
            f"this ledger was restored from a backup of {moment}, and wallet {wallet!r} may have bought since. Reconcile it "
            f"first through {', '.join(left) or 'its connection'} (ReconcileLedgerOperator, or proxyorders ledger reconcile "
            "CONN_ID), and look at each order that it names. A connection that is gone for good is named instead: proxyorders "
            f"ledger unfreeze {wallet} --gone CONN_ID. Nothing was changed."
        )


def unfreeze(
    ledger: Ledger, wallet: str, actor: Actor | None = None, note: str = "", *, why: str | None = None, gone: Collection[str] = ()
) -> None:
    """Allow purchases from a frozen wallet again. The history of the wallet keeps who, when, why, and why it was frozen.

    :param note: the person's reason.
    :param why: the reason of the freeze that the person decided about; ``None``: the present one.
    :param gone: see :func:`check_unfreezable`.
    :raises ConfigError: see :func:`check_unfreezable`. Nothing was changed.
    :raises StaleClaim: the wallet is frozen for another reason by now. Nothing was changed.
    """
    why = why if why is not None else ledger.freeze_reason(wallet)
    check_unfreezable(ledger, wallet, gone)
    if why is not None:
        ledger.unfreeze(wallet, why, actor or Actor(), note)
