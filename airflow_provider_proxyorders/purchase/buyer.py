"""The desk: the only code that decides to spend, and to say what became of it.

One purchase goes: check the request - know the price or the cap - write the intent down - read the evidence - write
SENT down - send once - write down what came back. Three rules:

- nothing leaves before its intent and its SENT step are durable;
- after SENT only a proof allows another sending: a refusal, a connection that was never made, or evidence read at the
  vendor, twice, that nothing is there. A failed read proves nothing;
- every way out says what happened to the money.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    CapExceeded,
    ConfigError,
    LedgerError,
    NeverSent,
    OrderingNotPermitted,
    OrderKeyConflict,
    OrderNotFound,
    OutcomeUnknown,
    ProxyOrdersError,
    Quarantined,
    RequestRefused,
    VendorError,
    WalletHeld,
)
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import TAKEN, UNRESOLVED, Actor, Money, Purchase, Step, VendorOrder, masked
from airflow_provider_proxyorders.ledger import Intent, Ledger, StaleClaim
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Look, Prepared, Vendor
from airflow_provider_proxyorders.wire.messages import Flow, Request

#: How long a purchase that landed waits for the webhook that tells its id before a person is asked, where webhooks are set up.
WEBHOOK_PATIENCE = timedelta(hours=2)
#: For how many settle times, beside the time of one sending, a look that could not see everything may be repeated: others may
#: still be on their way.
BLIND_PATIENCE = 5
#: Errors after sending that prove that nothing was bought. Whatever is not here leaves the outcome unknown.
PROOFS = (AuthenticationFailed, OrderingNotPermitted, OrderNotFound, RequestRefused, NeverSent, ConfigError)


@dataclass(frozen=True)
class PurchaseRequest:
    """What is asked of the desk.

    :param prepared: the checked body.
    :param max_price: the operator's cap for this one purchase.
    :param still_due: called with the evidence read right before the purchase leaves; raises where it is not wanted any more.
    """

    order_key: str
    kind: str
    prepared: Prepared
    fingerprint: str
    target: str | None = None
    max_price: Decimal | None = None
    still_due: Callable[[Mapping[str, Any]], None] | None = None


class Buyer(OrderTracker):
    """Buys, extends and refreshes orders of one account.

    :param fence: called with the order key right before a purchase leaves; raises where this try has been superseded.
    :param patience: how long to wait for another purchase of the wallet, or another try of this one, in seconds.
    :param ticks: seconds that never go back, from any start, to tell how long this worker was held up.
    """

    def __init__(
        self,
        vendor: Vendor,
        http: Http,
        ledger: Ledger,
        *,
        actor: Actor | None = None,
        fence: Callable[[str], None] | None = None,
        say: Callable[[str], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = 150.0,
        ticks: Callable[[], float] = time.monotonic,
    ):
        super().__init__(vendor, http, ledger, actor=actor, say=say, sleep=sleep)
        self._fence = fence
        self._patience = patience
        self._ticks = ticks
        self._renewed: set[str] = set()
        self._resent: set[str] = set()
        self._unquoted: set[str] = set()
        #: what this try has sent, unless it is proven by now that nothing was bought
        self._sent: dict[str, Purchase] = {}

    # -- buying ----------------------------------------------------------------------------------------------------

    def place(self, request: Mapping[str, Any], *, order_key: str, max_price: Decimal | None = None) -> Purchase:
        """Buy an order, once per key however often this is called.

        :param request: the vendor's own body fields.
        :param order_key: the identity of this purchase.
        :returns: the order as the ledger knows it now, perhaps not usable yet.
        :raises InvalidRequest, CapExceeded, OrderKeyConflict: nothing was sent.
        :raises OutcomeUnknown: it may have been bought; it is never sent again on a guess.
        """
        prepared = self.vendor.prepare_create(request, self.reference(order_key))
        return self._buy(self._purchase("create", order_key, prepared, None, max_price))

    def extend(
        self,
        order_id: str,
        request: Mapping[str, Any],
        *,
        order_key: str,
        max_price: Decimal | None = None,
        still_due: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> Purchase:
        """Extend an order, once per key; see :meth:`place`.

        :param still_due: called with what was read of the order right before the extension leaves (``expires_at``, ISO text or
            None); raises :class:`NotDue` where another extension came first, under whatever key.
        """
        prepared = self.vendor.prepare_extend(order_id, request)
        return self._buy(self._purchase("extend", order_key, prepared, order_id, max_price, still_due))

    def reference(self, order_key: str) -> str:
        """Our reference at vendors that take one: derived from wallet and key only, so every try sends the same."""
        digest = hashlib.sha256(f"{self.account.wallet}\n{order_key}".encode()).hexdigest()
        return f"af-{digest[:40]}"

    def _purchase(
        self,
        kind: str,
        order_key: str,
        prepared: Prepared,
        target: str | None,
        max_price: Decimal | None,
        still_due: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> PurchaseRequest:
        if not order_key or len(order_key) > 500:
            raise ConfigError(f"order_key must have 1 to 500 characters, got {len(order_key)}. Nothing was sent.")
        for warning in prepared.warnings:
            self._say(f"Note: {warning}")
        canonical = {
            "kind": kind,
            "vendor": self.vendor.name,
            "wallet": self.account.wallet,
            "target": target,
            "body": prepared.body,
        }
        fingerprint = hashlib.sha256(dump_json(canonical).encode()).hexdigest()
        return PurchaseRequest(order_key, kind, prepared, fingerprint, target, max_price, still_due)

    def _buy(self, purchase: PurchaseRequest) -> Purchase:
        try:
            return self._until_placed(purchase)
        except ProxyOrdersError as error:
            if error.money != "untouched":
                raise
            doubtful = self._doubtful(purchase, error)
            if doubtful is not None:
                raise self._unknown(doubtful, _line(error), retry=error.retry) from error
            error.tell("This try bought nothing." if isinstance(error, LedgerError) else "Nothing was bought.")
            raise

    def _doubtful(self, purchase: PurchaseRequest, error: ProxyOrdersError) -> Purchase | None:
        """The purchase, where an error that sent nothing itself comes after a sending that may have been taken.

        Or beside one: another try may have sent it, and that this one did not says nothing about the money.
        """
        if isinstance(error, OrderKeyConflict):
            return None  # what it asked for was never sent; the key stands for something else
        sent = self._sent.get(purchase.order_key)
        if isinstance(error, LedgerError):
            return sent
        try:
            known = self.ledger.find(purchase.order_key)
        except LedgerError:
            return sent
        if known is None or known.step in TAKEN:
            return None
        return known if known.maybe_sent or known.step in UNRESOLVED else None

    def _until_placed(self, purchase: PurchaseRequest) -> Purchase:
        known = self.ledger.find(purchase.order_key)
        for _ in range(6):  # each turn ends in a return, a raise or a proof that the purchase may be sent again
            if known is None or known.step in (Step.INTENDED, Step.REJECTED):
                known = self._intend(purchase)
                if known.step is Step.INTENDED:
                    known = self._send(purchase, known)
            elif known.fingerprint != purchase.fingerprint:
                known = self._intend(purchase)  # raises the conflict with the difference
            elif known.step in UNRESOLVED:
                try:
                    known = self._settle(known, purchase)
                except StaleClaim:  # it only read, and another try was quicker to write what came of it
                    known = self._as_it_stands(known)
            if known.step not in UNRESOLVED and known.step not in (Step.INTENDED, Step.REJECTED):
                return known
        raise OutcomeUnknown(
            f"{purchase.order_key!r} kept changing while this try worked on it; another try goes on from what the ledger knows.",
            order_key=purchase.order_key,
            retry="soon",
        )

    def _intend(self, purchase: PurchaseRequest) -> Purchase:
        cap = self._cap(purchase.max_price)
        amount = self._quoted(purchase, cap) if self.vendor.capabilities.quote else None
        account = self.account
        intent = Intent(
            order_key=purchase.order_key,
            kind=purchase.kind,
            vendor=self.vendor.name,
            conn_id=account.conn_id,
            wallet=account.wallet,
            fingerprint=purchase.fingerprint,
            request=masked(purchase.prepared.body),
            target=purchase.target,
            amount=amount or Money(cap, account.currency),
            caps=account.caps,
            zone=account.timezone,
            takes_turn=purchase.kind == "create" and not self._by_reference,
        )
        order = self._in_turn(intent)
        if order.step is Step.INTENDED:
            price = f"quoted at {amount}" if amount else f"price unknown beforehand, {cap:f} reserved"
            self._say(f"Order key {order.order_key!r}: intended at {self.vendor.title}, {price}")
        return order

    def _cap(self, max_price: Decimal | None) -> Decimal:
        caps = [cap for cap in (max_price, self.account.caps.max_order_price) if cap is not None]
        if not caps:
            raise CapExceeded(
                f'no price cap: a purchase needs max_price="..." in the operator, or in the extra of connection '
                f'{self.account.conn_id!r} a line such as "max_order_price": "50.00". Nothing was sent.'
            )
        if min(caps) <= 0:
            raise CapExceeded(f"the price cap {min(caps):f} allows no purchase. Nothing was sent.")
        return min(caps)

    def _quoted(self, purchase: PurchaseRequest, cap: Decimal) -> Money | None:
        body = purchase.prepared.body
        self._unquoted.discard(purchase.order_key)
        if purchase.target is None:
            price = self.http.run(self.vendor.quote(body)).price
        else:
            try:
                price = self.http.run(self.vendor.quote_extension(purchase.target, body)).price
            except RequestRefused as error:
                self._say(f"{self.vendor.title} would not quote this extension, so the cap is reserved: {error}")
                self._unquoted.add(purchase.order_key)
                return None
        self._same_currency(price)
        if price.amount > cap:
            raise CapExceeded(
                f"{self.vendor.title} quotes {price}, the cap is {cap:f}. Nothing was bought. Raise max_price or "
                f"'max_order_price' in connection {self.account.conn_id!r} if the price is right."
            )
        return Money(price.amount, price.currency or self.account.currency)

    def _same_currency(self, money: Money) -> None:
        ours = self.account.currency
        if ours and money.currency and ours.upper() != money.currency.upper():
            raise CapExceeded(
                f"the wallet is in {money.currency}, but the limits of connection {self.account.conn_id!r} are in {ours}: "
                "they cannot be compared. Nothing was bought. Set 'currency' in the connection to the wallet's."
            )

    def _in_turn(self, intent: Intent) -> Purchase:
        """Write the intent down; where another purchase holds the wallet, settle it or wait for it first."""
        deadline = self._ticks() + self._patience
        pause = 0.05
        helped: set[str] = set()
        while True:
            try:
                return self.ledger.intend(intent, self.actor)
            except CapExceeded as refused:
                known = self.ledger.find(intent.order_key)
                if known is not None and known.step is Step.INTENDED:  # what an earlier try reserved is not needed any more
                    self._not_sent(known, refused)
                raise
            except WalletHeld as held:
                self._help(held, helped)
                if self._ticks() + pause > deadline:
                    raise
                self._sleep(pause)
                pause = min(pause * 1.6, 5.0)

    def _help(self, held: WalletHeld, helped: set[str]) -> None:
        """Settle a purchase that its own task left behind, so that one lost worker does not hold a wallet for ever.

        :param helped: what was looked at already; looking again and again would only burden the vendor.
        """
        blocker = self.ledger.find(held.blocker) if held.blocker else None
        if blocker is None or blocker.vendor != self.vendor.name or blocker.step is Step.QUARANTINED:
            if blocker is not None and blocker.step is Step.QUARANTINED:
                raise held
            return
        taken = blocker.step is Step.PLACED and blocker.kind == "extend"  # and does not show in the order yet
        if not (taken or blocker.step in UNRESOLVED) or self._may_be_running(blocker) or self._by_reference:
            return
        if blocker.order_key in helped:
            return
        helped.add(blocker.order_key)
        try:
            if taken:
                self.refresh(blocker)
            else:
                self._settle(blocker, None)
        except ProxyOrdersError as error:
            self._say(f"Tried to settle {blocker.order_key!r}, which holds the wallet: {error}")

    # -- sending ---------------------------------------------------------------------------------------------------

    def _send(self, purchase: PurchaseRequest, order: Purchase) -> Purchase:
        body = purchase.prepared.body
        claimed: Purchase | None = None
        try:
            evidence = self.http.run(self.vendor.snapshot(_kind(purchase.kind), body, purchase.target))
            self._same_currency(Money(Decimal(0), evidence.get("currency")))
            balance = self._balance_for_floor()
            if purchase.still_due is not None:  # it may switch the vendor's own renewal off, so what else can refuse comes first
                self.ledger.check(order, balance=balance, min_balance=self.account.caps.min_balance)
                if self._fence is not None:
                    self._fence(purchase.order_key)
                purchase.still_due(evidence)
            if purchase.order_key in self._unquoted:
                evidence = {**evidence, "quoted": False}
            if order.maybe_sent and self._by_reference:
                evidence = {**evidence, **order.evidence}  # what was read before the first, doubtful sending counts

            def permit(_request: Request) -> None:
                nonlocal claimed
                began = self._ticks(), self.ledger.clock()
                if self._fence is not None:
                    self._fence(purchase.order_key)
                claimed = self.ledger.claim(
                    order,
                    self.actor,
                    evidence=evidence,
                    sent_seconds=self._sending_time,
                    balance=balance,
                    min_balance=self.account.caps.min_balance,
                    alone=purchase.kind == "extend" or not self._by_reference,
                )
                self._sent[purchase.order_key] = claimed
                if self._held_up(*began) > self.account.timeout:
                    raise NeverSent("this worker was held up for too long before it could send; nothing was sent.")

            flow = self.vendor.create(body) if purchase.target is None else self.vendor.extend(purchase.target, body)
            seen = self.http.run(flow, permit)
        except Exception as error:
            if claimed is None:
                if isinstance(error, StaleClaim):  # another try was quicker; this one sent nothing
                    return self._overtaken(order)
                self._not_sent(order, error)
            try:
                return self._after_failure(purchase, claimed, error)
            except LedgerError as unwritten:
                why = f"{_line(error)} And the ledger could not be written: {_line(unwritten)}"
                raise self._unknown(claimed, why, retry="soon") from error
        assert claimed is not None, f"{self.vendor.name}: the flow ended without its spending request"
        return self._placed(claimed, seen)

    def _held_up(self, ticks: float, moment: datetime) -> float:
        """Seconds since then. The time of day counts as well, since a suspended machine's monotonic clock stands still."""
        return max(self._ticks() - ticks, (self.ledger.clock() - moment).total_seconds())

    @property
    def _sending_time(self) -> float:
        """How long one sending can take, in seconds, with a margin; after that others may look into it."""
        return 3 * self.account.timeout + 5

    @property
    def _by_reference(self) -> bool:
        return self.vendor.capabilities.evidence == "reference"

    def _balance_for_floor(self) -> Money | None:
        if self.account.caps.min_balance is None:
            return None
        available = self.http.run(self.vendor.balance()).available
        self._same_currency(available)
        return available

    def _not_sent(self, order: Purchase, error: Exception) -> NoReturn:
        """The try ended before its purchase left: give the reservation back and let the error tell."""
        with contextlib.suppress(LedgerError):  # another try took over, or the ledger is away: then the reservation stays
            self.ledger.release(order, f"not sent: {_line(error)}", self.actor)
        raise error

    def _overtaken(self, order: Purchase) -> Purchase:
        """Another try has intended the same purchase anew: it may finish, since two that overtake each other never send."""
        deadline = self._ticks() + self._patience
        while True:
            known = self._as_it_stands(order)
            if known.step is not Step.INTENDED or known.fence == order.fence or self._ticks() > deadline:
                return known
            self._sleep(2.0)

    def _as_it_stands(self, order: Purchase) -> Purchase:
        return self.ledger.find(order.order_key) or order

    def _after_failure(self, purchase: PurchaseRequest, claimed: Purchase, error: Exception) -> Purchase:
        if isinstance(error, PROOFS) and not claimed.maybe_sent:
            self._sent.pop(purchase.order_key, None)
        if isinstance(error, AuthenticationFailed) and self.vendor.renews_login and purchase.order_key not in self._renewed:
            # Refused before it was processed, so it may go out once more with a new login.
            self._renewed.add(purchase.order_key)
            return self.ledger.record(claimed, Step.INTENDED, "refused for its login (401): nothing was bought", self.actor)
        if isinstance(error, (NeverSent, ConfigError)):
            step = Step.UNKNOWN if claimed.maybe_sent else Step.INTENDED  # this sending proves nothing about the one before
            self.ledger.record(claimed, step, f"never left: {_line(error)}", self.actor)
            raise error
        if isinstance(error, PROOFS):
            if claimed.maybe_sent and self._by_reference and isinstance(error, VendorError):
                return self._refused_after_doubt(claimed, error)
            self.ledger.record(claimed, Step.REJECTED, f"refused: {_line(error)}", self.actor)
            raise error
        why = _line(error) if isinstance(error, ProxyOrdersError) else f"{type(error).__name__} while sending"
        self._say(f"Order key {claimed.order_key!r}: outcome unknown. {why}")
        return self.ledger.record(claimed, Step.UNKNOWN, why, self.actor)

    def _placed(self, claimed: Purchase, seen: VendorOrder) -> Purchase:
        price = seen.price or self._quote_of(claimed)
        step, why = self._step(claimed, seen), f"the vendor says {seen.vendor_status!r}"
        try:
            placed = self._written(lambda: self.ledger.record(claimed, step, why, self.actor, vendor_order=seen, price=price))
        except StaleClaim:
            placed = self._late_answer(claimed, seen, price)
        except LedgerError as error:
            raise OutcomeUnknown(
                f"{self.vendor.title} took {claimed.order_key!r} as order {seen.order_id}, but the ledger could not be written: "
                f"{_line(error)} The next try finds the order; nothing is sent again on a guess.",
                order_key=claimed.order_key,
                retry="soon",
            ) from error
        self._say(
            f"Order key {placed.order_key!r}: {'placed' if claimed.kind == 'create' else 'extended'} as order {placed.order_id}"
            f"{f', price {placed.price}' if placed.price else ''}{f', {seen.vendor_status}' if seen.vendor_status else ''}"
        )
        return self.alarm_on_overcharge(placed)

    def _quote_of(self, order: Purchase) -> Money | None:
        """What the vendor quoted for a purchase; None where it did not, and only the cap is known."""
        quoted = self.vendor.capabilities.quote and order.evidence.get("quoted", True)
        return order.reserved if quoted else None

    def _written(self, write: Callable[[], Purchase]) -> Purchase:
        """Write down what came of a purchase; a ledger that fails for a moment is tried again, since this must not be lost."""
        for pause in (0.2, 1.0, 5.0):
            try:
                return write()
            except StaleClaim:
                raise
            except LedgerError as error:
                self._say(f"The ledger cannot be written ({_line(error)}); trying again in {pause:g} s")
                self._sleep(pause)
        return write()

    def _late_answer(self, claimed: Purchase, seen: VendorOrder, price: Money | None) -> Purchase:
        """The answer came after others had begun to look for the purchase: a proof is never thrown away."""
        now = self.ledger.find(claimed.order_key)
        while now is not None and now.step in (Step.UNKNOWN, Step.QUARANTINED, Step.INTENDED, Step.REJECTED):
            step, why = self._step(now, seen), "a late answer: it landed"
            try:
                if now.step in (Step.INTENDED, Step.REJECTED):  # nobody may send it again
                    now = self.ledger.doubt(now, why, self.actor)
                return self.ledger.record(now, step, why, self.actor, vendor_order=seen, price=price)
            except StaleClaim:
                now = self.ledger.find(claimed.order_key)
        if now is not None and self._is(now, seen):
            return now
        why = f"a late answer says that {claimed.order_key!r} was taken as order {seen.order_id}, after it was given up"
        self.ledger.freeze(claimed.wallet, why)
        with contextlib.suppress(LedgerError):  # being sent again: should that be refused, the first one still waits for a person
            if now is not None and now.step is Step.SENT:
                self.ledger.record(now, Step.SENT, why, self.actor, maybe_sent=True)
        raise OutcomeUnknown(
            f"{why}. Wallet {claimed.wallet!r} is frozen; look into the vendor's dashboard: "
            f"proxyorders ledger show '{claimed.order_key}'",
            order_key=claimed.order_key,
        )

    def settle(self, order: Purchase) -> Purchase:
        """Find out what became of a purchase whose outcome is unknown, for whoever is not its own task; never sends.

        :returns: the order, adopted or proven absent (INTENDED: its own task may send it again).
        :raises OutcomeUnknown: it cannot be told yet, or only a person can.
        """
        finding = self._reported(order) if self._by_reference and not self._may_be_running(order) else None
        if finding is not None:
            return self._adopt(order, finding)
        if self._by_reference:
            raise self._unknown(order, "only its own task can ask again with its reference.")
        return self._settle(order, None)

    def _reported(self, order: Purchase) -> Look | None:
        """The order that a verified webhook names for a purchase whose answer was lost, read at the vendor before it counts.

        A reference that a user chose may be that of an earlier purchase, too: what that one owns is not this one's.
        """
        reference = self.vendor.reference_in(order.request)
        for order_id in self.ledger.reported(order.wallet, reference) if reference else ():
            owners = self.ledger.by_order_id(order.wallet, order_id)
            if any(owner.kind == "create" and owner.order_key != order.order_key for owner in owners):
                continue
            try:
                seen = self.http.run(self.vendor.get(order_id))
            except OrderNotFound:
                continue
            if seen.traits.get("reference") == reference:  # else it is not this purchase's, whatever the delivery said
                return Look("found", f"the vendor's webhook names order {order_id} for reference {reference}", seen)
        return None

    def _is(self, known: Purchase, seen: VendorOrder) -> bool:
        """Whether a purchase is known to be this order, perhaps by what else its evidence called it."""
        if known.order_id is None or known.order_id == seen.order_id:
            return known.order_id is not None
        try:
            return known.order_id in self.vendor.names(self.http.run(self.vendor.get(seen.order_id)))
        except VendorError:
            return False

    # -- unknown outcomes ------------------------------------------------------------------------------------------

    def _settle(self, order: Purchase, purchase: PurchaseRequest | None) -> Purchase:
        """Find out what became of a purchase whose answer was lost; reads only.

        :param purchase: the purchase as its own task asks for it, None where another task helps.
        :returns: the order adopted, or INTENDED where it is proven that nothing was bought.
        """
        if self._by_reference and order.step is not Step.SENT:
            finding = self._reported(order)
            if finding is not None:
                return self._adopt(order, finding)
        if order.step is Step.QUARANTINED:
            raise self._quarantined(order)
        while self._may_be_running(order):
            assert order.sent_until is not None
            left = (order.sent_until - self.ledger.clock()).total_seconds()
            if purchase is None or left > self._patience:
                raise WalletHeld(
                    f"another try is sending {order.order_key!r} right now, or was when it was last seen; it is not sent twice. "
                    "This try stops, the next one looks again.",
                    blocker=order.order_key,
                )
            self._say(f"Order key {order.order_key!r}: another try sent it and has not said what came of it; waiting")
            self._sleep(min(left, 2.0) + 0.01)
            order = self.ledger.find(order.order_key) or order
            if order.step not in UNRESOLVED:
                return order
            if order.step is Step.QUARANTINED:
                raise self._quarantined(order)
        if order.step is Step.SENT:
            order = self.ledger.record(order, Step.UNKNOWN, "its worker is gone and left no answer", self.actor)
        if self._by_reference and purchase is not None:
            return self._sendable_again(order)
        while True:
            began = self.ledger.clock()
            finding = self._look(order)
            if finding.verdict == "found" and finding.order is not None:
                return self._adopt(order, finding)
            before = order.evidence.get("looks", [])
            if finding.verdict == "absent" and any(look["verdict"] == "inconclusive" for look in before):
                # Something was there that is gone again, for example money that was paid back: that proves nothing.
                finding = Look("inconclusive", f"{finding.seen}; an earlier look saw more than that")
            looks = [*before, self._note(finding)]
            order = self.ledger.record(
                order, Step.UNKNOWN, f"{finding.verdict}: {finding.seen}", self.actor, evidence={**order.evidence, "looks": looks}
            )
            first = _run_of(looks, finding.verdict)
            waited = (began - first).total_seconds()  # between the looks: to write one down can take any time
            blind = finding.verdict == "not visible"
            left = self.settle_time * (BLIND_PATIENCE if blind else 1) + (self._sending_time if blind else 0) - waited
            if left <= 0 and len(looks) > 1:
                if finding.verdict == "absent":
                    self._say(f"Order key {order.order_key!r}: proven absent ({finding.seen}); it may be sent again")
                    why = f"proven absent: {finding.seen}"
                    self._sent.pop(order.order_key, None)
                    return self.ledger.record(order, Step.INTENDED, why, self.actor, maybe_sent=False)
                order = self.ledger.record(order, Step.QUARANTINED, f"evidence cannot decide: {finding.seen}", self.actor)
                raise self._quarantined(order)
            if left > 120:
                raise self._unknown(order, f"{finding.verdict} at the first look: {finding.seen}", retry="later")
            pause = max(0.0, min(left, self.settle_time))
            self._say(f"Order key {order.order_key!r}: {finding.verdict} so far ({finding.seen}); looking again in {pause:.0f} s")
            self._sleep(pause)

    def _sendable_again(self, order: Purchase) -> Purchase:
        """A vendor that takes one order per reference may be sent the same purchase again: at worst it says "I have that"."""
        if order.order_key in self._resent:
            raise self._unknown(order, "the repeat with the same reference got no usable answer either.")
        self._resent.add(order.order_key)
        self._sleep(min(self.settle_time, 2.0))
        why = "sent again with the same reference, of which the vendor takes one order only"
        return self.ledger.record(order, Step.INTENDED, why, self.actor)

    def _look(self, order: Purchase) -> Look:
        try:
            for _ in range(3):
                others = self._others(order)
                finding = self.http.run(self._resolving(order, others))
                if finding.verdict == "found" or self._others(order) == others:
                    break  # else what others spent during this look may be what it saw
            return finding
        except VendorError as error:
            # A failed read proves nothing: the purchase stays unknown and a later try looks again.
            raise self._unknown(order, f"the vendor could not be asked: {_line(error)}", retry="later") from None

    def _others(self, order: Purchase) -> dict[str, Any]:
        """What other purchases have to do with the wallet's balance; see :meth:`Vendor.resolve`."""
        balance_checkpoints = [
            {
                "balance": before.get("balance"),
                "currency": before.get("currency"),
                "charged": [{"price": f"{one.price.amount:f}", "body": one.request} for one in charged if one.price is not None],
            }
            for before, charged in self.ledger.balance_checkpoints(order)
        ]
        return {"others": f"{self.ledger.spent_since_intent(order):f}", "balance_checkpoints": balance_checkpoints}

    def _resolving(self, order: Purchase, others: Mapping[str, Any]) -> Flow[Look]:
        sent_at = order.sent_at or order.created_at
        owned = self.ledger.owned(order.wallet, since=sent_at - timedelta(days=2))
        evidence = {**order.evidence, **others, "maybe_refunded": self.ledger.maybe_refunded(order)}
        return self.vendor.resolve(
            _kind(order.kind), order.request, order.target, evidence, sent_at, owned - {order.order_id or ""}
        )

    def _note(self, finding: Look) -> dict[str, str]:
        return {"at": self.ledger.clock().isoformat(), "verdict": finding.verdict, "seen": finding.seen}

    def _adopt(self, order: Purchase, finding: Look) -> Purchase:
        assert finding.order is not None
        seen = finding.order
        price = seen.price or self._quote_of(order)
        adopted = self.ledger.record(
            order, self._step(order, seen), f"adopted: {finding.seen}", self.actor, vendor_order=seen, price=price
        )
        self._say(f"Order key {order.order_key!r}: its answer was lost, but it landed: order {adopted.order_id}. {finding.seen}")
        return self.alarm_on_overcharge(adopted)

    def _refused_after_doubt(self, claimed: Purchase, error: VendorError) -> Purchase:
        """A refusal of the repeat: it can mean "I have that reference already", so alone it proves nothing."""
        why = f"the repeat was refused: {_line(error)}"
        if not self.vendor.is_duplicate(error):  # refused before the reference was looked at; a later try asks again
            raise self._unknown(self.ledger.record(claimed, Step.UNKNOWN, why, self.actor), why) from None
        try:
            finding = self._look(claimed)  # while it is SENT, so that no other try sends it once more meanwhile
        finally:
            unknown = self.ledger.record(claimed, Step.UNKNOWN, why, self.actor)
        if finding.verdict == "found" and finding.order is not None:
            return self._adopt(unknown, finding)
        reported = self._reported(unknown)
        if reported is not None:
            return self._adopt(unknown, reported)
        now = self.ledger.clock()
        since = unknown.evidence.get("refused_since") or now.isoformat()  # every repeat is refused, the first one counts
        if self.account.settings.get("webhook_secret") and now - datetime.fromisoformat(since) < WEBHOOK_PATIENCE:
            evidence = {**unknown.evidence, "refused_since": since}
            unknown = self.ledger.record(unknown, Step.UNKNOWN, why, self.actor, evidence=evidence)
            raise self._unknown(unknown, f"{why} The vendor has it, and its webhook will tell the order id.") from None
        why = f"the vendor has its reference but does not tell its order id; {finding.seen}"
        looks = [*unknown.evidence.get("looks", []), {**self._note(finding), "seen": why}]
        evidence = {**unknown.evidence, "looks": looks}
        held = self.ledger.record(unknown, Step.QUARANTINED, why, self.actor, evidence=evidence)
        raise self._quarantined(held)

    def _may_be_running(self, order: Purchase) -> bool:
        return order.step is Step.SENT and order.sent_until is not None and order.sent_until > self.ledger.clock()

    def _quarantined(self, order: Purchase) -> Quarantined:
        looks = order.evidence.get("looks") or []
        seen = looks[-1]["seen"] if looks else order.reason or "see the history"
        reference = order.request.get("merchant_order_id")
        return Quarantined(
            f"A person has to decide about {order.order_key!r} at {self.vendor.title}: it may have been taken and charged "
            f"(up to {order.reserved}). Asked for: {dump_json(order.request)}. Seen: {seen}. "
            f"Look in the vendor's dashboard{f' for reference {reference}' if reference else ''}"
            f"{f', sent at {order.sent_at:%Y-%m-%d %H:%M:%S} UTC' if order.sent_at else ''}. "
            f"If it is there: proxyorders ledger resolve '{order.order_key}' --adopt ORDER_ID. "
            f"If not: proxyorders ledger resolve '{order.order_key}' --absent. Then clear the task.",
            order_key=order.order_key,
        )


def _run_of(looks: list[Mapping[str, str]], verdict: str) -> datetime:
    """When the unbroken run of this verdict at the end of the looks began."""
    first = looks[-1]["at"]
    for look in reversed(looks):
        if look["verdict"] != verdict:
            break
        first = look["at"]
    return datetime.fromisoformat(first)


def _kind(kind: str) -> Any:
    return kind


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
