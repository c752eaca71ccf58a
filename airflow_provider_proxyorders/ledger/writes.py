"""Writes the ledger.

Three rules. A change of a purchase and its row in the history are one transaction. A change succeeds only while the purchase
still stands at the step and fence of the writer's copy: of two workers one wins, and the other gets :class:`StaleClaim`. Every
transaction locks the wallet's row first (see ``turns``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from airflow_provider_proxyorders.domain.errors import CapExceeded, LedgerError, WalletHeld
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import LIFE, TAKEN, Actor, Money, Purchase, Step, VendorOrder, step_after
from airflow_provider_proxyorders.domain.text import amount
from airflow_provider_proxyorders.ledger import counting, freezes, keys, ownership, questions, spending, trips, turns
from airflow_provider_proxyorders.ledger import evidence as ledger_evidence
from airflow_provider_proxyorders.ledger.dialect import insert_or_ignore, stamp
from airflow_provider_proxyorders.ledger.evidence import Floor
from airflow_provider_proxyorders.ledger.facts import forget_balance
from airflow_provider_proxyorders.ledger.fingerprints import LedgerFingerprints, keyed
from airflow_provider_proxyorders.ledger.leases import TURN
from airflow_provider_proxyorders.ledger.rows import (
    Intent,
    KeyTaken,
    StaleClaim,
    columns_of_intent,
    columns_of_task,
    columns_of_vendor_order,
    differences,
    purchase_of,
)
from airflow_provider_proxyorders.ledger.schema import purchases, steps
from airflow_provider_proxyorders.ledger.trips import Row

# Statements are built once: building a statement costs more than running it. Values go in at execution.
_KEY = purchases.c.order_key == bindparam("_key")
_FIND_PURCHASE = select(purchases).where(_KEY)
_UPDATE_PURCHASE = update(purchases).where(_KEY).returning(purchases)
#: Only while the purchase still stands at the step and fence of the writer's copy.
_UPDATE_IF_UNCHANGED = (
    update(purchases)
    .where(_KEY, purchases.c.step == bindparam("_step"), purchases.c.fence == bindparam("_fence"))
    .returning(purchases)
)
_APPEND_STEP = steps.insert()


class LedgerWrites(LedgerFingerprints):
    """The part of a ledger that takes a purchase from step to step."""

    def intend(self, intent: Intent, actor: Actor, *, turn_seconds: float = TURN, why: str = "") -> Purchase:
        """Write a purchase down before anything of it leaves: limits checked and reserved, turn taken, one commit.

        An INTENDED or REJECTED purchase is intended anew. Any other purchase comes back as it stands.

        :raises OrderKeyConflict, KeyTaken: see :func:`keys.own_row`; or it stands for another request that may have been sent.
        :raises CapExceeded: the purchase would pass a limit, or the wallet is frozen.
        :raises WalletHeld: another purchase of the wallet is under way or unresolved.
        :raises OutcomeUnknown: a late answer named an order for this key, and nobody has decided about it.
        """
        now = self.clock()
        day, amount = spending.day_of(now, intent.zone), spending.millionths(intent.amount.amount)
        fingerprint = keyed(self.salt, intent.fingerprint)
        with self.transaction() as connection:
            wallet, (_, under_key, ways) = turns.lock_and_read(
                connection,
                intent.wallet,
                lambda name: (*keys.locking_reads(intent), turns.reading_way(name, intent.order_key, now)),
            )
            intent = turns.in_wallet(intent, wallet)
            before = keys.own_row(connection, intent, actor, under_key)
            if before is not None:
                purchase = purchase_of(before)
                if not self.is_same_request(purchase, intent.fingerprint):
                    if not keys.may_be_replaced(connection, purchase):
                        raise keys.conflict(purchase, intent)
                    why = why or f"intended anew, as another request: {differences(purchase, intent)}"
                looked_at = intent.refused in (None, purchase.fence)  # or another try was refused since that look
                if purchase.step is not Step.INTENDED and not (purchase.step is Step.REJECTED and looked_at):
                    return purchase
                questions.refuse_open(connection, purchase)
            turns.refuse_frozen(wallet)
            if intent.takes_turn:
                turns.take(connection, wallet, intent, now, turn_seconds, ways[0])
            elif intent.kind == "extend":
                turns.refuse_second_extension(connection, intent)
            if before is not None:  # an earlier try's reservation, on whatever day, makes room for this one
                spending.add(connection, before["wallet"], before["counted_on"], -before["counted"])
            counting.check_limits(connection, intent, day, amount, now)
            spending.add(connection, intent.wallet, day, amount)
            columns: dict[str, Any] = {"counted": amount, "counted_on": day, "updated_at": stamp(now)}
            columns |= {"fingerprint": fingerprint, **columns_of_task(actor)}
            intended = purchase_of(_write_intent(connection, intent, before, columns))
            why = why or ("intended" if before is None else "intended anew")
            _append(connection, intended, now, why, actor, is_last=True)
            return intended

    def claim(
        self,
        purchase: Purchase,
        actor: Actor,
        *,
        evidence: Mapping[str, Any],
        sent_seconds: float,
        floor: Floor | None = None,
        alone: bool = False,
    ) -> Purchase:
        """Take the right to send, right before the purchase leaves: INTENDED becomes SENT, one commit.

        :param evidence: read at the vendor, to recognise the purchase by.
        :param sent_seconds: how long the sender may wait for its answer; afterwards other workers may look into it.
        :param floor: what must remain in the wallet. The claim checks it, and counts the purchases that the balance may not show.
        :param alone: whether another creation on the wallet, or extension of the order, could pass for this one by its evidence.
            Then none of them may have been sent since this purchase was intended.
        :raises StaleClaim: another worker has it, or the evidence must be read anew. Nothing was sent.
        :raises CapExceeded: the wallet is frozen, or too little would remain in it. Nothing was sent.
        :raises WalletHeld: too little may remain, and a later read of the balance will tell. Nothing was sent.
        """
        now = self.clock()
        with self.transaction() as connection:
            wallet, answers = turns.lock_and_read(
                connection,
                purchase.wallet,
                lambda name: ledger_evidence.reads_before_sending(name, purchase, evidence) if alone else (),
            )
            purchase = turns.in_wallet(purchase, wallet)
            turns.refuse_frozen(wallet)
            if alone:
                ledger_evidence.check_alone(connection, purchase, wallet, *answers)
            if floor is not None:
                _check_floor(connection, purchase, floor)
            changes = {
                "evidence": dump_json(evidence),
                "sent_at": stamp(now),
                "sent_until": stamp(now + timedelta(seconds=sent_seconds)),
                "fence": purchase.fence + 1,
            }
            noted = alone and purchase.kind == "create"
            sent = change(connection, purchase, Step.SENT, "sending now", actor, now, changes, is_last=not noted)
            if noted:
                turns.note_sending(connection, sent)
            return sent

    def check_claim(self, purchase: Purchase, *, floor: Floor | None) -> None:
        """Refuse early what :meth:`claim` would refuse now. The claim alone decides.

        :raises CapExceeded: the wallet is frozen, or too little would remain in it. Nothing was sent.
        :raises WalletHeld: too little may remain, and a later read of the balance will tell. Nothing was sent.
        """
        with self.autocommit() as connection:
            wallet = turns.read(connection, purchase.wallet)
            if wallet is not None:
                purchase = turns.in_wallet(purchase, wallet)
                turns.refuse_frozen(wallet)
            if floor is not None:
                _check_floor(connection, purchase, floor)

    def record(
        self,
        purchase: Purchase,
        step: Step,
        why: str,
        actor: Actor,
        *,
        vendor_order: VendorOrder | None = None,
        price: Money | None = None,
        names: Iterable[str] = (),
        evidence: Mapping[str, Any] | None = None,
        maybe_sent: bool | None = None,
        confirmed: bool = False,
        uncertain: bool = False,
    ) -> Purchase:
        """Take a purchase to its next step, one commit.

        :param step: with the vendor's order of a taken purchase, the step that the order means. Where ``LIFE`` lists no such
            step, the purchase stays at its own, and the vendor's word, counts and reason are kept.
        :param vendor_order: the vendor's order; the ledger keeps its id, status, price, expiry and counts.
        :param names: the vendor's other names of that order; see ``Vendor.names``.
        :param price: the charge or the quote, for a vendor order without a price. A newly read charge above the reservation
            freezes the wallet: the next purchase could be wrong in the same way.
        :param maybe_sent: False with the proof that every earlier try bought nothing.
        :param confirmed: True with the proof that this order is the purchase's own.
        :param uncertain: of a refusal: the vendor may have taken a first copy. The limits count it for the settle time, or until
            it is looked for again.
        :raises StaleClaim: another worker has taken it further.
        :raises OwnedElsewhere: the order belongs to another creation. Nothing was changed.
        """
        now = self.clock()
        if vendor_order is not None:
            step = step_after(purchase.step, step)
        changes: dict[str, Any] = {"confirmed": True} if confirmed else {}
        if evidence is not None:
            changes["evidence"] = dump_json(evidence)
        if step is Step.UNKNOWN or maybe_sent is not None:
            changes["maybe_sent"] = step is Step.UNKNOWN or maybe_sent
        if step is Step.UNKNOWN and purchase.step is not Step.UNKNOWN:
            changes["fence"] = purchase.fence + 1
        with self.transaction() as connection:
            wallet = turns.lock(connection, purchase.wallet)
            purchase = turns.in_wallet(purchase, wallet)
            unsent = step is Step.INTENDED and not changes.get("maybe_sent", purchase.maybe_sent)
            if unsent or (step is Step.REJECTED and not uncertain):
                changes |= counting.count(connection, purchase, 0)  # this step is the proof that nothing was bought
            if vendor_order is not None:
                changes |= _write_order(connection, wallet, purchase, vendor_order, names, now)
            charge = (vendor_order.price if vendor_order else None) or price or purchase.price
            if step in TAKEN and charge is not None:
                changes |= _write_charge(connection, wallet, purchase, charge, vendor_order, now)
            if step is not Step.INTENDED and wallet["turn_key"] == purchase.order_key:
                turns.leave(connection, purchase)  # an unresolved purchase blocks the wallet by its step
            return change(connection, purchase, step, why, actor, now, changes, is_last=True)

    def release(self, purchase: Purchase, why: str, actor: Actor) -> Purchase:
        """Give back the reservation of an intent, after a try ended before anything was sent. The key stays INTENDED.

        After a sending that may have landed, the purchase keeps its reservation and is UNKNOWN again.
        """
        now = self.clock()
        with self.transaction() as connection:
            purchase = turns.in_wallet(purchase, turns.lock(connection, purchase.wallet))
            turns.leave(connection, purchase)
            changes: dict[str, Any] = {"fence": purchase.fence + 1}  # a worker with an older intent must intend anew
            if not purchase.maybe_sent:
                changes |= counting.count(connection, purchase, 0)
            step = Step.UNKNOWN if purchase.maybe_sent else Step.INTENDED
            return change(connection, purchase, step, why, actor, now, changes, is_last=True)

    def freeze(self, wallet: str, why: str | None, *, actor: Actor | None = None, note: str = "") -> None:
        """Stop all purchases from a wallet, or with ``None`` allow them again.

        To allow them accepts the balance of then: the next read is the new mark.

        :param actor: the person who decided, for the history of the wallet.
        :param note: why a freeze ends.
        """
        now = self.clock()
        with self.transaction() as connection:
            name = turns.lock(connection, wallet)["wallet"]
            freezes.set_frozen(connection, name, why, now, host=actor.host if actor else "", note=note)
            if why is None:
                forget_balance(connection, name)


# -- inside a transaction --------------------------------------------------------------------------------------------


def _write_intent(connection: Connection, intent: Intent, before: Row | None, columns: Mapping[str, Any]) -> Row:
    values = {**columns_of_intent(intent), **columns, "step": Step.INTENDED.value, "reason": ""}
    if before is None:
        values |= {"order_key": intent.order_key, "task_key": intent.task_key, "fence": 1, "created_at": columns["updated_at"]}
        insert = insert_or_ignore(connection, purchases).values(**values, evidence="{}", maybe_sent=False).returning(purchases)
        row = connection.execute(insert).mappings().first()
        if row is None:
            raise KeyTaken(f"order key {intent.order_key!r} came into use just now. This try bought nothing.")
        return row
    values |= {"fence": before["fence"] + 1, "_key": intent.order_key}
    return connection.execute(_UPDATE_PURCHASE, values).mappings().one()


def _write_order(
    connection: Connection,
    wallet: Row,
    purchase: Purchase,
    vendor_order: VendorOrder,
    names: Iterable[str],
    now: datetime,
) -> dict[str, Any]:
    """Make the purchase the owner of its order. A question about this order is answered by that, and a freeze for it ends."""
    ownership.take(connection, purchase, vendor_order, names)
    why = questions.close(connection, purchase, vendor_order.order_id, "adopted", now)
    if why is not None:
        counting.count_beside(connection, purchase, -purchase.reserved.amount)
        if wallet["frozen"] == why:
            note = f"its order {vendor_order.order_id} was adopted"
            freezes.set_frozen(connection, purchase.wallet, None, now, note=note)
    _freeze_for_unreadable_charge(connection, wallet, purchase, vendor_order, now)
    return columns_of_vendor_order(purchase, vendor_order)


def _freeze_for_unreadable_charge(
    connection: Connection, wallet: Row, purchase: Purchase, order: VendorOrder, now: datetime
) -> None:
    """Freeze the wallet when an order is first seen with a charge that is no amount: the next one could be as odd."""
    if order.unreadable_charge and purchase.price is None and not purchase.vendor_status and not wallet["frozen"]:
        what = f"order {order.order_id} ({purchase.order_key}) has no readable amount in {order.unreadable_charge!r}"
        freezes.set_frozen(connection, purchase.wallet, f"{what}; {purchase.reserved} stays reserved", now)


def _write_charge(
    connection: Connection,
    wallet: Row,
    purchase: Purchase,
    charge: Money,
    vendor_order: VendorOrder | None,
    now: datetime,
) -> dict[str, Any]:
    """Count the charge less the refund at every vendor alike, and freeze the wallet for a new charge above the reservation."""
    if charge.amount > purchase.reserved.amount and charge != purchase.price and not wallet["frozen"]:
        name = f"order {(vendor_order.order_id if vendor_order else None) or purchase.order_id} ({purchase.order_key})"
        alarm = f"{name} was charged {charge}, above its cap of {purchase.reserved}"
        freezes.set_frozen(connection, purchase.wallet, alarm, now)
    refund = ((vendor_order.refund if vendor_order else None) or purchase.refund) if purchase.kind == "create" else None
    paid_back = refund.amount if refund and refund.comparable(charge.currency) else Decimal(0)  # of the creation, in its currency
    net = max(Decimal(0), charge.amount - paid_back)
    return {
        "price": f"{charge.amount:f}",
        "refund": f"{refund.amount:f}" if refund else None,
        "currency": charge.currency or purchase.reserved.currency,
        **counting.count(connection, purchase, spending.millionths(net)),
    }


def _check_floor(connection: Connection, purchase: Purchase, floor: Floor) -> None:
    under_way, late = ledger_evidence.not_shown(connection, purchase, floor.shown)
    cost = max(Decimal(0), purchase.reserved.amount - floor.paid)
    open_together = max(Decimal(0), purchase.reserved.amount + under_way - floor.paid_together)
    left = floor.balance.amount - min(cost + under_way, open_together)
    if left - late >= floor.least:
        return
    what = (
        f"min_balance {amount(floor.least)} of wallet {purchase.wallet!r} would be broken: it holds {floor.balance}, "
        f"{under_way} is under way, and this purchase may cost {amount(cost)}"
    )
    if left >= floor.least:
        raise WalletHeld(
            f"{what}. The balance may not show {late} of just now yet. Nothing was bought; a later try reads the balance again."
        )
    raise CapExceeded(f"{what}. Nothing was bought. Top the wallet up or lower 'min_balance' in the connection.")


def change(
    connection: Connection,
    purchase: Purchase,
    step: Step,
    why: str,
    actor: Actor,
    now: datetime,
    changes: Mapping[str, Any],
    *,
    is_last: bool = False,
) -> Purchase:
    """Take a purchase to a step, with its row in the history.

    :param is_last: whether the transaction ends with that row.
    :raises StaleClaim: another worker has taken it further.
    """
    if step is not purchase.step and step not in LIFE[purchase.step]:
        raise LedgerError(
            f"{purchase.order_key!r} cannot go from {purchase.step.value} to {step.value}; nothing was changed", retry="never"
        )
    values = {"step": step.value, "updated_at": stamp(now), **changes}
    unchanged = {"_key": purchase.order_key, "_step": purchase.step.value, "_fence": purchase.fence}
    row = connection.execute(_UPDATE_IF_UNCHANGED, {**values, **unchanged}).mappings().first()
    if row is None:
        raise StaleClaim(f"another worker has taken {purchase.order_key!r} further; this worker must stop writing about it")
    changed = purchase_of(row)
    _append(connection, changed, now, why, actor, is_last=is_last)
    return changed


def _append(connection: Connection, purchase: Purchase, now: datetime, why: str, actor: Actor, *, is_last: bool) -> None:
    row = {
        "order_key": purchase.order_key,
        "step": purchase.step.value,
        "fence": purchase.fence,
        "at": stamp(now),
        "why": why,
        "dag_id": actor.dag_id,
        "run_id": actor.run_id,
        "task_id": actor.task_id,
        "map_index": actor.map_index,
        "try_number": actor.try_number,
        "host": actor.host,
    }
    if is_last:
        trips.execute_last(connection, _APPEND_STEP, row)
    else:
        trips.write_later(connection, _APPEND_STEP, row)
