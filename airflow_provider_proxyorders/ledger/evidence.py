"""What else happened on a wallet while a purchase was under way: the ledger's side of the evidence.

Two rules. "Since" means a greater number in ``proxyorders_steps``, because the clocks of hosts differ. One statement reads one
moment, so a purchase in progress is counted exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, func, or_, select, union

from airflow_provider_proxyorders.domain.model import TAKEN, UNRESOLVED, Purchase, Step
from airflow_provider_proxyorders.ledger import spending
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.inbox import Inbox
from airflow_provider_proxyorders.ledger.rows import StaleClaim, purchase_of
from airflow_provider_proxyorders.ledger.schema import purchases, steps

_TAKEN_STEPS = [step.value for step in sorted(TAKEN)]
_UNRESOLVED_STEPS = [step.value for step in sorted(UNRESOLVED)]

#: The number of the step at which a purchase was intended last.
_LAST_INTENT = select(func.max(steps.c.id)).where(steps.c.order_key == bindparam("_key"), steps.c.step == Step.INTENDED.value)
#: The number of the step at which a purchase was intended before a certain sending.
_INTENT_BEFORE_SENDING = _LAST_INTENT.where(steps.c.id < bindparam("_sent"))
_IS_SENDING = steps.c.step == Step.SENT.value
#: The number of the step at which a purchase was sent last.
_LAST_SENDING = select(func.max(steps.c.id)).where(steps.c.order_key == bindparam("_key"), _IS_SENDING)
#: The same for the purchase of an outer query.
_LAST_SENDING_OF_ROW = (
    select(func.max(steps.c.id)).where(steps.c.order_key == purchases.c.order_key, _IS_SENDING).correlate(purchases)
)


def _unindexed(column: Any) -> Any:
    """The same value in a form without an index."""
    return func.coalesce(column, "")


def _others_since_intent(*names: str) -> list[Any]:
    """Other purchases of the wallet that took one of these steps since an intent.

    Little happened since, but the wallet may hold a million purchases, almost all of them delivered. So the wallet and the step
    are written without an index: both databases must begin with the steps.
    """
    since = select(steps.c.order_key).where(steps.c.id > bindparam("_intent"), steps.c.step.in_(names))
    of_wallet = _unindexed(purchases.c.wallet) == bindparam("_wallet")
    return [purchases.c.order_key.in_(since), of_wallet, purchases.c.order_key != bindparam("_key")]


#: Orders with a possible refund since an intent: under way at the last look, or failed or refunded since then.
_MAYBE_REFUNDED = union(
    select(purchases.c.order_id).where(
        purchases.c.wallet == bindparam("_wallet"),
        purchases.c.step == Step.PLACED.value,
        purchases.c.kind == "create",
        purchases.c.order_key != bindparam("_key"),
    ),
    select(purchases.c.order_id).where(
        *_others_since_intent(Step.FAILED.value, Step.REFUNDED.value),
        _unindexed(purchases.c.step).in_([Step.FAILED.value, Step.REFUNDED.value]),
    ),
)

#: A purchase of the same kind that was sent since an intent.
_SENT_SINCE_INTENT = select(purchases.c.order_key).where(*_others_since_intent(Step.SENT.value)).limit(1)
_CREATION_SENT_SINCE_INTENT = _SENT_SINCE_INTENT.where(purchases.c.kind == "create")
_EXTENSION_SENT_SINCE_INTENT = _SENT_SINCE_INTENT.where(purchases.c.kind == "extend", purchases.c.target == bindparam("_target"))

_SUM = select(func.coalesce(func.sum(purchases.c.counted), 0))
#: The amount of other purchases that are under way now.
_SUM_UNDER_WAY = _SUM.where(
    purchases.c.wallet == bindparam("_wallet"),
    purchases.c.order_key != bindparam("_key"),
    purchases.c.step.in_([Step.SENT.value, Step.UNKNOWN.value, Step.INTENDED.value]),
    or_(purchases.c.step != Step.INTENDED.value, purchases.c.maybe_sent),
)
#: The amount of purchases that were reserved and never sent.
_SUM_RESERVED = _SUM.where(
    purchases.c.wallet == bindparam("_wallet"), purchases.c.step == Step.INTENDED.value, ~purchases.c.maybe_sent
)
#: The amount of purchases that may have been charged, or were charged at a price that is still open.
_SUM_UNCERTAIN = _SUM.where(
    purchases.c.wallet == bindparam("_wallet"),
    purchases.c.step.in_([*_UNRESOLVED_STEPS, Step.INTENDED.value, Step.PLACED.value]),  # for the index; repeated below
    or_(
        purchases.c.step.in_(_UNRESOLVED_STEPS),
        and_(purchases.c.step == Step.INTENDED.value, purchases.c.maybe_sent),
        and_(purchases.c.step == Step.PLACED.value, purchases.c.price.is_(None)),
    ),
)
#: Everything that counts, its uncertain part, and its reserved part, at one moment.
_CHARGES = select(spending.TOTAL.scalar_subquery(), _SUM_UNCERTAIN.scalar_subquery(), _SUM_RESERVED.scalar_subquery())

_EARLIER = steps.alias()
_TAKEN_BEFORE_INTENT = exists().where(
    _EARLIER.c.order_key == purchases.c.order_key, _EARLIER.c.step.in_(_TAKEN_STEPS), _EARLIER.c.id <= bindparam("_intent")
)
#: The amount of other purchases that the vendor took since an intent.
_SUM_TAKEN_SINCE_INTENT = _SUM.where(
    *_others_since_intent(*_TAKEN_STEPS), _unindexed(purchases.c.step).in_(_TAKEN_STEPS), ~_TAKEN_BEFORE_INTENT
)
#: The amount that other purchases may have taken since an intent, at one moment.
_SPENT_SINCE_INTENT = select(_SUM_UNDER_WAY.scalar_subquery() + _SUM_TAKEN_SINCE_INTENT.scalar_subquery())

#: Other purchases that were sent at a certain sending or after it, and were taken at a known price without a refund.
#: Every earlier sending is proven to have bought nothing.
_CHARGED_SINCE_SENDING = select(purchases).where(
    purchases.c.order_key.in_(select(steps.c.order_key).where(steps.c.id >= bindparam("_sent"), _IS_SENDING)),
    purchases.c.order_key != bindparam("_key"),
    _unindexed(purchases.c.wallet) == bindparam("_wallet"),
    _unindexed(purchases.c.step).in_([Step.PLACED.value, Step.DELIVERED.value, Step.EXPIRED.value]),
    purchases.c.price.is_not(None),
)
#: The earliest purchase that was under way at an intent and was taken: its charge came before the look that followed, or after.
_OVERLAPPING_PURCHASE = (
    select(purchases, _LAST_SENDING_OF_ROW.scalar_subquery().label("sent"))
    .where(
        *_others_since_intent(*_TAKEN_STEPS),
        _unindexed(purchases.c.step).in_(_TAKEN_STEPS),
        ~_TAKEN_BEFORE_INTENT,
        _LAST_SENDING_OF_ROW.scalar_subquery() < bindparam("_sent"),
    )
    .order_by("sent")
    .limit(1)
)


class LedgerEvidence(Database):
    """The part of a ledger about other events on a wallet."""

    def charge_bounds(self, wallet: str) -> tuple[Decimal, Decimal]:
        """What all purchases of a wallet were charged over all time: at least, and at most."""
        with self.autocommit() as connection:
            row = connection.execute(_CHARGES, {"_wallet": wallet}).one()
        total, uncertain, reserved = (spending.amount_of(int(counted)) for counted in row)
        return total - uncertain - reserved, total - reserved

    def spent_since_intent(self, purchase: Purchase) -> Decimal:
        """The most that other purchases took from the wallet since this purchase was intended last."""
        with self.autocommit() as connection:
            return spent_since_intent(connection, purchase)

    def balance_checkpoints(self, purchase: Purchase, most: int = 20) -> list[tuple[Mapping[str, Any], list[Purchase]]]:
        """Evidence from before a sending, each with the other purchases of the wallet that were surely charged since.

        The first checkpoint is the purchase's own evidence. The charge of a purchase under way at that look came before the
        look or after it, but surely after the look for itself. So the next checkpoint is the evidence of that purchase, and so
        on, back to a look with nothing else under way.
        """
        checkpoints: list[tuple[Mapping[str, Any], list[Purchase]]] = []
        with self.autocommit() as connection:
            since = purchase
            sent = connection.execute(_LAST_SENDING, {"_key": purchase.order_key}).scalar()
            while sent is not None and len(checkpoints) < most:
                values = {"_wallet": purchase.wallet, "_key": purchase.order_key, "_sent": sent}
                charged = connection.execute(_CHARGED_SINCE_SENDING, values).mappings()
                checkpoints.append((since.evidence, [purchase_of(row) for row in charged]))
                intent = connection.execute(_INTENT_BEFORE_SENDING, {"_key": since.order_key, "_sent": sent}).scalar()
                overlapping = connection.execute(_OVERLAPPING_PURCHASE, {**values, "_intent": intent}).mappings().first()
                if overlapping is None:
                    break
                since, sent = purchase_of(overlapping), overlapping["sent"]
        return checkpoints

    def maybe_refunded(self, purchase: Purchase) -> list[str]:
        """Ids of other orders of the wallet with a possible refund since this purchase was intended last."""
        with self.autocommit() as connection:
            rows = connection.execute(_MAYBE_REFUNDED, _since_intent(connection, purchase)).scalars()
            return sorted(order_id for order_id in rows if order_id)

    def order_ids_of_reference(self, wallet: str, reference: str) -> list[str]:
        """The vendor's order ids that verified webhooks named with a reference of ours; normally one at most."""
        return Inbox(self.engine).order_ids_of_reference(wallet, reference)


