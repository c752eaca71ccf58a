"""Removes our guards, one at a time: the only place where the code under test is altered.

One rule: a removal takes away exactly one guard and leaves everything else as it is, so that what goes wrong then is what
that guard prevents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

#: ``setattr``, or what pytest's monkeypatch has in its place.
Patch = Callable[[Any, str, Any], None]


def intent(patch: Patch) -> None:
    """What is intended and sent is written down only when its outcome is known."""
    from airflow_provider_proxyorders.domain.model import Step
    from airflow_provider_proxyorders.ledger import Ledger, schema

    record = Ledger.record

    def later(name: str) -> Callable[..., Any]:
        real = getattr(Ledger, name)

        def write(ledger: Any, what: Any, *args: Any, **kwargs: Any) -> Any:
            """Do it, take it out of the database again, and let the order in the worker's hands remember it."""
            writes: list[Callable[[], Any]] = [*memory(what), lambda: real(ledger, what, *args, **kwargs)]
            done = [do() for do in writes][-1]
            if done.step in (Step.INTENDED, Step.SENT):
                object.__setattr__(done, "_memory", writes)
                with ledger.engine.begin() as connection:
                    connection.execute(schema.steps.delete().where(schema.steps.c.order_key == done.order_key))
                    connection.execute(schema.purchases.delete().where(schema.purchases.c.order_key == done.order_key))
            return done

        return write

    def memory(what: Any) -> list[Callable[[], Any]]:
        kept: list[Callable[[], Any]] = getattr(what, "_memory", [])
        return kept

    def with_all_before(ledger: Any, order: Any, *args: Any, **kwargs: Any) -> Any:
        for write in memory(order):
            write()
        return record(ledger, order, *args, **kwargs)

    patch(Ledger, "intend", later("intend"))
    patch(Ledger, "claim", later("claim"))
    patch(Ledger, "record", with_all_before)


def fence(patch: Patch) -> None:
    """A step is written whether or not the purchase still stands where the writer saw it."""
    from sqlalchemy import update

    from airflow_provider_proxyorders.ledger import schema, writes

    anyhow = update(schema.purchases).where(writes._KEY).returning(schema.purchases)
    patch(writes, "_UPDATE_IF_UNCHANGED", anyhow)


def airflow_fence(patch: Patch) -> None:
    """Airflow is not asked whether this try was replaced."""
    from airflow_provider_proxyorders.hooks import proxyorders

    patch(proxyorders, "fence_of", lambda context, ledger: None)


def evidence(patch: Patch) -> None:
    """A purchase whose answer was lost is sent again without looking for it."""
    from airflow_provider_proxyorders.domain.model import Step
    from airflow_provider_proxyorders.purchase.settling import Settling

    def settle(settling: Any, purchase: Any, attempt: Any = None) -> Any:
        actor = settling.tracker.actor
        if purchase.step is Step.SENT:
            purchase = settling.ledger.record(purchase, Step.UNKNOWN, "its worker is gone", actor)
        return settling.ledger.record(purchase, Step.INTENDED, "trying again", actor, maybe_sent=False)

    patch(Settling, "settle", settle)


def running(patch: Patch) -> None:
    """A try that may still be sending is taken for dead."""
    from airflow_provider_proxyorders.purchase.settling import Settling

    patch(Settling, "may_be_running", lambda settling, purchase: False)


def held_up(patch: Patch) -> None:
    """A worker that was held up after it wrote SENT sends all the same."""
    from airflow_provider_proxyorders.purchase.permit import Permit

    patch(Permit, "seconds_since", lambda permit, ticks, moment: 0.0)


def connected(patch: Patch) -> None:
    """A purchase gets its permit first, and its connection afterwards."""
    from airflow_provider_proxyorders.transport.worker import Http

    send = Http.send

    def permit_first(http: Any, request: Any, permit: Any = None) -> Any:
        if permit is not None and request.spends:
            permit(request)
        return send(http, request)

    patch(Http, "send", permit_first)


def turn(patch: Patch) -> None:
    """Purchases on one wallet need not take turns."""
    from airflow_provider_proxyorders.ledger import turns

    patch(turns, "take", lambda *args: None)


