"""Looks a connection over, and says of each part whether it works, what it means where not, and how to mend it.

Three rules: it only reads; one part that is broken hides no other, and what cannot be told because of it says so; and it claims
no more than a read can show: that a key may really order shows only when it orders.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Literal, TypeVar

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    OrderingNotPermitted,
    ProxyOrdersError,
    UnsupportedOperation,
)
from airflow_provider_proxyorders.domain.model import Money
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.transport.flow import run
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

T = TypeVar("T")
#: ``note``: it works, or is not needed, and somebody should know something about it.
State = Literal["ok", "note", "broken", "skipped"]
#: Seconds between our clock and the vendor's from which on somebody should know, and from which on signed webhooks are refused.
ODD, WRONG = 30.0, 300.0


@dataclass(frozen=True)
class Check:
    """One part.

    :param text: what was found, and what it means.
    :param advice: what to do about it.
    """

    name: str
    state: State
    text: str
    advice: str = ""


class Checkup:
    """Looks one account over.

    :param clock: our time in unix seconds; tests inject one.
    """

    def __init__(self, vendor: Vendor, http: Http, clock: Callable[[], float] = time.time):
        self.vendor, self.http, self.clock = vendor, http, clock
        self.account = vendor.account
        #: how far the vendor's clock is ahead of ours, in seconds, by each of its answers
        self.ahead: list[float] = []
        self._balance: Money | None = None

    def checks(self) -> list[Check]:
        """Everything but the ledger."""
        access = self._access()
        return [*access, self._balance_check(), self._list(), self._webhook(), self._caps(), self._clock()]

    # -- the vendor ------------------------------------------------------------------------------------------------

    def _access(self) -> list[Check]:
        """Key and permission, by reading the balance and whatever else the vendor's own test of a key reads."""
        title, conn_id = self.vendor.title, self.account.conn_id
        mend_key = f"Put a valid {self.vendor.secret_label} into the password of connection {conn_id!r}."
        try:
            self._balance = self._run(self.vendor.balance()).available
            said = self._run(self.vendor.check_access())
        except AuthenticationFailed as error:
            return [
                Check("auth", "broken", f"{title} does not accept the key, so nothing works: {error}", mend_key),
                Check("ordering", "skipped", "not known without a good key"),
            ]
        except OrderingNotPermitted as error:
            return [
                Check("auth", "ok", f"{title} knows the key"),
                Check(
                    "ordering",
                    "broken",
                    f"the key may not use the ordering calls, so nothing can be bought or watched: {error}",
                    f"Ask {title} to grant the ordering API to this account; {self.vendor.docs_url}",
                ),
            ]
        except ProxyOrdersError as error:
            why = f"{title} at {self.account.base_url} cannot be asked, so the key is not known to be good: {error}"
            return [
                Check("auth", "broken", why, "Check host, network and the vendor's status; then run this again."),
                Check("ordering", "skipped", "not known without an answer"),
            ]
        return [
            Check("auth", "ok", f"{title} accepts the key"),
            Check("ordering", "ok", f"{said}. Whether it may also place orders shows only when one is placed"),
        ]

    def _balance_check(self) -> Check:
        if self._balance is None:
            return Check("balance", "skipped", "cannot be read, see above")
        balance, account = self._balance, self.account
        if balance.currency and account.currency and balance.currency != account.currency:
            return Check(
                "balance",
                "broken",
                f"the wallet holds {balance}, the connection says {account.currency}: limits are compared with nothing else, so "
                "purchases are refused",
                f"Set 'currency' of connection {account.conn_id!r} to {balance.currency}, and its limits to match.",
            )
        text = f"wallet {account.wallet} holds {Money(balance.amount, balance.currency or account.currency)}"
        if not (balance.currency or account.currency):
            return Check("balance", "note", f"{text} of an unknown currency", "Name it in the connection: 'currency', e.g. USD.")
        keep = account.caps.min_balance or Decimal(0)
        if balance.amount <= keep:
            why = f"{text}; {keep:f} must remain (min_balance), so nothing can be bought" if keep else f"{text}: it is empty"
            return Check("balance", "note", why, "Top it up.")
        return Check("balance", "ok", text)

    def _list(self) -> Check:
        if self._balance is None:
            return Check("list", "skipped", "cannot be read, see above")
        try:
            held = self._run(self.vendor.inventory())
        except UnsupportedOperation as error:
            return Check("list", "note", str(error))
        except ProxyOrdersError as error:
            return Check(
                "list",
                "broken",
                f"what the account holds cannot be read, so a purchase whose answer is lost may need a person: {error}",
                "Check that the key may read orders, and the vendor's status.",
            )
        if held is None:
            return Check("list", "ok", f"{self.vendor.title} offers no list; what the ledger knows is looked at one by one")
        return Check("list", "ok", f"{len(held)} orders readable")

    # -- the connection --------------------------------------------------------------------------------------------

    def _webhook(self) -> Check:
        if self.vendor.webhook is None:
            return Check("webhook", "ok", f"{self.vendor.title} sends none; orders are watched by polling")
        if self.account.settings.get("webhook_secret"):
            return Check(
                "webhook", "ok", f"a secret is set; deliveries are taken at .../proxyorders/webhooks/{self.account.conn_id}"
            )
        return Check(
            "webhook",
            "note",
            "no webhook_secret, so no delivery is believed: orders are watched by polling, ProxyOrderWebhookSensor and "
            "OrderEventTrigger do not work",
            "Put the secret that the vendor signs with into the extra as 'webhook_secret'; see docs/webhooks.md.",
        )

    def _caps(self) -> Check:
        caps = self.account.caps
        limits = {
            "max_order_price": caps.max_order_price,
            "daily_limit": caps.daily_limit,
            "monthly_limit": caps.monthly_limit,
            "min_balance": caps.min_balance,
        }
        known = ", ".join(f"{name} {limit:f}" for name, limit in limits.items() if limit is not None)
        if caps.max_order_price is None:
            return Check(
                "caps",
                "note",
                f"{known or 'no limits'}; without max_order_price only tasks with a max_price of their own can buy",
                """Add to the extra, for example: "max_order_price": "50.00", "daily_limit": "200.00".""",
            )
        if caps.daily_limit is None and caps.monthly_limit is None:
            advice = """Add to the extra, for example: "daily_limit": "200.00"."""
            return Check("caps", "note", f"{known}; how often it may be spent is not limited", advice)
        return Check("caps", "ok", known)

    def _clock(self) -> Check:
        if not self.ahead:
            return Check("clock", "skipped", f"{self.vendor.title} told no time")
        ahead = sorted(self.ahead, key=abs)[0]  # the least delayed answer tells best
        if abs(ahead) < ODD:
            return Check("clock", "ok", f"within {max(1.0, abs(ahead)):.0f} s of the vendor's")
        text = f"this host is {abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} {self.vendor.title}"
        advice = "Set the clock of this host, and let it be kept by NTP; then look at the other hosts."
        if abs(ahead) < WRONG:
            return Check("clock", "note", f"{text}; expiries and deadlines are judged by this clock", advice)
        return Check("clock", "broken", f"{text}: expiries are misjudged, and signed webhooks are refused", advice)

    def _run(self, flow: Flow[T]) -> T:
        return run(flow, self._send)  # without a permit, so nothing can be bought

    def _send(self, request: Request) -> Response:
        response = self.http.send(request)
        self._note_time(response)
        return response

    def _note_time(self, response: Response) -> None:
        try:
            theirs = parsedate_to_datetime(response.headers.get("date", ""))
        except (TypeError, ValueError):
            return
        if theirs.tzinfo is None:
            theirs = theirs.replace(tzinfo=timezone.utc)
        self.ahead.append(theirs.timestamp() + 0.5 - self.clock())  # it tells whole seconds


