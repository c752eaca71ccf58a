"""A person's decision about a purchase: checked against ledger, vendor and inbox first, then a step of the history.

Three rules. The command line, the page and the question in Airflow all come here, so they refuse alike. A check only reads. A
decision is checked as the code's own adoption is: the order is read, and its owner and its marks are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError
from airflow_provider_proxyorders.domain.inputs import order_id_of
from airflow_provider_proxyorders.domain.text import one_line

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import Actor, Purchase
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.purchase.resolving import TakenOrder
    from airflow_provider_proxyorders.purchase.tracker import OrderTracker

Word = Literal["adopt", "absent", "foreign", "give up"]

#: Webhooks of unknown orders that a check names.
MOST_NAMED = 5
#: What giving up leaves as it is.
STILL_BUYS = "a retry, a Clear or a running try of its task still buys"
#: The newest webhooks of unknown orders among which a check looks.
MOST_READ = 200


@dataclass(frozen=True)
class Answer:
    """What a person says about a purchase.

    :param word: ``adopt``: the vendor took it, as this order. ``absent``: the vendor has no such order. ``foreign``: the order of
        a late answer does not count for it. ``give up``: it was never sent and is not wanted any more.
    :param order_id: of ``adopt`` and ``foreign``.
    :param note: the person's reason, for the history.
    :param unchecked: skip the reading at the vendor.
    """

    word: Word
    order_id: str = ""
    note: str = ""
    unchecked: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "order_id", self.order_id.strip())


@dataclass(frozen=True)
class Checked:
    """A decision that nothing speaks against.

    :param outcome: what is recorded for good, as a sentence without its point.
    :param seen: what was looked at before, a sentence each.
    :param taken: the order of ``adopt``.
    """

    purchase: Purchase
    answer: Answer
    outcome: str
    seen: tuple[str, ...] = ()
    taken: TakenOrder | None = None


def check(ledger: Ledger, purchase: Purchase, answer: Answer, tracker: OrderTracker | None) -> Checked:
    """Look at ledger, vendor and inbox before a decision. It records nothing.

    :param tracker: of the purchase's account; ``None``: the vendor is not read, on the person's word.
    :raises ConfigError: something speaks against the decision. Nothing was changed.
    """
    from airflow_provider_proxyorders.purchase import resolving

    check_ledger(ledger, purchase, answer)
    key = f"{purchase.order_key!r}"
    if answer.word == "give up":
        return Checked(
            purchase,
            answer,
            f"the reservation of {key} ends before its first sending; {STILL_BUYS}",
        )
    if answer.word == "foreign":
        outcome = f"order {answer.order_id} does not count for {key}: it was paid back, or is another buyer's"
        return Checked(purchase, answer, outcome)
    if answer.word == "absent":
        looked = _look(purchase, tracker) if tracker else ()
        outcome = f"{key} was NOT taken, so its task may send it again (up to {purchase.reserved})"
        return Checked(purchase, answer, outcome, (*looked, *_unknown_webhooks(ledger, purchase)))
    order_id = answer.order_id
    if tracker is None:
        taken = resolving.unread_taken_order(order_id)
    else:
        try:
            taken = resolving.read_taken_order(ledger, tracker.vendor, tracker.http, purchase, order_id)
        except ConfigError as error:
            raise ConfigError(f"{one_line(error).rstrip('.')}. Nothing was changed.") from None
        except ProxyOrdersError as error:
            raise unread(purchase, answer, error) from None
    order = taken.vendor_order
    price = f" for {order.price}" if order.price else ""
    outcome = f"{key} was taken as order {order_id} ({order.vendor_status}){price}"
    return Checked(purchase, answer, outcome, taken=taken)


def check_ledger(ledger: Ledger, purchase: Purchase, answer: Answer) -> None:
    """What the ledger alone says against a decision.

    :raises ConfigError: that, in one sentence. Nothing was changed.
    :raises InvalidParameter: the order id is missing, or no id. Nothing was changed.
    """
    from airflow_provider_proxyorders.purchase import resolving

    if answer.word == "give up":
        resolving.check_given_up(ledger, purchase)
    elif answer.word == "foreign":
        resolving.check_foreign(ledger, purchase, answer.order_id)
    elif answer.word == "absent":
        resolving.check_absent(ledger, purchase)
    else:
        resolving.check_resolvable(ledger, purchase)
        resolving.check_order_id(ledger, purchase, order_id_of(answer.order_id))


def record(ledger: Ledger, checked: Checked, person: Actor) -> Purchase:
    """Record a checked decision for good, as a step of the history.

    :raises ConfigError: something speaks against it by now. Nothing was changed.
    :raises StaleClaim: a worker has taken the purchase further meanwhile. Nothing was changed.
    """
    from airflow_provider_proxyorders.purchase import resolving

    purchase, answer = checked.purchase, checked.answer
    note = " ".join(answer.note.split())
    if answer.word == "give up":
        return resolving.give_up(ledger, purchase, person, note)
    if answer.word == "foreign":
        return resolving.resolve_as_foreign(ledger, purchase, answer.order_id, person, note)
    if answer.word == "absent":
        parts = [f"seen: {' '.join(checked.seen)}" if checked.seen else "on the person's word", note]
        return resolving.resolve_as_absent(ledger, purchase, person, "; ".join(part for part in parts if part))
    assert checked.taken is not None
    return resolving.resolve_as_taken(ledger, purchase, checked.taken, person, note)


def unread(purchase: Purchase, answer: Answer, error: BaseException) -> ConfigError:
    """The error for a look that failed, with the way around it."""
    what, option = ("the vendor", "--absent") if answer.word == "absent" else (f"order {answer.order_id}", "--adopt")
    said = f"{option} {answer.order_id}".rstrip()
    return ConfigError(
        f"{what} cannot be read through connection {purchase.conn_id!r}: {one_line(error).rstrip('.')}. Nothing was changed. "
        f"If you are sure: proxyorders ledger resolve {purchase.order_key!r} {said} --unchecked"
    )


def _look(purchase: Purchase, tracker: OrderTracker) -> tuple[str, ...]:
    """What vendor and inbox show of a purchase that is said to be absent.

    :raises ConfigError: they show it, or the vendor cannot be read. Nothing was changed.
    """
    from airflow_provider_proxyorders.purchase.evidence import EvidenceReader

    evidence, vendor = EvidenceReader(tracker), tracker.vendor
    if tracker.account.wallet != purchase.wallet:
        raise ConfigError(
            f"connection {tracker.account.conn_id!r} pays from wallet {tracker.account.wallet!r} now, the purchase was from "
            f"{purchase.wallet!r}: it cannot show that it is absent. Nothing was changed."
        )
    try:
        look = evidence.reported(purchase) or evidence.look(purchase)
    except ProxyOrdersError as error:
        raise unread(purchase, Answer("absent"), error) from None
    if look.verdict == "found" and look.order is not None:
        order_id = look.order.order_id
        raise ConfigError(
            f"{purchase.order_key!r} was taken: {look.detail}. It is order {order_id}. Nothing was changed. "
            f"To record that: proxyorders ledger resolve {purchase.order_key!r} --adopt {order_id}"
        )
    reference = vendor.reference_in(purchase.request)
    inbox = (f"No webhook names an order for reference {reference}.",) if reference else ()
    return (f"{vendor.title} now: {look.verdict}, {look.detail.rstrip('.')}.", *inbox)


def _unknown_webhooks(ledger: Ledger, purchase: Purchase) -> tuple[str, ...]:
    """Webhooks since the sending about orders that this ledger does not have: one may be the purchase."""
    from airflow_provider_proxyorders.ledger.inbox import Inbox

    since = purchase.sent_at or purchase.created_at
    webhooks = Inbox(ledger.engine, ledger.clock).newest_first(wallet=purchase.wallet, unmatched=True, limit=MOST_READ)
    hints = [webhook.hint for webhook in webhooks if webhook.last_at >= since]
    orders = dict.fromkeys(f"{hint.order_id} ({hint.status})" for hint in hints)
    if not orders:
        return ()
    named = ", ".join([*orders][:MOST_NAMED])
    return (f"Since it was sent, webhooks came about {len(orders)} orders beside this ledger: {named}.",)
