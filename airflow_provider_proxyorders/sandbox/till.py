"""A pretended vendor's till: wallets, and every movement of their money with the moment at which it happened.

One rule: a balance changes here alone, together with its entry in the book. So a read can show an earlier balance, as a vendor's
lagging read does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from airflow_provider_proxyorders.sandbox.charges import ChargeBook, Entry, Kind, remembered
from airflow_provider_proxyorders.sandbox.clock import Clock

Permission = Literal["none", "read", "write"]

#: What every wallet holds at the start, in major units.
START_BALANCE = Decimal("1000.00")


@dataclass
class Wallet:
    """One prepaid account: a token, what it may do, and its money."""

    name: str
    token: str
    balance: Decimal = START_BALANCE
    may_read: bool = True
    may_order: bool = True

    def permit(self, permission: Permission) -> None:
        """:raises ValueError: for a word that is none of the three."""
        if permission not in ("none", "read", "write"):
            raise ValueError(f"permission is none, read or write; got {permission!r}")
        self.may_read = permission != "none"
        self.may_order = permission == "write"


class Till:
    """The money of one vendor's wallets.

    :param vendor: the vendor's name in the book.
    """

    def __init__(self, vendor: str, clock: Clock, book: ChargeBook):
        self.vendor, self.clock, self.book = vendor, clock, book
        #: unix seconds at which each order was bought
        self._bought_at: dict[str, float] = {}
        #: unix seconds, wallet and amount of each change of a balance by an order
        self._moves: list[tuple[float, Wallet, Decimal]] = []

    def charge(
        self,
        wallet: Wallet,
        order_id: str,
        kind: Kind,
        amount: Decimal,
        request: Mapping[str, Any] | None = None,
        reference: str | None = None,
        paid_by: str = "balance",
    ) -> None:
        """Take money and write it down; the caller made sure that there is enough.

        :param amount: in major units.
        """
        if paid_by == "balance":
            self._move(wallet, -amount)
        if kind == "create":
            self._bought_at[order_id] = self.clock.timestamp()
        self._write(wallet, order_id, kind, amount, request, reference, paid_by)

    def pay_back(self, wallet: Wallet, order_id: str, amount: Decimal, reference: str | None = None) -> None:
        """Give money back and write it down; an amount of zero changes nothing."""
        if amount > 0:
            self._move(wallet, amount)
            self._write(wallet, order_id, "refund", amount, None, reference, "balance")

    def bought_at(self, order_id: str) -> float:
        """Unix seconds; 0 for an order from before the start."""
        return self._bought_at.get(order_id, 0.0)

    def balance(self, wallet: Wallet, lag: float) -> Decimal:
        """The balance as it was ``lag`` seconds ago."""
        if not lag:
            return wallet.balance
        since = self.clock.timestamp() - lag
        later = (amount for at, whose, amount in reversed(self._moves) if whose is wallet and at > since)
        return wallet.balance - sum(later, Decimal(0))

    def _move(self, wallet: Wallet, amount: Decimal) -> None:
        wallet.balance += amount
        self._moves.append((self.clock.timestamp(), wallet, amount))

    def _write(
        self,
        wallet: Wallet,
        order_id: str,
        kind: Kind,
        amount: Decimal,
        request: Mapping[str, Any] | None,
        reference: str | None,
        paid_by: str,
    ) -> None:
        time = self.clock.now().isoformat()
        entry = Entry(self.vendor, wallet.name, order_id, kind, f"{amount:f}", time, remembered(request), reference, paid_by)
        self.book.write(entry)
