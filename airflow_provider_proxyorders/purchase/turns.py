"""Turns: a purchase waits for other purchases of its wallet, and for another try of itself.

Rule: a waiting worker settles the purchase of a lost worker. One lost worker therefore cannot hold a wallet for ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from airflow_provider_proxyorders.domain.errors import CapExceeded, LedgerError, ProxyOrdersError, WalletHeld
from airflow_provider_proxyorders.domain.model import UNRESOLVED, Purchase, Step
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import Intent
from airflow_provider_proxyorders.purchase.settling import Settling

#: Pauses between two looks at a held wallet: the first and the longest, in seconds, and their growth.
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.05, 5.0, 1.6
#: Pause between two looks at another try of the same purchase, in seconds.
PAUSE_FOR_OTHER_TRY = 2.0


class Turns:
    """Waits for the turn on a wallet.

    :param patience: how long to wait for another purchase of the wallet, or another try of this one, in seconds.
    :param ticks: seconds that never go back, from any start.
    """

    def __init__(self, settling: Settling, patience: float, ticks: Callable[[], float]):
        self.settling, self.tracker, self.ledger = settling, settling.tracker, settling.ledger
        self.patience, self.ticks = patience, ticks

    def intend(self, intent: Intent) -> Purchase:
        """Write an intent down. If another purchase holds the wallet, settle it or wait for it first.

        :raises WalletHeld: the wallet is still held after the patience. Nothing was bought.
        :raises CapExceeded: a limit refuses the purchase. Nothing was bought.
        """
        deadline = self.ticks() + self.patience
        pause = FIRST_PAUSE
        helped: set[str] = set()
        while True:
            try:
                return self.ledger.intend(intent, self.tracker.actor)
            except CapExceeded as refused:
                purchase = self.ledger.find(intent.order_key)
                if purchase is not None and purchase.step is Step.INTENDED:  # an earlier try's reservation
                    self.give_back(purchase, refused)
                raise
            except WalletHeld as error:
                self.help(error, helped)
                if self.ticks() + pause > deadline:
                    raise
                self.tracker.sleep(pause)
                pause = min(pause * GROWTH, LONGEST_PAUSE)

    def help(self, error: WalletHeld, helped: set[str]) -> None:
        """Settle the purchase on the wallet, if its own task left it behind.

        :param helped: keys settled by this call before; each is settled once, to spare the vendor.
        :raises WalletHeld: the purchase is quarantined, so waiting is useless.
        """
        blocker = self.ledger.find(error.blocker) if error.blocker else None
        if blocker is None:
            return
        if blocker.step is Step.QUARANTINED:
            raise error
        if blocker.vendor != self.tracker.vendor.name or self.tracker.repeats_safely(blocker.kind) or blocker.order_key in helped:
            return
        taken = blocker.step is Step.PLACED and blocker.kind == "extend"  # the order does not show the extension yet
        if not taken and (blocker.step not in UNRESOLVED or self.settling.may_be_running(blocker)):
            return
        helped.add(blocker.order_key)
        try:
            if taken:
                self.tracker.refresh(blocker)
            else:
                self.settling.settle(blocker)
        except ProxyOrdersError as failed:
            self.tracker.say(f"Tried to settle {blocker.order_key!r}, which holds the wallet: {failed}")

    def wait_for_other_try(self, purchase: Purchase) -> Purchase:
        """Let another try of the same purchase finish. Two tries in a race would stop each other again and again."""
        deadline = self.ticks() + self.patience
        while True:
            current = self.tracker.as_it_stands(purchase)
            if current.step is not Step.INTENDED or current.fence == purchase.fence or self.ticks() > deadline:
                return current
            self.tracker.sleep(PAUSE_FOR_OTHER_TRY)

    def give_back(self, purchase: Purchase, error: Exception) -> None:
        """Give the reservation of an unsent purchase back.

        The reservation stays if another try took over, or if writing the ledger fails.
        """
        with contextlib.suppress(LedgerError):
            self.ledger.release(purchase, f"not sent: {one_line(error)}", self.tracker.actor)
