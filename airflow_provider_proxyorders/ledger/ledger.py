"""Reads and writes the ledger.

Three rules: every change of a purchase is one transaction that also appends a row to its history; it succeeds only if
the purchase still stands where the writer saw it (step and fence), so of two workers one wins and the other learns it;
and every writing transaction locks the wallet's row first, so that limits hold and nothing deadlocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    true,
    union,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import CapExceeded, LedgerError, MoneyState, OrderKeyConflict, WalletHeld
from airflow_provider_proxyorders.domain.exact_json import dump_json, load_json
from airflow_provider_proxyorders.domain.model import LIFE, TAKEN, UNRESOLVED, Actor, Money, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import schema, spending
from airflow_provider_proxyorders.ledger.engine import engine_for, reading, speaking_of
from airflow_provider_proxyorders.ledger.inbox import Inbox
from airflow_provider_proxyorders.ledger.schema import facts, purchases, steps, wallets

# Statements are built once: building them costs more than running them. Values go in when they are executed.
_KEY = purchases.c.order_key == bindparam("_key")
_FIND = select(purchases).where(_KEY)
_INSERT = purchases.insert().returning(purchases)
_UPDATE = update(purchases).where(_KEY).returning(purchases)
_UPDATE_IF_UNCHANGED = (
    update(purchases)
    .where(_KEY, purchases.c.step == bindparam("_step"), purchases.c.fence == bindparam("_fence"))
    .returning(purchases)
)
_APPEND = steps.insert()
_WALLET = wallets.c.wallet == bindparam("_wallet")
_LOCK = select(wallets).where(_WALLET).with_for_update()
_SET_WALLET = update(wallets).where(_WALLET)
_LEAVE_TURN = update(wallets).where(_WALLET, wallets.c.turn_key == bindparam("_key")).values(turn_key=None, turn_until=None)
_HOLDS = [step.value for step in sorted(UNRESOLVED)]
_BLOCKING_PURCHASE = (
    select(purchases.c.order_key, purchases.c.step)
    .where(purchases.c.wallet == bindparam("_wallet"), purchases.c.order_key != bindparam("_key"))
    .limit(1)
)
_OPEN = _BLOCKING_PURCHASE.where(purchases.c.step.in_(_HOLDS))
#: An extension that was taken shows in the order only later, and would then be taken for the next one.
_EXTENSION_UNDER_WAY = _BLOCKING_PURCHASE.where(
    purchases.c.step.in_([*_HOLDS, Step.PLACED.value]),
    purchases.c.kind == "extend",
    purchases.c.target == bindparam("_target"),
)
#: The step at which a purchase was intended last; what has a greater number came later, whatever the hosts' clocks say.
_INTENT = select(func.max(steps.c.id)).where(steps.c.order_key == bindparam("_key"), steps.c.step == Step.INTENDED.value)
_TAKEN = [step.value for step in sorted(TAKEN)]


def _unindexed(column: Any) -> Any:
    """The same value in a form that no index has."""
    return func.coalesce(column, "")


def _another_with(*names: str) -> list[Any]:
    """Other purchases of the wallet that took one of these steps since.

    What happened since is little, but the wallet may hold a million purchases, and almost all of them were delivered: neither
    database may begin with the wallet or with the step.
    """
    since = select(steps.c.order_key).where(steps.c.id > bindparam("_intent"), steps.c.step.in_(names))
    mine = _unindexed(purchases.c.wallet) == bindparam("_wallet")
    return [purchases.c.order_key.in_(since), mine, purchases.c.order_key != bindparam("_key")]


#: Other orders of the wallet whose money may have come back since: not ended when looked at last, or ended badly since then.
_UNSETTLED = union(
    select(purchases.c.order_id).where(
        purchases.c.wallet == bindparam("_wallet"),
        purchases.c.step == Step.PLACED.value,
        purchases.c.kind == "create",
        purchases.c.order_key != bindparam("_key"),
    ),
    select(purchases.c.order_id).where(
        *_another_with(Step.FAILED.value, Step.REFUNDED.value),
        _unindexed(purchases.c.step).in_([Step.FAILED.value, Step.REFUNDED.value]),
    ),
)
_OVERTAKEN = select(purchases.c.order_key).where(*_another_with(Step.SENT.value)).limit(1)
_OVERTAKEN_BY_CREATION = _OVERTAKEN.where(purchases.c.kind == "create")
_OVERTAKEN_BY_EXTENSION = _OVERTAKEN.where(purchases.c.kind == "extend", purchases.c.target == bindparam("_target"))
_SUM = select(func.coalesce(func.sum(purchases.c.counted), 0))
_UNDER_WAY = _SUM.where(
    purchases.c.wallet == bindparam("_wallet"),
    purchases.c.order_key != bindparam("_key"),
    purchases.c.step.in_([Step.SENT.value, Step.UNKNOWN.value, Step.INTENDED.value]),
    or_(purchases.c.step != Step.INTENDED.value, purchases.c.maybe_sent),
)
_RESERVED = _SUM.where(
    purchases.c.wallet == bindparam("_wallet"), purchases.c.step == Step.INTENDED.value, ~purchases.c.maybe_sent
)
_NOT_SURE = _SUM.where(
    purchases.c.wallet == bindparam("_wallet"),
    purchases.c.step.in_(
        [step.value for step in (*sorted(UNRESOLVED), Step.INTENDED, Step.PLACED)]
    ),  # for the index; said again below
    or_(
        purchases.c.step.in_([step.value for step in sorted(UNRESOLVED)]),
        and_(purchases.c.step == Step.INTENDED.value, purchases.c.maybe_sent),
        and_(purchases.c.step == Step.PLACED.value, purchases.c.price.is_(None)),
    ),
)
#: At one moment, so that a purchase that goes on meanwhile is neither missed nor counted twice.
_CHARGED = select(spending.TOTAL.scalar_subquery(), _NOT_SURE.scalar_subquery(), _RESERVED.scalar_subquery())
_BEFORE = steps.alias()
_KNOWN_BEFORE = exists().where(
    _BEFORE.c.order_key == purchases.c.order_key, _BEFORE.c.step.in_(_TAKEN), _BEFORE.c.id <= bindparam("_intent")
)
_TAKEN_SINCE = _SUM.where(*_another_with(*_TAKEN), _unindexed(purchases.c.step).in_(_TAKEN), ~_KNOWN_BEFORE)
_SENT = steps.c.step == Step.SENT.value
_SENT_LAST = select(func.max(steps.c.id)).where(steps.c.order_key == bindparam("_key"), _SENT)
_LAST_SENT_STEP = select(func.max(steps.c.id)).where(steps.c.order_key == purchases.c.order_key, _SENT).correlate(purchases)
#: Sent at a moment or after it (what it was sent before is proven not to have landed), and taken, at a known price that was not
#: paid back.
_CHARGED_SINCE = select(purchases).where(
    purchases.c.order_key.in_(select(steps.c.order_key).where(steps.c.id >= bindparam("_sent"), _SENT)),
    purchases.c.order_key != bindparam("_key"),
    _unindexed(purchases.c.wallet) == bindparam("_wallet"),
    _unindexed(purchases.c.step).in_([Step.PLACED.value, Step.DELIVERED.value, Step.EXPIRED.value]),
    purchases.c.price.is_not(None),
)
#: The last step at which a purchase was intended before it was sent at a moment.
_INTENT_OF = _INTENT.where(steps.c.id < bindparam("_sent"))
#: What was on its way when a purchase was intended, and was taken: charged before the look that followed, or after it.
_OVERLAPPING_PURCHASE = (
    select(purchases, _LAST_SENT_STEP.scalar_subquery().label("sent"))
    .where(
        *_another_with(*_TAKEN),
        _unindexed(purchases.c.step).in_(_TAKEN),
        ~_KNOWN_BEFORE,
        _LAST_SENT_STEP.scalar_subquery() < bindparam("_sent"),
    )
    .order_by("sent")
    .limit(1)
)
_SPENT_SINCE_INTENT = select(
    _UNDER_WAY.scalar_subquery() + _TAKEN_SINCE.scalar_subquery()
)  # at one moment: none is missed or seen twice


class StaleClaim(LedgerError):
    """Another worker has taken the purchase further; this one may write nothing about it."""

    money: ClassVar[MoneyState] = "unknown"


@dataclass(frozen=True)
class Intent:
    """What is about to be bought.

    :param fingerprint: SHA-256 of the canonical request; the same key with another one is a conflict.
    :param request: the request with secrets masked, for people and for comparison.
    :param amount: what the limits count for it until the price is known.
    :param takes_turn: whether it must be the only purchase under way on its wallet.
    """

    order_key: str
    kind: str
    vendor: str
    conn_id: str
    wallet: str
    fingerprint: str
    request: Mapping[str, Any]
    amount: Money
    target: str | None = None
    caps: Caps = field(default_factory=Caps)
    zone: str = "UTC"
    takes_turn: bool = True


@dataclass(frozen=True)
class History:
    """One row of a purchase's history."""

    step: Step
    fence: int
    at: datetime
    why: str
    actor: Actor