def reservation(patch: Patch) -> None:
    """A purchase counts for the limits when it was charged, not when it is intended."""
    from airflow_provider_proxyorders.domain.model import Step
    from airflow_provider_proxyorders.ledger import Ledger, counting, schema

    intend = Ledger.intend

    def unreserved(ledger: Any, *args: Any, **kwargs: Any) -> Any:
        order = intend(ledger, *args, **kwargs)
        if order.step is Step.INTENDED:
            with ledger.engine.begin() as connection:
                free = counting.count(connection, order, 0)
                connection.execute(
                    schema.purchases.update().where(schema.purchases.c.order_key == order.order_key).values(**free)
                )
        return order

    patch(Ledger, "intend", unreserved)


def fingerprint(patch: Patch) -> None:
    """A key stands for whatever request comes with it."""
    from airflow_provider_proxyorders.purchase.buyer import Buyer

    request_for = Buyer.request_for

    def same_for_all(*args: Any, **kwargs: Any) -> Any:
        return dataclasses.replace(request_for(*args, **kwargs), fingerprint="0" * 64)

    patch(Buyer, "request_for", same_for_all)


def settle(patch: Patch) -> None:
    """The second look follows the first at once."""
    from airflow_provider_proxyorders.purchase.tracker import OrderTracker

    patch(OrderTracker, "settle_time", 0.0)


def owned(patch: Patch) -> None:
    """An order belongs to whichever key names it last."""
    from airflow_provider_proxyorders.ledger import Ledger, ownership

    patch(ownership, "take", lambda *args: None)
    patch(Ledger, "owned_by_another", lambda ledger, purchase, vendor_id: False)


def contradiction(patch: Patch) -> None:
    """Whatever order an answer names is the purchase's."""
    from airflow_provider_proxyorders.purchase.tracker import OrderTracker

    patch(OrderTracker, "why_not", lambda tracker, purchase, vendor_order: "")


def missing(patch: Patch) -> None:
    """An order that no read finds stays the purchase's."""
    from airflow_provider_proxyorders.purchase.tracker import OrderTracker

    def stay(tracker: Any, purchase: Any, error: Any) -> Any:
        raise error

    patch(OrderTracker, "note_missing", stay)


def doubt(patch: Patch) -> None:
    """A refusal is believed also where an earlier try may have landed."""
    from airflow_provider_proxyorders.domain.model import Step
    from airflow_provider_proxyorders.purchase.refusals import Refusals

    def believe(refusals: Any, attempt: Any, claimed: Any, error: Any) -> Any:
        refusals.ledger.record(claimed, Step.REJECTED, str(error), refusals.tracker.actor)
        raise error

    patch(Refusals, "judge", believe)


def refusal(patch: Patch) -> None:
    """A refusal is believed without a look at the evidence."""
    from airflow_provider_proxyorders.purchase.refusals import Refusals

    patch(Refusals, "_leaves_evidence", lambda refusals, kind: False)


def last_look(patch: Patch) -> None:
    """A refused purchase is sent again without another look."""
    from airflow_provider_proxyorders.purchase.refusals import Refusals

    patch(Refusals, "needs_look", lambda refusals, purchase: False)


def reference_taken(patch: Patch) -> None:
    """The vendor refuses our own reference as taken, and that means nothing."""
    from airflow_provider_proxyorders.purchase.refusals import Refusals

    patch(Refusals, "_proves_landed", lambda refusals, claimed, error: False)


def question(patch: Patch) -> None:
    """The order of a late answer is told once, and not kept."""
    from airflow_provider_proxyorders.ledger import questions

    def only_freeze(connection: Any, purchase: Any, order_id: str, why: str, now: Any) -> bool:
        questions.turns.freeze(connection, purchase.wallet, why)
        return False

    patch(questions, "put", only_freeze)


def permit(patch: Patch) -> None:
    """Anybody who holds a transport may send a purchase."""
    from airflow_provider_proxyorders.transport import flow

    patch(flow, "_send_with_permit", lambda request, permit, send: send(request, permit))


