"""What else happened on a wallet while a purchase was under way: the ledger's side of the evidence.

Two rules. "Since" means a greater number in ``proxyorders_steps``, because the clocks of hosts differ. One statement reads one
moment, so a purchase in progress is counted exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, func, or_, select, union

from airflow_provider_proxyorders.domain.exact_json import load_json
from airflow_provider_proxyorders.domain.model import TAKEN, UNRESOLVED, Money, Purchase, Step
from airflow_provider_proxyorders.ledger import spending, trips, turns
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import stamp, unindexed
from airflow_provider_proxyorders.ledger.inbox import Inbox
from airflow_provider_proxyorders.ledger.rows import OutdatedEvidence, StaleClaim, price_of, purchase_of
from airflow_provider_proxyorders.ledger.schema import owned_ids, purchases, steps
from airflow_provider_proxyorders.ledger.trips import Read, Row, Rows

_TAKEN_STEPS = [step.value for step in sorted(TAKEN)]
_UNRESOLVED_STEPS = [step.value for step in sorted(UNRESOLVED)]

#: The number of the step at which a purchase was intended last.
_LAST_INTENT = select(func.max(steps.c.id).label("intent")).where(
    steps.c.order_key == bindparam("_key"), steps.c.step == Step.INTENDED.value
)
_IS_SENDING = steps.c.step == Step.SENT.value
#: The number of the step at which the purchase of an outer query was sent last.
_LAST_SENDING_OF_ROW = (
    select(func.max(steps.c.id)).where(steps.c.order_key == purchases.c.order_key, _IS_SENDING).correlate(purchases)
)


def _others_since_intent(*names: str) -> list[Any]:
    """Other purchases of the wallet that took one of these steps since an intent.

    Little happened since, but the wallet may hold a million purchases, almost all of them delivered. So the wallet and the step
    are written without an index: both databases must begin with the steps.
    """
    since = select(steps.c.order_key).where(steps.c.id > bindparam("_intent"), steps.c.step.in_(names))
    of_wallet = unindexed(purchases.c.wallet) == bindparam("_wallet")
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
        unindexed(purchases.c.step).in_([Step.FAILED.value, Step.REFUNDED.value]),
    ),
)

#: The creation with an id of the vendor's: its owner, or in a row of older code.
_OWNER = union(
    select(owned_ids.c.order_key).where(owned_ids.c.wallet == bindparam("_wallet"), owned_ids.c.vendor_id == bindparam("_lower")),
    select(purchases.c.order_key).where(
        purchases.c.wallet == bindparam("_wallet"),
        purchases.c.order_id == bindparam("_id"),
        unindexed(purchases.c.kind) == "create",
    ),
)
#: Unfinished orders without a known handle, the newest first.
_WITHOUT_HANDLE = (
    select(purchases.c.order_key, purchases.c.order_id)
    .where(
        purchases.c.wallet == bindparam("_wallet"),
        purchases.c.step == Step.PLACED.value,
        purchases.c.kind == "create",
        purchases.c.handle.is_(None),
        purchases.c.order_id.is_not(None),
        purchases.c.order_key != bindparam("_key"),
    )
    .order_by(purchases.c.updated_at.desc())
    .limit(bindparam("_limit"))
)

#: Unfinished orders without a change since a moment, the oldest first.
_OLDEST_PLACED = (
    select(purchases)
    .where(
        purchases.c.wallet == bindparam("_wallet"),
        purchases.c.step == Step.PLACED.value,
        purchases.c.updated_at < bindparam("_before"),
    )
    .order_by(purchases.c.updated_at)
    .limit(bindparam("_limit"))
)

#: An extension of the same order that was sent since an intent.
_EXTENSION_SENT_SINCE_INTENT = (
    select(purchases.c.order_key)
    .where(*_others_since_intent(Step.SENT.value), purchases.c.kind == "extend", purchases.c.target == bindparam("_target"))
    .limit(1)
)

#: Steps of a purchase on its usual way to an order, and where it stands then.
_USUAL = [step.value for step in (Step.INTENDED, Step.SENT, Step.PLACED, Step.DELIVERED)]
_USUALLY = [step.value for step in (Step.INTENDED, Step.PLACED, Step.DELIVERED)]
#: A purchase of the wallet with something unusual since a step: a refusal, an unknown outcome, a bad end, an extension.
_UNUSUAL_SINCE = (
    select(steps.c.id)
    .join(purchases, purchases.c.order_key == steps.c.order_key)
    .where(
        steps.c.id > bindparam("_after"),
        unindexed(purchases.c.wallet) == bindparam("_wallet"),
        or_(steps.c.step.not_in(_USUAL), purchases.c.step.not_in(_USUALLY), purchases.c.maybe_sent, purchases.c.kind == "extend"),
    )
    .limit(1)
)

_SUM = select(func.coalesce(func.sum(purchases.c.counted), 0))
#: What every unresolved purchase of a wallet may take, and what every taken one counts, sent after a step. Purchases change when
#: they are sent, so the index on their last change bounds the search.
_SENT_AFTER = (
    select(
        purchases.c.order_key,
        purchases.c.kind,
        purchases.c.vendor,
        purchases.c.step,
        purchases.c.request,
        purchases.c.target,
        purchases.c.order_id,
        purchases.c.price,
        purchases.c.reserved,
        purchases.c.currency,
        purchases.c.counted,
        purchases.c.maybe_sent,
        purchases.c.sent_at,
        purchases.c.sent_until,
        purchases.c.updated_at,
        steps.c.id.label("number"),
    )
    .join(steps, steps.c.id == _LAST_SENDING_OF_ROW.scalar_subquery())
    .where(
        purchases.c.wallet == bindparam("_wallet"),
        purchases.c.updated_at >= bindparam("_since"),
        steps.c.id > bindparam("_after"),
    )
    .order_by(steps.c.id)
)
_LAST_STEP = select(func.coalesce(func.max(steps.c.id), 0))
#: The amount of other purchases under way: each may be charged at any moment.
_SUM_UNDER_WAY = _SUM.where(
    purchases.c.wallet == bindparam("_wallet"),
    purchases.c.order_key != bindparam("_key"),
    purchases.c.step.in_([Step.SENT.value, Step.UNKNOWN.value, Step.INTENDED.value]),
    or_(purchases.c.step != Step.INTENDED.value, purchases.c.maybe_sent),
)
#: The amount of other purchases that a balance may not show yet: taken, quarantined, or refused with a first copy perhaps taken
#: (a certain refusal counts nothing), and sent after a step.
_SUM_NOT_SHOWN = _SUM.where(
    purchases.c.wallet == bindparam("_wallet"),
    purchases.c.updated_at >= bindparam("_since"),
    purchases.c.order_key != bindparam("_key"),
    unindexed(purchases.c.step).in_([*_TAKEN_STEPS, Step.QUARANTINED.value, Step.REJECTED.value]),
    _LAST_SENDING_OF_ROW.scalar_subquery() > bindparam("_after"),
)
_NOT_SHOWN = select(_SUM_UNDER_WAY.scalar_subquery(), _SUM_NOT_SHOWN.scalar_subquery())

#: In evidence from a read before the purchase's own turn: the newest step before that read.
READ_IN_LINE = "read_in_line"
#: The clocks of hosts differ by less, so a list by time begins so much earlier. The steps decide.
CLOCKS_DIFFER = timedelta(days=1)


@dataclass(frozen=True)
class SentPurchase:
    """A purchase of a wallet with the part of it that its balance can show.

    :param left_by: the moment at which its sender had an answer or had given up, or will have given up.
    :param number: of the step at which it was sent last.
    """

    order_key: str
    kind: str
    vendor: str
    step: Step
    request: Mapping[str, Any]
    target: str | None
    order_id: str | None
    price: Money | None
    reserved: Money
    counted: Decimal
    maybe_sent: bool
    sent_at: datetime
    left_by: datetime
    number: int


@dataclass(frozen=True)
class Shown:
    """How far a balance surely shows the purchases of its wallet.

    :param step: number of a step: everything that was sent up to it shows.
    :param since: a moment before everything that was sent later.
    """

    step: int
    since: datetime


@dataclass(frozen=True)
class Floor:
    """What must remain in a wallet after a purchase.

    :param balance: the wallet as just read.
    :param least: the connection's ``min_balance``.
    :param shown: how far the balance surely shows the wallet's purchases.
    :param paid: what an earlier sending of this purchase took already, if it landed. A repeat then costs nothing.
    :param paid_together: what it took together with others under way: so much less can these still take.
    """

    balance: Money
    least: Decimal
    shown: Shown
    paid: Decimal = Decimal(0)
    paid_together: Decimal = Decimal(0)


class LedgerEvidence(Database):
    """The part of a ledger about other events on a wallet."""

    def last_step(self) -> int:
        """The number of the newest step of all purchases."""
        with self.autocommit() as connection:
            return int(connection.execute(_LAST_STEP).scalar_one())

    def last_step_of(self, wallet: str) -> int:
        """The same, when each step of the wallet up to it can be read.

        PostgreSQL numbers a step before its commit, so a step with a greater number may be readable earlier. The lock of the
        wallet lets none of its steps be on its way. SQLite has one writer at a time.
        """
        if self.engine.dialect.name == "sqlite":
            return self.last_step()
        with self.transaction() as connection:
            turns.lock(connection, wallet)
            return int(trips.execute_last(connection, _LAST_STEP, {}).scalar_one())

    def sent_after(self, wallet: str, number: int, since: datetime) -> list[SentPurchase]:
        """The purchases of a wallet that were sent last after a step, in the order of their sending.

        :param since: a moment before the first of these sendings.
        """
        values: dict[str, Any] = {"_after": number, "_since": stamp(since - CLOCKS_DIFFER)}
        with self.autocommit() as connection:
            _, rows = turns.read_live(connection, wallet, lambda name: (_SENT_AFTER, {**values, "_wallet": name}))
            return [_sent_purchase(row) for row in rows]

    def oldest_placed(self, wallet: str, before: datetime, limit: int) -> list[Purchase]:
        """Unfinished orders of a wallet without a change since a moment, the oldest first."""
        values = {"_before": stamp(before), "_limit": limit}
        with self.autocommit() as connection:
            _, rows = turns.read_live(connection, wallet, lambda name: (_OLDEST_PLACED, {**values, "_wallet": name}))
            return [purchase_of(row) for row in rows]

    def owned_by_another(self, purchase: Purchase, vendor_id: str) -> bool:
        """Whether an id (of an order, or its handle) belongs to another creation of the wallet."""
        values = {"_wallet": purchase.wallet, "_id": vendor_id, "_lower": vendor_id.lower()}
        with self.autocommit() as connection:
            return any(key != purchase.order_key for key in connection.execute(_OWNER, values).scalars())

    def is_outdated(self, wallet: str, after: int) -> bool:
        """Whether something unusual happened on a wallet since a step. A reading from then is evidence no more.

        A look sees through purchases on their usual way, but not through an unresolved one, a refund or an extension.
        """
        with self.autocommit() as connection:
            _, rows = turns.read_live(connection, wallet, lambda name: _reading_unusual(name, after))
            return bool(rows)

    def without_handle(self, purchase: Purchase, limit: int) -> dict[str, str]:
        """Order ids of other unfinished creations without a known handle, by order key, the newest first."""
        values = {"_wallet": purchase.wallet, "_key": purchase.order_key, "_limit": limit}
        with self.autocommit() as connection:
            return {row.order_key: row.order_id for row in connection.execute(_WITHOUT_HANDLE, values)}

    def check_alone(self, purchase: Purchase) -> None:
        """See :func:`check_alone`."""
        with self.autocommit() as connection:
            wallet = turns.read(connection, purchase.wallet)
            if wallet is not None:
                check_alone(connection, purchase, wallet, *trips.together(connection, *reads_before_sending("", purchase, {})))

    def maybe_refunded(self, purchase: Purchase) -> list[str]:
        """Ids of other orders of the wallet with a possible refund since this purchase was intended last."""
        with self.autocommit() as connection:
            rows = connection.execute(_MAYBE_REFUNDED, _since_intent(connection, purchase)).scalars()
            return sorted(order_id for order_id in rows if order_id)

    def order_ids_of_reference(self, wallet: str, reference: str) -> list[str]:
        """The vendor's order ids that verified webhooks named with a reference of ours; normally one at most."""
        return Inbox(self.engine).order_ids_of_reference(wallet, reference)


