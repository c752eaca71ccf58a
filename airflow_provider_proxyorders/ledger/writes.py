"""Writes the ledger.

Three rules. A change of a purchase and its row in the history are one transaction. A change succeeds only while the purchase
still stands at the step and fence of the writer's copy: of two workers one wins, and the other gets :class:`StaleClaim`. Every
transaction locks the wallet's row first (see ``turns``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, select, update

from airflow_provider_proxyorders.domain.errors import CapExceeded, LedgerError, OrderKeyConflict
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import LIFE, TAKEN, Actor, Money, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import evidence as ledger_evidence
from airflow_provider_proxyorders.ledger import spending, turns
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import stamp
from airflow_provider_proxyorders.ledger.rows import (
    Intent,
    StaleClaim,
    columns_of_intent,
    columns_of_vendor_order,
    conflict_text,
    purchase_of,
)
from airflow_provider_proxyorders.ledger.schema import purchases, steps

# Statements are built once: building a statement costs more than running it. Values go in at execution.
_KEY = purchases.c.order_key == bindparam("_key")
_FIND_PURCHASE = select(purchases).where(_KEY)
_INSERT_PURCHASE = purchases.insert().returning(purchases)
_UPDATE_PURCHASE = update(purchases).where(_KEY).returning(purchases)
#: Only while the purchase still stands at the step and fence of the writer's copy.
_UPDATE_IF_UNCHANGED = (
    update(purchases)
    .where(_KEY, purchases.c.step == bindparam("_step"), purchases.c.fence == bindparam("_fence"))
    .returning(purchases)
)
_APPEND_STEP = steps.insert()


class LedgerWrites(Database):
    """The part of a ledger that takes a purchase from step to step."""

    def intend(self, intent: Intent, actor: Actor, *, turn_seconds: float = 120.0, why: str = "") -> Purchase:
        """Write a purchase down before anything of it leaves: limits checked and reserved, turn taken, one commit.

        An INTENDED or REJECTED purchase is intended anew. Any other purchase comes back as it stands.

        :raises OrderKeyConflict: the key stands for another request.
        :raises CapExceeded: the purchase would pass a limit, or the wallet is frozen.
        :raises WalletHeld: another purchase of the wallet is under way or unresolved.
        """
        now = self.clock()
        day = spending.day_of(now, intent.zone)
        amount = spending.millionths(intent.amount.amount)
        with self.transaction() as connection:
            wallet = turns.lock(connection, intent.wallet)
            before = connection.execute(_FIND_PURCHASE, {"_key": intent.order_key}).mappings().first()
            if before is not None:
                purchase = purchase_of(before)
                if purchase.fingerprint != intent.fingerprint and purchase.step is not Step.REJECTED:
                    raise OrderKeyConflict(conflict_text(purchase, intent))
                if purchase.step not in (Step.INTENDED, Step.REJECTED):
                    return purchase
            turns.refuse_frozen(wallet)
            if intent.takes_turn:
                turns.take(connection, wallet, intent, now, turn_seconds)
            elif intent.kind == "extend":
                turns.refuse_second_extension(connection, intent)
            if before is not None:  # an earlier try's reservation, on whatever day, makes room for this one
                spending.add(connection, before["wallet"], before["counted_on"], -before["counted"])
            spending.check(connection, intent.wallet, day, amount, intent.caps)
            spending.add(connection, intent.wallet, day, amount)
            row = _write_intent(connection, intent, before, {"counted": amount, "counted_on": day, "updated_at": stamp(now)})
            why = why or ("intended" if before is None else "intended anew")
            _append(connection, intent.order_key, Step.INTENDED, row["fence"], now, why, actor)
            return purchase_of(row)

    def claim(
        self,
        purchase: Purchase,
        actor: Actor,
        *,
        evidence: Mapping[str, Any],
        sent_seconds: float,
        balance: Money | None = None,
        min_balance: Decimal | None = None,
        alone: bool = False,
    ) -> Purchase:
        """Take the right to send, right before the purchase leaves: INTENDED becomes SENT, one commit.

        :param evidence: read at the vendor, to recognise the purchase by.
        :param sent_seconds: how long the sender may wait for its answer; afterwards other workers may look into it.
        :param balance: the wallet as just read. With ``min_balance`` the claim checks it, and counts the purchases under way.
        :param alone: whether the evidence could be mixed up with the evidence of another creation on the wallet, or of
            another extension of the order. Then none of them may have been sent since this purchase was intended.
        :raises StaleClaim: another worker has it, or the evidence must be read anew. Nothing was sent.
        :raises CapExceeded: the wallet is frozen, or too little would remain in it. Nothing was sent.
        """
        now = self.clock()
        with self.transaction() as connection:
            turns.refuse_frozen(turns.lock(connection, purchase.wallet))
            if alone:
                ledger_evidence.check_alone(connection, purchase)
            if min_balance is not None and balance is not None:
                _check_balance(connection, purchase, balance, min_balance)
            changes = {
                "evidence": dump_json(evidence),
                "sent_at": stamp(now),
                "sent_until": stamp(now + timedelta(seconds=sent_seconds)),
                "fence": purchase.fence + 1,
            }
            return _change(connection, purchase, Step.SENT, "sending now", actor, now, changes)

    def check_claim(self, purchase: Purchase, *, balance: Money | None, min_balance: Decimal | None) -> None:
        """Refuse early what :meth:`claim` would refuse now. The claim alone decides.

        :raises CapExceeded: the wallet is frozen, or too little would remain in it. Nothing was sent.
        """
        with self.autocommit() as connection:
            wallet = turns.read(connection, purchase.wallet)
            if wallet is not None:
                turns.refuse_frozen(wallet)
            if min_balance is not None and balance is not None:
                _check_balance(connection, purchase, balance, min_balance)

    def record(
        self,
        purchase: Purchase,
        step: Step,
        why: str,
        actor: Actor,
        *,
        vendor_order: VendorOrder | None = None,
        price: Money | None = None,
        evidence: Mapping[str, Any] | None = None,
        maybe_sent: bool | None = None,
    ) -> Purchase:
        """Take a purchase to its next step, one commit.

        :param vendor_order: the vendor's order; the ledger keeps its id, status, price, expiry and counts.
        :param price: the charge or the quote, for a vendor order without a price. A newly read charge above the reservation
            freezes the wallet: the next purchase could be wrong in the same way.
        :param maybe_sent: False with the proof that every earlier try bought nothing.
        :raises StaleClaim: another worker has taken it further.
        """
        now = self.clock()
        changes: dict[str, Any] = {}
        if evidence is not None:
            changes["evidence"] = dump_json(evidence)
        if step is Step.UNKNOWN or maybe_sent is not None:
            changes["maybe_sent"] = step is Step.UNKNOWN or maybe_sent
        if step is Step.UNKNOWN and purchase.step is not Step.UNKNOWN:
            changes["fence"] = purchase.fence + 1
        with self.transaction() as connection:
            wallet = turns.lock(connection, purchase.wallet)
            if step is Step.REJECTED or (step is Step.INTENDED and not changes.get("maybe_sent", purchase.maybe_sent)):
                changes |= count(connection, purchase, 0)  # this step is the proof that nothing was bought
            if vendor_order is not None:
                changes |= columns_of_vendor_order(purchase, vendor_order)
            charge = (vendor_order.price if vendor_order else None) or price or purchase.price
            if step in TAKEN and charge is not None:
                changes |= _write_charge(connection, wallet, purchase, charge, vendor_order)
            if step is not Step.INTENDED and wallet["turn_key"] == purchase.order_key:
                turns.leave(connection, purchase)  # an unresolved purchase blocks the wallet by its step
            return _change(connection, purchase, step, why, actor, now, changes)

    def release(self, purchase: Purchase, why: str, actor: Actor) -> Purchase:
        """Give back the reservation of an intent, after a try ended before anything was sent. The key stays INTENDED.

        After a sending that may have landed, the purchase keeps its reservation and is UNKNOWN again.
        """
        now = self.clock()
        with self.transaction() as connection:
            turns.lock(connection, purchase.wallet)
            turns.leave(connection, purchase)
            changes: dict[str, Any] = {"fence": purchase.fence + 1}  # a worker with an older intent must intend anew
            if not purchase.maybe_sent:
                changes |= count(connection, purchase, 0)
            step = Step.UNKNOWN if purchase.maybe_sent else Step.INTENDED
            return _change(connection, purchase, step, why, actor, now, changes)

    def reopen(self, purchase: Purchase, why: str, actor: Actor) -> Purchase:
        """Make a purchase unresolved again, because an earlier sending may have landed: UNKNOWN, counted as reserved.

        A worker that has intended it meanwhile can send it no more.

        :param purchase: INTENDED or REJECTED.
        :raises StaleClaim: another worker has taken it further.
        """
        now = self.clock()
        with self.transaction() as connection:
            turns.lock(connection, purchase.wallet)
            if purchase.step is Step.REJECTED:
                purchase = _change(connection, purchase, Step.INTENDED, why, actor, now, {})
            turns.leave(connection, purchase)
            changes = count(connection, purchase, spending.millionths(purchase.reserved.amount))
            changes |= {"maybe_sent": True, "fence": purchase.fence + 1}
            return _change(connection, purchase, Step.UNKNOWN, why, actor, now, changes)

    def freeze(self, wallet: str, why: str | None) -> None:
        """Stop all purchases from a wallet, or with ``None`` allow them again."""
        with self.transaction() as connection:
            turns.lock(connection, wallet)
            turns.freeze(connection, wallet, why)


# -- inside a transaction --------------------------------------------------------------------------------------------


def count(connection: Connection, purchase: Purchase, counted: int) -> dict[str, int]:
    """Count a purchase for so many millionths on its wallet's day; returns the changed column."""
    row = connection.execute(_FIND_PURCHASE, {"_key": purchase.order_key}).mappings().one()
    spending.add(connection, row["wallet"], row["counted_on"], counted - row["counted"])
    return {"counted": counted}