def spent_since_intent(connection: Connection, purchase: Purchase) -> Decimal:
    """See :meth:`LedgerEvidence.spent_since_intent`."""
    return spending.amount_of(int(connection.execute(_SPENT_SINCE_INTENT, _since_intent(connection, purchase)).scalar_one()))


def check_alone(connection: Connection, purchase: Purchase) -> None:
    """Refuse to send with outdated evidence. A worker that stood still may have lost its turn meanwhile.

    :raises StaleClaim: a purchase with the same kind of evidence was sent since the intent. Nothing was sent.
    """
    since = _since_intent(connection, purchase)
    if purchase.kind == "extend":
        other = connection.execute(_EXTENSION_SENT_SINCE_INTENT, {**since, "_target": purchase.target}).scalar()
    else:
        other = connection.execute(_CREATION_SENT_SINCE_INTENT, since).scalar()
    if other is not None:
        raise StaleClaim(f"{other!r} was sent since {purchase.order_key!r} was intended, so its evidence must be read anew")


def _since_intent(connection: Connection, purchase: Purchase) -> dict[str, Any]:
    intent = connection.execute(_LAST_INTENT, {"_key": purchase.order_key}).scalar()
    return {"_wallet": purchase.wallet, "_key": purchase.order_key, "_intent": intent}
