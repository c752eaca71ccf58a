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

    patch(proxyorders, "fence_of", lambda context: None)


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
    from airflow_provider_proxyorders.purchase.sending import Sending

    patch(Sending, "seconds_since", lambda sending, ticks, moment: 0.0)


def turn(patch: Patch) -> None:
    """Purchases on one wallet need not take turns."""
    from airflow_provider_proxyorders.ledger import turns

    patch(turns, "take", lambda *args: None)


def reservation(patch: Patch) -> None:
    """A purchase counts for the limits when it was charged, not when it is intended."""
    from airflow_provider_proxyorders.domain.model import Step
    from airflow_provider_proxyorders.ledger import Ledger, schema, writes

    intend = Ledger.intend

    def unreserved(ledger: Any, *args: Any, **kwargs: Any) -> Any:
        order = intend(ledger, *args, **kwargs)
        if order.step is Step.INTENDED:
            with ledger.engine.begin() as connection:
                free = writes.count(connection, order, 0)
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
    """Orders that belong to another key are not left out when one is looked for."""
    from airflow_provider_proxyorders.ledger import Ledger

    patch(Ledger, "own_ids", lambda ledger, wallet, since=None: frozenset())


def doubt(patch: Patch) -> None:
    """A refusal is believed also where an earlier try may have landed."""
    from airflow_provider_proxyorders.purchase.sending import Sending

    after_failure = Sending.after_failure

    def believe(sending: Any, attempt: Any, claimed: Any, error: Any) -> Any:
        return after_failure(sending, attempt, dataclasses.replace(claimed, maybe_sent=False), error)

    patch(Sending, "after_failure", believe)


def permit(patch: Patch) -> None:
    """Anybody who holds a transport may send a purchase."""
    from airflow_provider_proxyorders.transport import flow

    patch(flow, "_send_with_permit", lambda request, permit, send: send(request))


def once(patch: Patch) -> None:
    """The transport repeats a purchase as it repeats a read."""
    from airflow_provider_proxyorders.transport.worker import Http

    send = Http.send
    patch(Http, "send", lambda http, request: send(http, dataclasses.replace(request, spends=False)))


GUARDS: Mapping[str, Callable[[Patch], None]] = {
    removal.__name__: removal
    for removal in (
        intent, fence, airflow_fence, evidence, running, held_up, turn,
        reservation, fingerprint, settle, owned, doubt, permit, once,
    )
}  # fmt: skip