def _reading_unusual(wallet: str, after: int) -> Read:
    return _UNUSUAL_SINCE, {"_wallet": wallet, "_after": after}


def reads_before_sending(wallet: str, purchase: Purchase, evidence: Mapping[str, Any]) -> list[Read]:
    """The reads for :func:`check_alone`, under the lock of the wallet: the intent's number, and what was unusual since.

    :param wallet: its present name.
    """
    reads: list[Read] = [(_LAST_INTENT, {"_key": purchase.order_key})]
    return [*reads, _reading_unusual(wallet, evidence[READ_IN_LINE])] if READ_IN_LINE in evidence else reads


def not_shown(connection: Connection, purchase: Purchase, shown: Shown) -> tuple[Decimal, Decimal]:
    """What other purchases can have taken from a wallet beside a balance: those under way, and those that it may not show yet."""
    values: dict[str, Any] = {"_wallet": purchase.wallet, "_key": purchase.order_key}
    values |= {"_after": shown.step, "_since": stamp(shown.since - CLOCKS_DIFFER)}
    under_way, late = connection.execute(_NOT_SHOWN, values).one()
    return spending.amount_of(int(under_way)), spending.amount_of(int(late))


def check_alone(connection: Connection, purchase: Purchase, wallet: Row, intents: Rows, unusual: Rows = ()) -> None:
    """Refuse to send with outdated evidence. A worker that stood still may have lost its turn meanwhile.

    :param wallet: its row. It names the creation that was sent last, so no table is searched for one.
    :param intents: with ``unusual``, the rows of :func:`reads_before_sending`.
    :raises StaleClaim: a purchase with the same kind of evidence was sent since the intent. Nothing was sent.
    :raises OutdatedEvidence: it was read in the line, and something unusual happened since. Nothing was sent.
    """
    if unusual:
        raise OutdatedEvidence(f"the evidence for {purchase.order_key!r} must be read anew")
    intent = intents[0]["intent"]
    if purchase.kind == "extend":
        values = {"_wallet": purchase.wallet, "_key": purchase.order_key, "_intent": intent, "_target": purchase.target}
        other = connection.execute(_EXTENSION_SENT_SINCE_INTENT, values).scalar()
    else:
        other = wallet["sent_key"] if (wallet["sent_step"] or 0) > (intent or 0) else None
    if other not in (None, purchase.order_key):  # another try of itself is what the fence is for
        raise StaleClaim(f"{other!r} was sent since {purchase.order_key!r} was intended, so its evidence must be read anew")


def _since_intent(connection: Connection, purchase: Purchase) -> dict[str, Any]:
    intent = connection.execute(_LAST_INTENT, {"_key": purchase.order_key}).scalar()
    return {"_wallet": purchase.wallet, "_key": purchase.order_key, "_intent": intent}


def _sent_purchase(row: Row) -> SentPurchase:
    # each step after SENT comes after the answer, or after the sender gave up; sent_until bounds both
    times = [row["sent_until"] or row["sent_at"], *([] if row["step"] == Step.SENT.value else [row["updated_at"]])]
    return SentPurchase(
        order_key=row["order_key"],
        kind=row["kind"],
        vendor=row["vendor"],
        step=Step(row["step"]),
        request=load_json(row["request"]),
        target=row["target"],
        order_id=row["order_id"],
        price=price_of(row),
        reserved=Money(Decimal(row["reserved"]), row["currency"]),
        counted=spending.amount_of(int(row["counted"])),
        maybe_sent=bool(row["maybe_sent"]),
        sent_at=datetime.fromisoformat(row["sent_at"]),
        left_by=datetime.fromisoformat(min(times)),
        number=int(row["number"]),
    )