# ---------------------------------------------------------------------------------------------- the ledger


def check_ledger(url: str, wallet: str | None, shared: Callable[[str], None]) -> Check:
    """The ledger: shared, reachable, writable, of our version, and nothing in it that holds the wallet back.

    :param wallet: None where it is not known.
    :param shared: raises where the workers of this Airflow would not share a ledger at this address.
    """
    from airflow_provider_proxyorders.ledger.inspect import examine

    advice = "Until then nothing is bought. Set [proxyorders] ledger_url to a database that every worker reaches and may write."
    try:
        shared(url)
        found = examine(url)
        if found.age == "newer":
            return Check(
                "ledger",
                "broken",
                f"{found.place} has schema version {found.version}, this package knows {found.needed} at most",
                "Install the newer package on every host.",
            )
        if found.age in ("none", "empty"):
            return Check(
                "ledger", "note", f"{found.place} is reachable and writable, and not in use yet", "It is made at first use."
            )
        if found.age == "older":
            why = f"{found.place} has schema version {found.version}; it is upgraded to {found.needed} at its next use"
            return Check("ledger", "note", why, "Install the same package on every host before that.")
        return _in_use(url, found.place, wallet)
    except ProxyOrdersError as error:
        return Check("ledger", "broken", str(error), advice)


def _in_use(url: str, place: str, wallet: str | None) -> Check:
    from airflow_provider_proxyorders.ledger import open_ledger

    ledger: Ledger = open_ledger(url)
    text = f"{place}: reachable, writable, up to date, shared by this Airflow's executor"
    if wallet is None:
        return Check("ledger", "ok", text)
    frozen = ledger.freeze_reason(wallet)
    if frozen:
        advice = f"When the cause is clear: proxyorders ledger unfreeze {wallet}"
        return Check("ledger", "broken", f"{text}; but wallet {wallet} is frozen, so nothing is bought: {frozen}", advice)
    maybe_refunded = ledger.unresolved(wallet=wallet, limit=100)
    if maybe_refunded:
        many = f"{len(maybe_refunded)}{' or more' if len(maybe_refunded) == 100 else ''}"
        text = f"{text}; the outcome of {many} purchases of wallet {wallet} is not known yet"
        return Check("ledger", "note", text, "See: proxyorders ledger list --open")
    return Check("ledger", "ok", text)


def now_utc(clock: Callable[[], float]) -> str:
    """For the report."""
    return datetime.fromtimestamp(clock(), timezone.utc).isoformat(timespec="seconds")
