"""Checks a connection part by part, and gives the consequence and advice for each broken part.

Three rules. A check only reads. A broken part leaves the other checks standing; its dependents are skipped. A check claims only
facts a read can prove, so the right to place orders stays unproven.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from decimal import Decimal
from typing import Literal, TypeVar

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    ConfigError,
    OrderingNotPermitted,
    ProxyOrdersError,
    UnsupportedOperation,
)
from airflow_provider_proxyorders.domain.exact_json import load_json
from airflow_provider_proxyorders.domain.model import Money, Step, VendorOrder
from airflow_provider_proxyorders.hooks.signing import signed_sample
from airflow_provider_proxyorders.ledger import Ledger, facts, open_ledger
from airflow_provider_proxyorders.ledger.accounts import Accounts
from airflow_provider_proxyorders.ledger.inspect import examine, mode_for_others
from airflow_provider_proxyorders.transport.flow import run
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

T = TypeVar("T")
#: ``note``: it works or is optional, and you should know something about it; ``skipped``: another broken part hides it.
State = Literal["ok", "note", "broken", "skipped"]
#: Seconds between our clock and the vendor's: worth a note from the first on; signed webhooks are refused from the second on.
CLOCK_NOTE, CLOCK_BROKEN = 30.0, 300.0


@dataclass(frozen=True)
class Check:
    """The result for one part.

    :param text: the finding and its consequence.
    :param advice: what to do about it; empty for a part in order.
    """

    name: str
    state: State
    text: str
    advice: str = ""


class Checkup:
    """Checks one account.

    :param clock: our time in unix seconds; tests inject one.
    """

    def __init__(self, vendor: Vendor, http: Http, clock: Callable[[], float] = time.time):
        self.vendor, self.http, self.clock = vendor, http, clock
        self.account = vendor.account
        #: seconds by which the vendor's clock is ahead of ours, one for each of its answers
        self.ahead: list[float] = []
        self._balance: Money | None = None
        #: ids of the vendor's orders, once they were read
        self.order_ids: list[str] = []

    def checks(self) -> list[Check]:
        """Every check except the ledger's."""
        access = self._access()
        return [*access, self._balance_check(), self._list(), self._webhook(), self._caps(), self._clock()]

    # -- the vendor ------------------------------------------------------------------------------------------------

    def _access(self) -> list[Check]:
        """Key and permission: read the balance, and run the vendor's own test of a key."""
        title, conn_id = self.vendor.title, self.account.conn_id
        key_advice = f"Put a valid {self.vendor.secret_label} into the password of connection {conn_id!r}."
        try:
            self._balance = self._run(self.vendor.balance()).available
            access = self._run(self.vendor.check_access())
        except AuthenticationFailed as error:
            return [
                Check("auth", "broken", f"{title} refuses the key, so every call fails: {error}", key_advice),
                Check("ordering", "skipped", "unknown without a valid key"),
            ]
        except OrderingNotPermitted as error:
            return [
                Check("auth", "ok", f"{title} accepts the key"),
                Check(
                    "ordering",
                    "broken",
                    f"the key lacks the permission for the ordering calls, so buying and watching fail: {error}",
                    f"Ask {title} to grant the ordering API to this account; {self.vendor.docs_url}",
                ),
            ]
        except ProxyOrdersError as error:
            why = f"{title} at {self.account.base_url} cannot be reached, so the key is unchecked: {error}"
            return [
                Check("auth", "broken", why, "Check host, network and the vendor's status; then run this again."),
                Check("ordering", "skipped", "unknown without an answer"),
            ]
        return [
            Check("auth", "ok", f"{title} accepts the key"),
            Check("ordering", "ok", f"{access}. A read cannot prove that the key may place orders"),
        ]

    def _balance_check(self) -> Check:
        if self._balance is None:
            return Check("balance", "skipped", "unreadable, see above")
        balance, account = self._balance, self.account
        if not balance.comparable(account.currency):
            return Check(
                "balance",
                "broken",
                f"the wallet holds {balance}, the connection says {account.currency}: the limits count in the connection's "
                "currency only, so purchases are refused",
                f"Set 'currency' of connection {account.conn_id!r} to {balance.currency}, and its limits to match.",
            )
        text = f"wallet {account.wallet} holds {Money(balance.amount, balance.currency or account.currency)}"
        if not (balance.currency or account.currency):
            return Check("balance", "note", f"{text} of an unknown currency", "Name it in the connection: 'currency', e.g. USD.")
        keep = account.caps.min_balance or Decimal(0)
        if balance.amount <= keep:
            why = (
                f"{text}; {Money(keep)} must remain (min_balance), so every purchase is refused"
                if keep
                else f"{text}: it is empty"
            )
            return Check("balance", "note", why, "Top it up.")
        return Check("balance", "ok", text)

    def _list(self) -> Check:
        if self._balance is None:
            return Check("list", "skipped", "unreadable, see above")
        order_ids: list[str] = []
        odd: list[str] = []

        def take(orders: Sequence[VendorOrder]) -> None:
            for order in orders:
                (odd if order.unreadable else order_ids).append(order.order_id)

        try:
            is_listed = self._run(self.vendor.inventory_parts(take))
        except UnsupportedOperation as error:
            return Check("list", "note", str(error))
        except ProxyOrdersError as error:
            return Check(
                "list",
                "broken",
                f"the account's orders are unreadable, so a purchase with a lost answer may need a person: {error}",
                "Check that the key may read orders, and the vendor's status.",
            )
        if not is_listed:
            return Check("list", "ok", f"{self.vendor.title} is without a list; the ledger's orders are read one by one")
        self.order_ids = order_ids
        return Check("list", "ok", f"{len(order_ids) + len(odd)} orders readable")

    # -- the connection --------------------------------------------------------------------------------------------

    def _webhook(self) -> Check:
        if self.vendor.webhook is None:
            return Check("webhook", "ok", f"{self.vendor.title} lacks webhooks; orders are polled")
        if self.account.takes_webhooks:
            place = f"webhooks are received at .../proxyorders/webhooks/{self.account.conn_id}"
            try:
                signed_sample(self.vendor, self.clock)
            except ConfigError as error:
                advice = "Correct webhook_secret and webhook_scheme in the extra; see docs/webhooks.md."
                return Check("webhook", "broken", f"{error}, so {self.vendor.title}'s webhooks are refused, too", advice)
            return Check("webhook", "ok", f"a secret is set, and a delivery signed with it is accepted; {place}")
        return Check(
            "webhook",
            "note",
            "webhook_secret is missing, so every webhook is refused: orders are polled; ProxyOrderWebhookSensor and "
            "OrderEventTrigger need it",
            "Put the vendor's signing secret into the extra as 'webhook_secret'; see docs/webhooks.md.",
        )

    def _caps(self) -> Check:
        caps = self.account.caps
        text = ", ".join(f"{name} {limit}" for name, limit in caps.as_text().items())
        unnamed = bool(text) and not self.account.currency
        if unnamed:
            text += " (the connection names no currency: they are compared with the vendor's amounts as plain numbers)"
        if caps.max_order_price is None:
            return Check(
                "caps",
                "note",
                f"{text or 'no limits'}; without max_order_price only tasks with a max_price of their own can buy",
                """Add to the extra, for example: "max_order_price": "50.00", "daily_limit": "200.00".""",
            )
        if caps.daily_limit is None and caps.monthly_limit is None:
            advice = """Add to the extra, for example: "daily_limit": "200.00"."""
            return Check("caps", "note", f"{text}; the number of purchases is unlimited", advice)
        if unnamed:
            advice = """Name the currency of the limits in the extra, for example: "currency": "USD"."""
            return Check("caps", "note", text, advice)
        return Check("caps", "ok", text)

    def _clock(self) -> Check:
        if not self.ahead:
            return Check("clock", "skipped", f"{self.vendor.title}'s answers are without a time")
        ahead = sorted(self.ahead, key=abs)[0]  # the answer with the least delay is the most exact
        if abs(ahead) < CLOCK_NOTE:
            return Check("clock", "ok", f"within {max(1.0, abs(ahead)):.0f} s of the vendor's clock")
        text = f"this host is {abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} {self.vendor.title}"
        advice = "Set the clock of this host and keep it with NTP; then check the other hosts."
        if abs(ahead) < CLOCK_BROKEN:
            return Check("clock", "note", f"{text}; expiries and deadlines are judged by this clock", advice)
        return Check("clock", "broken", f"{text}: expiries are misjudged, and signed webhooks are refused", advice)

    def _run(self, flow: Flow[T]) -> T:
        return run(flow, self._send)  # without a permit, so a purchase is impossible

    def _send(self, request: Request, _: object = None) -> Response:
        response = self.http.send(request)
        self._note_time(response)
        return response

    def _note_time(self, response: Response) -> None:
        theirs = response.date
        if theirs is None:
            return
        self.ahead.append(theirs.timestamp() + 0.5 - self.clock())  # the header has whole seconds


