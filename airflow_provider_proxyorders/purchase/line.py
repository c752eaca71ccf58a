"""One waiter in the line before the turn on a wallet.

Two rules. A waiter looks more often, the nearer it is to the turn, and less often while the line stands. Its patience counts from
the last movement of the line, so a long line that moves ends no wait.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import leases
from airflow_provider_proxyorders.ledger.line import Place
from airflow_provider_proxyorders.purchase.pauses import SpokenPause

if TYPE_CHECKING:
    from airflow_provider_proxyorders.purchase.tracker import OrderTracker

#: Seconds between two looks: of the first in line, for each purchase before the next act of another waiter, and at most.
PAUSE_OF_FIRST, PAUSE_FOR_EACH, LONGEST_PAUSE = 0.02, 0.1, 5.0
#: The pause is at least such a part of the time for which the line has stood: a late look then costs a small part of the wait.
PART_OF_STANDING = 1 / 30
#: Seconds between two looks of the first in line after the purchase that holds the wallet.
HELP_EVERY = 1.0


class Line:
    """One waiter in the line.

    :param patience: for how long the line may stand, in seconds.
    :param ticks: seconds that never go back, from any start.
    """

    def __init__(self, tracker: OrderTracker, wallet: str, order_key: str, patience: float, ticks: Callable[[], float]):
        self.tracker, self.ledger, self.wallet, self.order_key = tracker, tracker.ledger, wallet, order_key
        self.patience, self.ticks = patience, ticks
        self.pause = _PauseInLine(tracker, wallet, ticks)
        self._blocker: str | None = None
        self._helps_after = 0.0
        self._movement: object = None
        self._moved_at, self._waited_then = ticks(), 0.0

    def look(self) -> Place:
        """Look at the line, and keep the own place in it."""
        place = self.ledger.place_in_line(self.wallet, self.order_key)
        if place.too_long:
            self.ledger.cut_turn(self.wallet)
        if place.left is None and place.turn_key != self.order_key:
            self.ledger.line_up(self.wallet, self.order_key)
            place = self.ledger.place_in_line(self.wallet, self.order_key)
        elif place.left is not None and not leases.TICKET * 2 / 3 < place.left <= leases.TICKET:
            self.ledger.renew_ticket(self.wallet, self.order_key, leases.TICKET)
        if place.movement != self._movement:
            self._movement, self._moved_at, self._waited_then = place.movement, self.ticks(), self.pause.waited
        return place

    @property
    def patience_left(self) -> float:
        """Seconds for which this waiter still waits for a movement."""
        return self._moved_at + self.patience - self.ticks()

    def may_help(self, blocker: str | None) -> bool:
        """Whether it is time to look after the purchase that holds the wallet.

        :param blocker: its order key.
        """
        if blocker == self._blocker and self.pause.waited < self._helps_after:
            return False
        self._blocker, self._helps_after = blocker, self.pause.waited + HELP_EVERY
        return True

    def wait(self, place: Place, blocker: str | None, until: int = 0) -> None:
        """Pause until the next look.

        :param blocker: order key of the purchase that holds the wallet.
        :param until: the place at which this waiter acts next, as a number of waiters ahead.
        """
        stood = max(self.ticks() - self._moved_at, self.pause.waited - self._waited_then)
        seconds = max((place.ahead - until) * PAUSE_FOR_EACH, PAUSE_OF_FIRST, stood * PART_OF_STANDING)
        self.pause.sleep_at(place, blocker, min(seconds, LONGEST_PAUSE, self.patience_left), self.patience_left)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the place during work that takes long. Each pause of the work renews it."""
        sleep = self.tracker.sleep

        def renew_and_sleep(seconds: float) -> None:
            self.keep(leases.longest())
            sleep(seconds)

        self.keep(leases.longest())
        self.tracker.sleep = renew_and_sleep
        try:
            yield
        finally:
            self.tracker.sleep = sleep
            self.keep(leases.TICKET)

    def leave(self) -> None:
        """Give the place back. Without the ledger, it ends with its lease."""
        with contextlib.suppress(LedgerError):
            self.ledger.leave_line(self.wallet, self.order_key)

    def keep(self, seconds: float) -> None:
        """Keep the place for so long, whatever this waiter does meanwhile."""
        with contextlib.suppress(LedgerError):  # the next look draws a new ticket
            self.ledger.renew_ticket(self.wallet, self.order_key, seconds)


class _PauseInLine(SpokenPause):
    """The wait in the line, told with the place and an estimate from the movement so far."""

    def __init__(self, tracker: OrderTracker, wallet: str, ticks: Callable[[], float]):
        super().__init__(tracker, f"the turn on wallet {wallet!r}")
        self.ticks = ticks
        self._place = ""
        self._began: tuple[int, float] | None = None

    def sleep_at(self, place: Place, blocker: str | None, seconds: float, left: float) -> None:
        """Sleep.

        :param left: seconds until the patience ends.
        """
        holder = place.turn_key or (None if place.ahead else blocker)
        of_whom = f", which {holder!r} has" if holder else ""
        self._place = f"{of_whom}: {place.ahead} ahead of this one" if place.ahead else f"{of_whom}: next in line"
        ahead, began = self._began = self._began or (place.ahead, self.ticks())
        if ahead > place.ahead:
            each = (self.ticks() - began) / (ahead - place.ahead)
            self._place += f", about {each * (place.ahead + 1):.0f} s"
        self.sleep(seconds, left)

    def text(self, left: float) -> str:
        return f"Waiting for {self.what}{self._place}. It gives up if the line stands for {left:.0f} s more"