def _write_intent(connection: Connection, intent: Intent, before: RowMapping | None, columns: Mapping[str, Any]) -> RowMapping:
    values = {**columns_of_intent(intent), **columns, "step": Step.INTENDED.value, "reason": ""}
    if before is None:
        values |= {"order_key": intent.order_key, "evidence": "{}", "maybe_sent": False, "created_at": columns["updated_at"]}
        return connection.execute(_INSERT_PURCHASE, {**values, "fence": 1}).mappings().one()
    values |= {"fence": before["fence"] + 1, "_key": intent.order_key}
    return connection.execute(_UPDATE_PURCHASE, values).mappings().one()


def _write_charge(
    connection: Connection, wallet: RowMapping, purchase: Purchase, charge: Money, vendor_order: VendorOrder | None
) -> dict[str, Any]:
    """Count the charge less the refund, and freeze the wallet for a new charge above the reservation."""
    if charge.amount > purchase.reserved.amount and charge != purchase.price and not wallet["frozen"]:
        name = f"order {(vendor_order.order_id if vendor_order else None) or purchase.order_id} ({purchase.order_key})"
        alarm = f"{name} was charged {charge}, above its cap of {purchase.reserved}"
        turns.freeze(connection, purchase.wallet, alarm)
    refund = vendor_order.refund.amount if vendor_order and vendor_order.refund else Decimal(0)
    return {
        "price": f"{charge.amount:f}",
        "currency": charge.currency or purchase.reserved.currency,
        **count(connection, purchase, spending.millionths(max(Decimal(0), charge.amount - refund))),
    }