# ---------------------------------------------------------------------------------------------- the ledger


def check_ledger(url: str, wallet: str | None, require_shared: Callable[[str], None], may_name: Callable[[str], bool]) -> Check:
    """Check the ledger: shared, reachable, writable, of our version, with the wallet free to buy.

    :param wallet: ``None`` while the connection is broken.
    :param require_shared: raises for an address beyond the reach of some workers of this Airflow.
    :param may_name: whether the reader may see this connection.
    """
    advice = "Until then nothing is bought. Set [proxyorders] ledger_url to a database that every worker can reach and write."
    try:
        require_shared(url)
        condition = examine(url)
        if condition.age == "newer":
            return Check(
                "ledger",
                "broken",
                f"{condition.place} has schema version {condition.version}, this package knows versions up to {condition.needed}",
                "Install the newer package on every host.",
            )
        if condition.age in ("none", "empty"):
            return Check(
                "ledger",
                "note",
                f"{condition.place} is reachable, writable and still unused",
                "The first use creates the tables.",
            )
        if condition.age == "older":
            why = f"{condition.place} has schema version {condition.version}; its next use upgrades it to {condition.needed}"
            return Check("ledger", "note", why, "Install this package on every host first.")
        return _check_mode(_in_use(url, condition.place, wallet, may_name), url)
    except ProxyOrdersError as error:
        return Check("ledger", "broken", str(error), advice)


