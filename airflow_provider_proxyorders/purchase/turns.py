"""Turns: a purchase waits for other purchases of its wallet, and for another try of itself.

Two rules. Purchases that take turns wait in a line: first come, first served. The first in line settles the purchase of a lost
worker, so a lost worker cannot hold a wallet for ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from airflow_provider_proxyorders.domain.errors import CapExceeded, LedgerError, ProxyOrdersError, Quarantined, WalletHeld
from airflow_provider_proxyorders.domain.model import UNRESOLVED, Purchase, Step
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import Intent, leases
from airflow_provider_proxyorders.ledger.turns import under_way
from airflow_provider_proxyorders.purchase.line import Line
from airflow_provider_proxyorders.purchase.pauses import SpokenPause
from airflow_provider_proxyorders.purchase.settling import Settling

#: Pauses between two looks at another extension of the order: the first and the longest, in seconds, and their growth.
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.05, 5.0, 1.6
#: So many at the front of the line read their evidence while another purchase has the turn.
READ_EARLY = 4
#: For so long, in seconds, a read from the line serves at most; the settle time bounds it as well.
LONGEST_EARLY = 30.0
#: For so long such a reader keeps its place; the next look ends that, or the reader is dead.
TIME_TO_READ = 2 * leases.TICKET
#: Pause between two looks at another try of the same purchase, in seconds.
PAUSE_FOR_OTHER_TRY = 2.0


class Turns:
    """Waits for the turn on a wallet.

    :param patience: how long to wait for another try of this purchase, and for a movement of the line, in seconds.
    :param ticks: seconds that never go back, from any start.
    """

    def __init__(self, settling: Settling, patience: float, ticks: Callable[[], float]):
        self.settling, self.tracker, self.ledger = settling, settling.tracker, settling.ledger
        self.patience, self.ticks = patience, ticks

    def intend(self, intent: Intent, read_early: Callable[[], None] | None = None) -> Purchase:
        """Write an intent down, at its turn if it takes one.

        :param read_early: called near the front of the line, to read the evidence there.
        :raises WalletHeld: another purchase still holds the wallet after the patience. Nothing was bought.
        :raises CapExceeded: a limit refuses the purchase. Nothing was bought.
        """
        try:
            return self.intend_now(intent)
        except WalletHeld as error:
            return (
                self.intend_in_line(intent, error, read_early)
                if intent.takes_turn
                else self.intend_after_extension(intent, error)
            )

    def intend_now(self, intent: Intent) -> Purchase:
        try:
            return self.ledger.intend(intent, self.tracker.actor)
        except CapExceeded as refused:
            self.give_back_own(intent.order_key, refused)
            raise

    def intend_in_line(self, intent: Intent, error: WalletHeld, read_early: Callable[[], None] | None) -> Purchase:
        """Write an intent down at its turn.

        :param error: why the wallet is held.
        """
        line = Line(self.tracker, intent.wallet, intent.order_key, self.patience, self.ticks)
        purchase = None
        try:
            purchase = self.wait_in_line(line, intent, error, read_early)
            return purchase
        finally:
            if purchase is None or purchase.step is not Step.INTENDED:  # an intent has used the ticket up
                line.leave()

    def wait_in_line(self, line: Line, intent: Intent, error: WalletHeld, read_early: Callable[[], None] | None) -> Purchase:
        """Wait, and settle the purchase that holds the wallet as the first in line."""
        helped: set[str] = set()
        reads, read_at = 0, 0.0
        while True:
            place = line.look()
            if read_early is not None and place.turn_key and self._reads_now(place.ahead, reads, read_at):
                line.keep(TIME_TO_READ)
                reads, read_at = reads + 1, self.ticks()
                read_early()
                place = line.look()
            over = line.patience_left <= 0
            try:
                if over or place.lets_go(intent.order_key):
                    return self.intend_now(intent)
                error = under_way(place.turn_key, intent.wallet) if place.turn_key else error
            except WalletHeld as refusal:
                error = refusal
            if place.ahead == 0 and line.may_help(error.blocker) and self.help(error, helped, line.kept):
                continue  # the wallet may be free, however long that took
            if over:
                error.retry_after = self.seconds_until_free(error)
                raise error
            reads_next = read_early is not None and not reads and place.ahead >= READ_EARLY
            line.wait(place, error.blocker, READ_EARLY - 1 if reads_next else 0)

    def _reads_now(self, ahead: int, reads: int, read_at: float) -> bool:
        """Whether a waiter reads its evidence at this place: once, and once more as the next one where turns are slow."""
        if not reads:
            return ahead < READ_EARLY
        return reads == 1 and ahead == 0 and self.ticks() - read_at > self.longest_early / 2

    @property
    def longest_early(self) -> float:
        """The life of a read from the line, in seconds."""
        return min(LONGEST_EARLY, self.tracker.settle_time)

    def intend_after_extension(self, intent: Intent, error: WalletHeld) -> Purchase:
        """Wait for another extension of the same order, and settle it if its own task left it behind.

        :param error: tells the other extension.
        """
        deadline = self.ticks() + self.patience
        pause = FIRST_PAUSE
        helped: set[str] = set()
        spoken: dict[str | None, SpokenPause] = {}
        while True:
            if not self.help(error, helped):
                left = deadline - self.ticks()
                if pause > left:
                    error.retry_after = self.seconds_until_free(error)
                    raise error
                what = f"the extension {error.blocker!r} of the same order"
                spoken.setdefault(error.blocker, SpokenPause(self.tracker, what)).sleep(pause, left)
                pause = min(pause * GROWTH, LONGEST_PAUSE)
            try:
                return self.intend_now(intent)
            except WalletHeld as refusal:
                error = refusal

    def seconds_until_free(self, error: WalletHeld) -> float | None:
        """Seconds after which another try can settle the purchase on the wallet; ``None``: any moment."""
        blocker = self.ledger.find(error.blocker) if error.blocker else None
        if blocker is None or blocker.step not in UNRESOLVED:
            return None
        return self.settling.seconds_until_decidable(blocker) + 1

    def help(
        self, error: WalletHeld, helped: set[str], kept: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    ) -> bool:
        """Settle the purchase on the wallet, if its own task left it behind.

        :param helped: keys settled by this call before; each is settled once, to spare the vendor.
        :param kept: keeps the place in the line meanwhile.
        :returns: whether it was settled or moved on just now.
        :raises WalletHeld: the purchase is quarantined and was looked for once more, so waiting is useless.
        """
        blocker = self.ledger.find(error.blocker) if error.blocker else None
        if blocker is None:
            return False
        blocker = self.ledger.cut_sending(blocker)
        if not self.can_help(blocker, helped):
            if blocker.step is Step.QUARANTINED:
                raise error
            return False
        helped.add(blocker.order_key)
        try:
            with kept():
                if blocker.step is Step.PLACED:
                    return self.tracker.refresh(blocker).step is not Step.PLACED
                self.settling.settle(blocker)
                return True
        except Quarantined:
            raise error from None
        except ProxyOrdersError as failed:
            self.tracker.say(f"Tried to settle {blocker.order_key!r}, which holds the wallet: {failed}")
            return False

    def can_help(self, blocker: Purchase, helped: set[str]) -> bool:
        """Whether another task may settle this purchase: its sender has given up, and a look can find out its outcome."""
        if blocker.order_key in helped or blocker.vendor != self.tracker.vendor.name:
            return False
        if blocker.step is Step.PLACED:
            return blocker.kind == "extend"  # the order does not show the extension yet
        if blocker.step not in UNRESOLVED or self.tracker.repeats_safely(blocker.kind):
            return False
        return not self.settling.may_be_running(blocker)

    def wait_for_other_try(self, purchase: Purchase) -> Purchase:
        """Let another try of the same purchase finish. Two tries in a race would stop each other again and again."""
        deadline = self.ticks() + self.patience
        pause = SpokenPause(self.tracker, f"another try of {purchase.order_key!r}")
        while True:
            current = self.tracker.as_it_stands(purchase)
            left = deadline - self.ticks()
            if current.step is not Step.INTENDED or current.fence == purchase.fence or left < 0:
                return current
            pause.sleep(PAUSE_FOR_OTHER_TRY, left)

    def give_back_own(self, order_key: str, refused: CapExceeded) -> None:
        """Give back the reservation of an earlier try of this task, after a limit refused the purchase.

        The key may be another task's, too. Its reservation stays, because that task may be about to send.
        """
        purchase = self.ledger.find(order_key)
        if (
            purchase is not None
            and purchase.step is Step.INTENDED
            and self.ledger.history(order_key)[-1].actor.same_task(self.tracker.actor)
        ):
            self.give_back(purchase, refused)

    def give_back(self, purchase: Purchase, error: Exception) -> None:
        """Give the reservation of an unsent purchase back.

        The reservation stays if another try took over, or if writing the ledger fails.
        """
        with contextlib.suppress(LedgerError):
            self.ledger.release(purchase, f"not sent: {one_line(error)}", self.tracker.actor)