def _check_balance(connection: Connection, purchase: Purchase, balance: Money, least: Decimal) -> None:
    under_way = ledger_evidence.spent_since_intent(connection, purchase)
    left = balance.amount - under_way - purchase.reserved.amount
    if left < least:
        raise CapExceeded(
            f"min_balance {least:f} of wallet {purchase.wallet!r} would be broken: it holds {balance}, "
            f"{under_way} is under way, and this purchase may cost {purchase.reserved}. "
            "Nothing was bought. Top the wallet up or lower 'min_balance' in the connection."
        )


def _change(
    connection: Connection, purchase: Purchase, step: Step, why: str, actor: Actor, now: datetime, changes: Mapping[str, Any]
) -> Purchase:
    if step is not purchase.step and step not in LIFE[purchase.step]:
        raise LedgerError(
            f"{purchase.order_key!r} cannot go from {purchase.step.value} to {step.value}; nothing was changed", retry="never"
        )
    values = {"step": step.value, "updated_at": stamp(now), **changes}
    unchanged = {"_key": purchase.order_key, "_step": purchase.step.value, "_fence": purchase.fence}
    row = connection.execute(_UPDATE_IF_UNCHANGED, {**values, **unchanged}).mappings().first()
    if row is None:
        raise StaleClaim(f"another worker has taken {purchase.order_key!r} further; this worker must stop writing about it")
    _append(connection, purchase.order_key, step, row["fence"], now, why, actor)
    return purchase_of(row)


def _append(connection: Connection, order_key: str, step: Step, fence: int, now: datetime, why: str, actor: Actor) -> None:
    row = {
        "order_key": order_key,
        "step": step.value,
        "fence": fence,
        "at": stamp(now),
        "why": why,
        "dag_id": actor.dag_id,
        "run_id": actor.run_id,
        "task_id": actor.task_id,
        "map_index": actor.map_index,
        "try_number": actor.try_number,
        "host": actor.host,
    }
    connection.execute(_APPEND_STEP, row)