def once(patch: Patch) -> None:
    """The transport repeats a purchase as it repeats a read."""
    from airflow_provider_proxyorders.transport.worker import Http

    send = Http.send

    def repeat(http: Any, request: Any, permit: Any = None) -> Any:
        if permit is not None and request.spends:
            permit(request)
        return send(http, dataclasses.replace(request, spends=False))

    patch(Http, "send", repeat)


def looks(patch: Patch) -> None:
    """A look is judged without the looks of other workers."""
    from airflow_provider_proxyorders.ledger import Ledger

    add_look = Ledger.add_look

    def of_one_kind(ledger: Any, purchase: Any, look: Any, judge: Any, actor: Any) -> Any:
        own = lambda every: judge([each for each in every if each.verdict == look.verdict])  # noqa: E731
        purchase, every = add_look(ledger, purchase, look, own, actor)
        return purchase, [each for each in every if each.verdict == look.verdict]

    patch(Ledger, "add_look", of_one_kind)


def cut(patch: Patch) -> None:
    """The end of a sending is believed, whatever clock wrote it."""
    from airflow_provider_proxyorders.ledger import Ledger

    patch(Ledger, "cut_sending", lambda ledger, purchase: purchase)


def one_clock(patch: Patch) -> None:
    """Each host's own clock counts for the ledger."""
    from airflow_provider_proxyorders.ledger import clock, database

    patch(database, "clock_of", lambda engine: lambda: clock.host_clock())


def edge(patch: Patch) -> None:
    """A vendor is believed to be done with a purchase when its sender has given up."""
    from airflow_provider_proxyorders.vendors import Capabilities

    patch(Capabilities, "settle_time", property(lambda capabilities: capabilities.settle))


def rest(patch: Patch) -> None:
    """The pause that the vendor asked for is not kept."""
    from airflow_provider_proxyorders.purchase.pauses import Rest

    patch(Rest, "begin", lambda rest, seconds: None)


def own_intent(patch: Patch) -> None:
    """A refused purchase gives back the reservation of whoever made it."""
    from airflow_provider_proxyorders.domain.model import Actor

    patch(Actor, "same_task", lambda actor, other: True)


def suspects(patch: Patch) -> None:
    """A refused purchase counts as not taken, also before it was looked for once more."""
    from airflow_provider_proxyorders.purchase.checkpoint import Checkpoints

    patch(Checkpoints, "suspects", lambda checkpoints, sent: [])


def look_beside(patch: Patch) -> None:
    """Refused purchases that may explain what a look sees are left alone."""
    from airflow_provider_proxyorders.purchase.refusals import Refusals

    patch(Refusals, "look_beside", lambda refusals, purchase: False)


def shown_before(patch: Patch) -> None:
    """Nobody asks whether a later purchase's evidence showed all of an earlier one."""
    from airflow_provider_proxyorders.purchase.evidence import EvidenceReader

    patch(EvidenceReader, "_was_shown_before", lambda reader, purchase, later: False)


def alike(patch: Patch) -> None:
    """Several orders fit, and other purchases that asked for the same are not thought of."""
    from airflow_provider_proxyorders.purchase.evidence import EvidenceReader

    patch(EvidenceReader, "_among_alike", lambda reader, purchase, look: look)


def elsewhere(patch: Patch) -> None:
    """What one account of a wallet does not show counts as missing, whichever account bought it."""
    from airflow_provider_proxyorders.purchase.ownership import OrderOwnership

    patch(OrderOwnership, "sent_elsewhere", lambda ownership, purchase: False)


def same_ledger(patch: Patch) -> None:
    """Nobody compares the ledger with that of an earlier try."""
    from airflow_provider_proxyorders.purchase.kept_answers import KeptAnswers

    patch(KeptAnswers, "_has_earlier_try", lambda answers, store, purchase: True)


GUARDS: Mapping[str, Callable[[Patch], None]] = {
    removal.__name__: removal
    for removal in (
        intent, fence, airflow_fence, evidence, running, held_up, connected, turn,
        reservation, fingerprint, settle, owned, contradiction, missing, doubt, permit, once,
        looks, cut, one_clock, edge, rest, own_intent, refusal, last_look, reference_taken, question,
        suspects, look_beside, shown_before, alike, elsewhere, same_ledger,
    )
}  # fmt: skip