def open_ledger(url: str, clock: Callable[[], datetime] | None = None) -> Ledger:
    """The ledger at a database address, brought to the version this code needs.

    :raises LedgerError: when it cannot be opened, upgraded or is newer than this code. Nothing was bought.
    """
    try:
        ledger = Ledger(engine_for(url), clock)
        with speaking_of(ledger.engine.url):
            schema.ensure(ledger.engine)
    except LedgerError as error:
        error.tell("Nothing was bought.")
        raise
    return ledger


class Ledger:
    """The record of purchases in one database.

    :param clock: gives the current time, aware; tests inject one.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime] | None = None):
        self.engine = engine
        self._reader = reading(engine)
        self.clock = clock or (lambda: datetime.now(timezone.utc))

    # -- reading ---------------------------------------------------------------------------------------------------

    def find(self, order_key: str) -> Purchase | None:
        """The purchase of a key, None where the key was never used."""
        with self._read() as connection:
            row = self._row(connection, order_key)
            return _order(row) if row is not None else None

    def history(self, order_key: str) -> list[History]:
        """Every step and look of a purchase, oldest first."""
        with self._read() as connection:
            rows = connection.execute(select(steps).where(steps.c.order_key == order_key).order_by(steps.c.id)).mappings()
            return [
                History(
                    step=Step(row["step"]),
                    fence=row["fence"],
                    at=_time(row["at"]) or self.clock(),
                    why=row["why"],
                    actor=Actor(row["dag_id"], row["run_id"], row["task_id"], row["map_index"], row["try_number"], row["host"]),
                )
                for row in rows
            ]

    def purchases(self, *, wallet: str | None = None, in_steps: Sequence[Step] | None = None, limit: int = 100) -> list[Purchase]:
        """Purchases, the most recently changed first."""
        if in_steps is None:
            return self._newest(wallet, [true()], limit)
        return self._newest(wallet, [purchases.c.step == step.value for step in set(in_steps)], limit)

    def unresolved(self, *, wallet: str | None = None, limit: int = 100) -> list[Purchase]:
        """Purchases whose outcome is unresolved, the most recently changed first."""
        still_open = [purchases.c.step == step.value for step in sorted(UNRESOLVED)]
        to_send = [and_(purchases.c.step == step.value, purchases.c.maybe_sent) for step in (Step.INTENDED, Step.REJECTED)]
        return self._newest(wallet, [*still_open, *to_send], limit)

    def _newest(self, wallet: str | None, conditions: Sequence[ColumnElement[bool]], limit: int) -> list[Purchase]:
        """What fulfils one of these; asked for one after the other, since each step has its place in an index in this order."""
        if not conditions:
            return []
        mine = select(purchases) if wallet is None else select(purchases).where(purchases.c.wallet == wallet)
        query = mine.order_by(purchases.c.updated_at.desc()).limit(limit)
        parts = [query.where(condition) for condition in conditions]
        if len(parts) > 1:
            found = union_all(*(select(part.subquery()) for part in parts)).subquery()
            parts = [select(found).order_by(found.c.updated_at.desc()).limit(limit)]
        with self._read() as connection:
            return [_order(row) for row in connection.execute(parts[0]).mappings()]

    def by_order_id(self, wallet: str, order_id: str) -> list[Purchase]:
        """The purchases (one creation, any number of extensions) of one vendor order, the most recently changed first."""
        query = select(purchases).where(purchases.c.wallet == wallet, purchases.c.order_id == order_id)
        with self._read() as connection:  # sorted here, or SQLite would take an index that is in this order but holds the wallet
            found = [_order(row) for row in connection.execute(query).mappings()]
        return sorted(found, key=lambda order: order.updated_at, reverse=True)

    def owned(self, wallet: str, since: datetime | None = None) -> frozenset[str]:
        """Vendor ids (orders and sub-accounts) that belong to purchases of a wallet.

        :param since: only purchases that changed since then, or may still open something (PLACED); None = all.
        """
        # a condition on order_id would lead SQLite to the index of ids, and so through all of the wallet
        mine = select(purchases.c.order_id, purchases.c.subaccount).where(
            purchases.c.wallet == wallet, purchases.c.kind == "create"
        )
        queries = [mine]
        if since is not None:  # two, since each has its place in an index; what ends in between is in the second
            queries = [mine.where(purchases.c.step == Step.PLACED.value), mine.where(purchases.c.updated_at >= _stamp(since))]
        with self._read() as connection:
            return frozenset(found for query in queries for row in connection.execute(query) for found in row if found)

    def charged(self, wallet: str) -> tuple[Decimal, Decimal]:
        """What all purchases of a wallet are known to have been charged, over all time, and at most by now."""
        with self._read() as connection:
            row = connection.execute(_CHARGED, {"_wallet": wallet}).one()
        total, open_now, reserved = (spending.amount_of(int(counted)) for counted in row)
        return total - open_now - reserved, total - reserved

    def spent_since_intent(self, order: Purchase) -> Decimal:
        """What other purchases may have taken from the wallet since this one was intended last."""
        with self._read() as connection:
            return self._spent_since_intent(connection, order)

    def balance_checkpoints(self, order: Purchase, most: int = 20) -> list[tuple[Mapping[str, Any], list[Purchase]]]:
        """Evidence read before this purchase left, and the other purchases of the wallet charged since then beyond doubt.

        The first is its own evidence. One that was on its way at that look may have been charged before it or after it, but
        surely after the look for itself: so the next evidence is that one's, and so on back to where nothing else was under way.
        """
        found: list[tuple[Mapping[str, Any], list[Purchase]]] = []
        with self._read() as connection:
            since = order
            sent = connection.execute(_SENT_LAST, {"_key": order.order_key}).scalar()
            while sent is not None and len(found) < most:
                about = {**_about(order), "_sent": sent}
                charged = connection.execute(_CHARGED_SINCE, about).mappings()
                found.append((since.evidence, [_order(row) for row in charged]))
                intent = connection.execute(_INTENT_OF, {"_key": since.order_key, "_sent": sent}).scalar()
                beside = connection.execute(_OVERLAPPING_PURCHASE, {**about, "_intent": intent}).mappings().first()
                if beside is None:
                    break
                since, sent = _order(beside), beside["sent"]
        return found

    def maybe_refunded(self, order: Purchase) -> list[str]:
        """Ids of other orders of the wallet that may have been paid back since this one was intended last."""
        with self._read() as connection:
            rows = connection.execute(_UNSETTLED, self._since(connection, order)).scalars()
            return sorted(order_id for order_id in rows if order_id)

    def reported(self, wallet: str, reference: str) -> list[str]:
        """The vendor's ids of orders with a reference of ours, as verified webhooks told them; one at most, normally."""
        return Inbox(self.engine).orders_told(wallet, reference)

    def check(self, order: Purchase, *, balance: Money | None, min_balance: Decimal | None) -> None:
        """Refuse early what :meth:`claim` would refuse as things stand; only that one decides.

        :raises CapExceeded: the wallet is frozen, or too little would remain in it. Nothing was sent.
        """
        with self._read() as connection:
            wallet = connection.execute(select(wallets).where(_WALLET), {"_wallet": order.wallet}).mappings().first()
            if wallet is not None:
                self._refuse_frozen(wallet)
            if min_balance is not None and balance is not None:
                self._check_balance(connection, order, balance, min_balance)

    def frozen(self, wallet: str) -> str | None:
        """Why nothing more may be bought from a wallet, None where it may."""
        with self._read() as connection:
            return connection.execute(select(wallets.c.frozen).where(wallets.c.wallet == wallet)).scalar()

    # -- writing ---------------------------------------------------------------------------------------------------

    def decide_once(self, name: str, value: str) -> str:
        """Decide a value once: the first caller's value is kept and given to everybody who asks for the name."""
        now = _stamp(self.clock())
        with self._write() as connection:
            connection.execute(self._insert_new(connection, facts, {"name": name, "value": value, "at": now}))
            return str(connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar_one())

    def put(self, name: str, value: str) -> None:
        """Keep a value under a name, in place of the one before."""
        now = _stamp(self.clock())
        with self._write() as connection:
            connection.execute(self._insert_new(connection, facts, {"name": name, "value": value, "at": now}))
            connection.execute(update(facts).where(facts.c.name == name).values(value=value, at=now))

    def get(self, name: str) -> str | None:
        """A value kept by :meth:`fix` or :meth:`note`, None where there is none."""
        with self._read() as connection:
            return connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar()

    def intend(self, intent: Intent, actor: Actor, *, turn_seconds: float = 120.0, why: str = "") -> Purchase:
        """Write down a purchase before anything of it leaves: limits checked and reserved, lane taken, one commit.

        A purchase that was intended or rejected before is intended anew; any other is handed back as it stands.

        :raises OrderKeyConflict: the key stands for another request.
        :raises CapExceeded: a limit would be passed, or the wallet is frozen.
        :raises WalletHeld: another purchase of the wallet is under way or unresolved.
        """
        now = self.clock()
        day = spending.day_of(now, intent.zone)
        amount = spending.millionths(intent.amount.amount)
        with self._write() as connection:
            wallet = self._lock(connection, intent.wallet)
            before = self._row(connection, intent.order_key)
            if before is not None:
                known = _order(before)
                if known.fingerprint != intent.fingerprint and known.step is not Step.REJECTED:
                    raise OrderKeyConflict(difference(known, intent))
                if known.step not in (Step.INTENDED, Step.REJECTED):
                    return known
            self._refuse_frozen(wallet)
            if intent.takes_turn:
                self._take_turn(connection, wallet, intent, now, turn_seconds)
            elif intent.kind == "extend":
                self._free(connection.execute(_EXTENSION_UNDER_WAY, {**_about(intent), "_target": intent.target}).first(), intent)
            if before is not None:  # what an earlier try reserved, on whatever day, does not stand in this one's way
                spending.add(connection, before["wallet"], before["counted_on"], -before["counted"])
            spending.check(connection, intent.wallet, day, amount, intent.caps)
            spending.add(connection, intent.wallet, day, amount)
            values = {
                "kind": intent.kind,
                "vendor": intent.vendor,
                "conn_id": intent.conn_id,
                "wallet": intent.wallet,
                "step": Step.INTENDED.value,
                "fingerprint": intent.fingerprint,
                "request": dump_json(intent.request),
                "target": intent.target,
                "currency": intent.amount.currency,
                "reserved": f"{intent.amount.amount:f}",
                "counted": amount,
                "counted_on": day,
                "reason": "",
                "fence": (before["fence"] if before is not None else 0) + 1,
                "updated_at": _stamp(now),
            }
            if before is None:
                values |= {"order_key": intent.order_key, "evidence": "{}", "maybe_sent": False, "created_at": _stamp(now)}
                written = connection.execute(_INSERT, values).mappings().one()
            else:
                written = connection.execute(_UPDATE, {**values, "_key": intent.order_key}).mappings().one()
            why = why or ("intended" if before is None else "intended anew")
            self._append(connection, intent.order_key, Step.INTENDED, written["fence"], now, why, actor)
            return _order(written)

    def claim(
        self,
        order: Purchase,
        actor: Actor,
        *,
        evidence: Mapping[str, Any],
        sent_seconds: float,
        balance: Money | None = None,
        min_balance: Decimal | None = None,
        alone: bool = False,
    ) -> Purchase:
        """Take the right to send, right before the purchase leaves: INTENDED becomes SENT, one commit.

        :param evidence: what was read at the vendor to recognise the purchase by.
        :param sent_seconds: how long the sender may wait for its answer; after that others may look into it.
        :param balance: the wallet as just read; with ``min_balance`` it is checked here, counting what is under way.
        :param alone: whether the evidence could be mixed up with that of another creation on the wallet, or of another
            extension of the order, so that none may have been sent since this one was intended.
        :raises StaleClaim: another worker has it, or the evidence must be read anew. Nothing was sent.
        :raises CapExceeded: too little would remain in the wallet. Nothing was sent.
        """
        now = self.clock()
        with self._write() as connection:
            self._refuse_frozen(self._lock(connection, order.wallet))
            if alone:
                self._check_alone(connection, order)
            if min_balance is not None and balance is not None:
                self._check_balance(connection, order, balance, min_balance)
            changes = {
                "evidence": dump_json(evidence),
                "sent_at": _stamp(now),
                "sent_until": _stamp(now + timedelta(seconds=sent_seconds)),
                "fence": order.fence + 1,
            }
            return self._change(connection, order, Step.SENT, "sending now", actor, now, changes)

    def record(
        self,
        order: Purchase,
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

        :param seen: the vendor's order, from which id, status, price, expiry and counts are kept.
        :param price: what was charged or quoted, where the vendor's order does not say. News of a charge above what was
            reserved freezes the wallet: the next purchase could be wrong in the same way.
        :param maybe_sent: False where it is proven that no earlier try landed.
        :raises StaleClaim: another worker has taken it further.
        """
        now = self.clock()
        changes: dict[str, Any] = {}
        if evidence is not None:
            changes["evidence"] = dump_json(evidence)
        if step is Step.UNKNOWN or maybe_sent is not None:
            changes["maybe_sent"] = step is Step.UNKNOWN or maybe_sent
        if step is Step.UNKNOWN and order.step is not Step.UNKNOWN:
            changes["fence"] = order.fence + 1
        with self._write() as connection:
            wallet = self._lock(connection, order.wallet)
            doubtful = changes.get("maybe_sent", order.maybe_sent)
            if step is Step.REJECTED or (step is Step.INTENDED and not doubtful):
                changes |= self._count(connection, order, 0)  # it is proven that nothing was bought
            if vendor_order is not None:
                changes |= _of_vendor(order, vendor_order)
            charged = (vendor_order.price if vendor_order else None) or price or order.price
            if step in TAKEN and charged is not None:
                if charged.amount > order.reserved.amount and charged != order.price and not wallet["frozen"]:
                    name = f"order {(vendor_order.order_id if vendor_order else None) or order.order_id} ({order.order_key})"
                    alarm = f"{name} was charged {charged}, above its cap of {order.reserved}"
                    connection.execute(_SET_WALLET, {"frozen": alarm, "_wallet": order.wallet})
                changes |= {"price": f"{charged.amount:f}", "currency": charged.currency or order.reserved.currency}
                back = vendor_order.refund.amount if vendor_order and vendor_order.refund else Decimal(0)
                changes |= self._count(connection, order, spending.millionths(max(Decimal(0), charged.amount - back)))
            if step is not Step.INTENDED and wallet["turn_key"] == order.order_key:
                self._leave_turn(connection, order)  # a step that is open holds the wallet by itself
            return self._change(connection, order, step, why, actor, now, changes)

    def release(self, order: Purchase, why: str, actor: Actor) -> Purchase:
        """Give back what an intent reserved, after a try that ended before anything was sent. The key stays INTENDED.

        A purchase that an earlier sending left in doubt keeps its reservation and is UNKNOWN again.
        """
        now = self.clock()
        with self._write() as connection:
            self._lock(connection, order.wallet)
            self._leave_turn(connection, order)
            changes: dict[str, Any] = {"fence": order.fence + 1}  # whoever has intended it must do so again before sending
            if not order.maybe_sent:
                changes |= self._count(connection, order, 0)
            step = Step.UNKNOWN if order.maybe_sent else Step.INTENDED
            return self._change(connection, order, step, why, actor, now, changes)

    def doubt(self, order: Purchase, why: str, actor: Actor) -> Purchase:
        """Take back into doubt what stood to be sent, since an earlier sending may have landed: UNKNOWN, counted as reserved.

        Whoever has intended it meanwhile cannot send it any more.

        :param order: INTENDED or REJECTED.
        :raises StaleClaim: another worker has taken it further.
        """
        now = self.clock()
        with self._write() as connection:
            self._lock(connection, order.wallet)
            if order.step is Step.REJECTED:
                order = self._change(connection, order, Step.INTENDED, why, actor, now, {})
            self._leave_turn(connection, order)
            changes = self._count(connection, order, spending.millionths(order.reserved.amount))
            changes |= {"maybe_sent": True, "fence": order.fence + 1}
            return self._change(connection, order, Step.UNKNOWN, why, actor, now, changes)

    def freeze(self, wallet: str, why: str | None) -> None:
        """Stop all purchases from a wallet, or with None allow them again."""
        with self._write() as connection:
            self._lock(connection, wallet)
            connection.execute(_SET_WALLET, {"frozen": why, "_wallet": wallet})

    # -- inside a transaction --------------------------------------------------------------------------------------

    def _take_turn(self, connection: Connection, wallet: RowMapping, intent: Intent, now: datetime, seconds: float) -> None:
        held = wallet["turn_key"]
        if held and held != intent.order_key and (wallet["turn_until"] or "") > _stamp(now):
            raise WalletHeld(
                f"the purchase {held!r} is under way on wallet {intent.wallet!r}; one at a time. Nothing was bought.",
                blocker=held,
            )
        self._free(connection.execute(_OPEN, _about(intent)).first(), intent)
        until = _stamp(now + timedelta(seconds=seconds))
        connection.execute(_SET_WALLET, {"turn_key": intent.order_key, "turn_until": until, "_wallet": intent.wallet})

    def _free(self, blocker: Any, intent: Intent) -> None:
        if blocker:
            raise WalletHeld(
                f"the purchase {blocker.order_key!r} on wallet {intent.wallet!r} is {blocker.step}: until it is settled, "
                "evidence could not tell a new purchase from it. Nothing was bought. "
                f"See: proxyorders ledger show {blocker.order_key!r}",
                blocker=blocker.order_key,
            )

    def _refuse_frozen(self, wallet: RowMapping) -> None:
        if wallet["frozen"]:
            raise CapExceeded(
                f"wallet {wallet['wallet']!r} is frozen: {wallet['frozen']}. Nothing was bought. When the cause is clear, "
                f"a person lifts it: proxyorders ledger unfreeze {wallet['wallet']}"
            )

    def _check_alone(self, connection: Connection, order: Purchase) -> None:
        """A worker that was held up may have lost its turn: what it read before would be misread."""
        since = self._since(connection, order)
        if order.kind == "extend":
            other = connection.execute(_OVERTAKEN_BY_EXTENSION, {**since, "_target": order.target}).scalar()
        else:
            other = connection.execute(_OVERTAKEN_BY_CREATION, since).scalar()
        if other is not None:
            raise StaleClaim(f"{other!r} was sent since {order.order_key!r} was intended, so its evidence must be read anew")

    def _since(self, connection: Connection, order: Purchase) -> dict[str, Any]:
        about = _about(order)
        return {**about, "_intent": connection.execute(_INTENT, {"_key": order.order_key}).scalar()}

    def _spent_since_intent(self, connection: Connection, order: Purchase) -> Decimal:
        return spending.amount_of(int(connection.execute(_SPENT_SINCE_INTENT, self._since(connection, order)).scalar_one()))

    def _leave_turn(self, connection: Connection, order: Purchase) -> None:
        connection.execute(_LEAVE_TURN, {"_wallet": order.wallet, "_key": order.order_key})

    def _check_balance(self, connection: Connection, order: Purchase, balance: Money, least: Decimal) -> None:
        under_way = self._spent_since_intent(connection, order)
        left = balance.amount - under_way - order.reserved.amount
        if left < least:
            raise CapExceeded(
                f"min_balance {least:f} of wallet {order.wallet!r} would be broken: it holds {balance}, "
                f"{under_way} is under way, and this purchase may cost {order.reserved}. "
                "Nothing was bought. Top the wallet up or lower 'min_balance' in the connection."
            )

    def _count(self, connection: Connection, order: Purchase, counted: int) -> dict[str, Any]:
        row = self._must(connection, order.order_key)
        spending.add(connection, row["wallet"], row["counted_on"], counted - row["counted"])
        return {"counted": counted}

    def _change(
        self,
        connection: Connection,
        order: Purchase,
        step: Step,
        why: str,
        actor: Actor,
        now: datetime,
        changes: Mapping[str, Any],
    ) -> Purchase:
        if step is not order.step and step not in LIFE[order.step]:
            raise LedgerError(
                f"{order.order_key!r} cannot go from {order.step.value} to {step.value}; nothing was changed", retry="never"
            )
        values = {"step": step.value, "updated_at": _stamp(now), **changes}
        unchanged = {"_key": order.order_key, "_step": order.step.value, "_fence": order.fence}
        row = connection.execute(_UPDATE_IF_UNCHANGED, {**values, **unchanged}).mappings().first()
        if row is None:
            raise StaleClaim(f"another worker has taken {order.order_key!r} further; this one may write nothing about it")
        self._append(connection, order.order_key, step, row["fence"], now, why, actor)
        return _order(row)

    def _append(
        self, connection: Connection, order_key: str, step: Step, fence: int, now: datetime, why: str, actor: Actor
    ) -> None:
        connection.execute(
            _APPEND,
            {
                "order_key": order_key,
                "step": step.value,
                "fence": fence,
                "at": _stamp(now),
                "why": why,
                "dag_id": actor.dag_id,
                "run_id": actor.run_id,
                "task_id": actor.task_id,
                "map_index": actor.map_index,
                "try_number": actor.try_number,
                "host": actor.host,
            },
        )

    def _lock(self, connection: Connection, wallet: str) -> RowMapping:
        row = connection.execute(_LOCK, {"_wallet": wallet}).mappings().first()
        if row is None:
            connection.execute(self._insert_new(connection, wallets, {"wallet": wallet}))
            row = connection.execute(_LOCK, {"_wallet": wallet}).mappings().one()
        return row

    def _row(self, connection: Connection, order_key: str) -> RowMapping | None:
        return connection.execute(_FIND, {"_key": order_key}).mappings().first()

    def _must(self, connection: Connection, order_key: str) -> RowMapping:
        return connection.execute(_FIND, {"_key": order_key}).mappings().one()

    @staticmethod
    def _insert_new(connection: Connection, table: Any, values: Mapping[str, Any]) -> Any:
        insert = postgres_insert if connection.dialect.name == "postgresql" else sqlite_insert
        return insert(table).values(values).on_conflict_do_nothing()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with speaking_of(self.engine.url), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with speaking_of(self.engine.url), self.engine.begin() as connection:
            yield connection


# ---------------------------------------------------------------------------------------------- rows and values


def _about(purchase: Purchase | Intent) -> dict[str, str]:
    return {"_wallet": purchase.wallet, "_key": purchase.order_key}


def difference(known: Purchase, intent: Intent) -> str:
    """What an order key stands for beside what it was asked for now."""
    lines = []
    for name, old, new in (
        ("vendor", known.vendor, intent.vendor),
        ("wallet", known.wallet, intent.wallet),
        ("kind", known.kind, intent.kind),
        ("order", known.target, intent.target),
    ):
        if old != new:
            lines.append(f"{name}: {old} -> {new}")
    for name in sorted({*known.request, *intent.request}):
        old, new = known.request.get(name, "(absent)"), intent.request.get(name, "(absent)")
        if dump_json(old) != dump_json(new):
            lines.append(f"{name}: {old!r} -> {new!r}")
    what = "; ".join(lines) or "a field whose value is masked"
    return (
        f"order key {known.order_key!r} already stands for another purchase ({known.step.value}"
        f"{', order ' + known.order_id if known.order_id else ''}); different now: {what}. Nothing was sent. "
        "To buy again on purpose, give the task another order_key."
    )


def _of_vendor(order: Purchase, vendor_order: VendorOrder) -> dict[str, Any]:
    changes: dict[str, Any] = {"vendor_status": vendor_order.vendor_status, "reason": vendor_order.reason}
    if vendor_order.order_id and not order.order_id:
        changes["order_id"] = vendor_order.order_id
    if "subaccount" in vendor_order.traits:
        changes["subaccount"] = vendor_order.traits["subaccount"]
    if vendor_order.expires_at is not None:
        changes["expires_at"] = _stamp(vendor_order.expires_at)
    if vendor_order.delivered is not None:
        changes["delivered"] = vendor_order.delivered
    return changes


def _order(row: RowMapping) -> Purchase:
    return Purchase(
        order_key=row["order_key"],
        kind=row["kind"],
        vendor=row["vendor"],
        conn_id=row["conn_id"],
        wallet=row["wallet"],
        step=Step(row["step"]),
        fingerprint=row["fingerprint"],
        request=load_json(row["request"]),
        target=row["target"],
        order_id=row["order_id"],
        vendor_status=row["vendor_status"],
        reserved=Money(Decimal(row["reserved"]), row["currency"]),
        price=Money(Decimal(row["price"]), row["currency"]) if row["price"] is not None else None,
        expires_at=_time(row["expires_at"]),
        delivered=row["delivered"],
        reason=row["reason"],
        evidence=load_json(row["evidence"]),
        maybe_sent=bool(row["maybe_sent"]),
        fence=row["fence"],
        sent_at=_time(row["sent_at"]),
        sent_until=_time(row["sent_until"]),
        created_at=_time(row["created_at"]) or datetime.min.replace(tzinfo=timezone.utc),
        updated_at=_time(row["updated_at"]) or datetime.min.replace(tzinfo=timezone.utc),
    )


def _stamp(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