def _check_mode(check: Check, url: str) -> Check:
    """The check of a ledger, with a note if others may read its file."""
    mode = mode_for_others(url)
    if not mode:
        return check
    text = f"{check.text}; others on this machine may read its file (mode {mode}): orders, prices and decisions"
    advice = f"{check.advice} Give it, its -wal and its -shm the mode 0600.".strip()
    return replace(check, state="note" if check.state == "ok" else check.state, text=text, advice=advice)


def _in_use(url: str, place: str, wallet: str | None, may_name: Callable[[str], bool]) -> Check:
    ledger: Ledger = open_ledger(url)
    text = f"{place}: reachable, writable, up to date, shared by this Airflow's executor; {_id_of(ledger)}; {_backup_of(ledger)}"
    if wallet is None:
        return _without_trouble(ledger, text)
    sharing = Accounts(ledger.engine).sharing(wallet)
    if len(sharing) > 1:
        named = [name for name in sharing if may_name(name)]
        others = [f"{len(sharing) - len(named)} more"] if len(named) < len(sharing) else []
        names = ", ".join([*named, *others])
        text = f"{text}; wallet {wallet} is one for the connections {names}: their limits and turns count together"
    frozen = ledger.freeze_reason(wallet)
    if frozen:
        advice = f"When the cause is clear: proxyorders ledger unfreeze {wallet}"
        return Check("ledger", "broken", f"{text}; but wallet {wallet} is frozen, so every purchase is refused: {frozen}", advice)
    unresolved = ledger.unresolved(wallet=wallet, limit=100)
    if unresolved:
        many = f"{len(unresolved)}{' or more' if len(unresolved) == 100 else ''}"
        text = f"{text}; {many} purchases of wallet {wallet} are unresolved"
        waiting = [purchase for purchase in unresolved if purchase.step is Step.QUARANTINED]
        if waiting:
            such = next((f", such as {purchase.order_key!r}" for purchase in waiting if may_name(purchase.conn_id)), "")
            text = f"{text}; {len(waiting)} of them wait for a person's decision{such}"
        advice = "Decide, see: proxyorders ledger show ORDER_KEY" if waiting else "See: proxyorders ledger list --unresolved"
        return Check("ledger", "note", text, advice)
    return _without_trouble(ledger, text)


def _without_trouble(ledger: Ledger, text: str) -> Check:
    """A note if the ledger holds purchases, and would forget them with its file."""
    if ledger.engine.dialect.name == "sqlite" and facts.last_backup(ledger).get() is None and ledger.purchases(limit=1):
        return Check("ledger", "note", text, "Back it up, again and again: proxyorders ledger backup FILE")
    return Check("ledger", "ok", text)


def _id_of(ledger: Ledger) -> str:
    """The identity of the ledger, as half a sentence. It decides nothing that a purchase decides."""
    return f"ledger id {ledger.identity}, the same on every host" if facts.salt(ledger).get() else "its first use makes its id"


def _backup_of(ledger: Ledger) -> str:
    """The newest backup, as half a sentence."""
    if ledger.engine.dialect.name != "sqlite":
        return "back it up with pg_dump"
    noted = facts.last_backup(ledger).get()
    if noted is None:
        return "never backed up by: proxyorders ledger backup"
    backup = load_json(noted)
    days = (ledger.clock() - datetime.fromisoformat(backup["at"])).days
    return f"last backup {days} days ago, to {backup['file']}"


def now_utc(clock: Callable[[], float]) -> str:
    """The time of a report, ISO text in UTC."""
    return datetime.fromtimestamp(clock(), timezone.utc).isoformat(timespec="seconds")
