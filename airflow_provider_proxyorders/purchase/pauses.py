"""Pauses of a task: each says what it waits for, and the vendor's own wish for a pause is kept by all workers.

Two rules. A pause of more than a few seconds says at its start what it waits for and how long at most, and again every half
minute. After the vendor asked for a pause, no request of the wallet leaves before its end.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import WalletHeld
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.ledger import facts
from airflow_provider_proxyorders.ledger.dialect import stamp
from airflow_provider_proxyorders.purchase.outcome import outcome_unknown

if TYPE_CHECKING:
    from airflow_provider_proxyorders.purchase.tracker import OrderTracker

#: Pauses up to so many seconds are silent.
MOMENT = 3.0
#: Seconds between two lines about one pause.
SAY_EVERY = 30.0
#: A task waits at most this long for the end of a rest, in seconds. Otherwise it fails, and its next try comes after the rest.
LONGEST_REST_IN_TASK = 60.0
#: The longest rest that is kept, in seconds. A vendor that asks for a longer rest is asked once a day.
LONGEST_REST = 86_400.0


class SpokenPause:
    """One wait in one or many parts, told to the task's log.

    :param what: completes "Waiting for ...".
    """

    def __init__(self, tracker: OrderTracker, what: str):
        self.tracker, self.what = tracker, what
        self.waited, self.said_at = 0.0, float("-inf")

    def sleep(self, seconds: float, left: float | None = None) -> None:
        """Sleep.

        :param left: seconds until the whole wait ends at the latest; None: it ends with this sleep.
        """
        left = seconds if left is None else left
        while seconds > 0:
            if self.waited + max(seconds, left) > MOMENT and self.waited - self.said_at >= SAY_EVERY and self._is_long(seconds):
                self.said_at = self.waited
                self.tracker.say(self.text(left))
            part = min(seconds, SAY_EVERY)
            self.tracker.sleep(part)
            self.waited, seconds, left = self.waited + part, seconds - part, left - part

    def text(self, left: float) -> str:
        """The line for the task's log."""
        return f"Waiting for {self.what}: {left:.0f} s at most"

    def _is_long(self, seconds: float) -> bool:
        """A wait of many short parts is told when it has taken a moment, because most end at once."""
        return seconds > MOMENT or self.waited >= MOMENT


class Rest:
    """The pause that the vendor asked for, in the ledger, for all workers of the wallet."""

    def __init__(self, tracker: OrderTracker):
        self.tracker, self.ledger = tracker, tracker.ledger

    def begin(self, seconds: float) -> None:
        """Keep the vendor's wish.

        :param seconds: as the vendor asked, such as in ``Retry-After``.
        """
        length = min(seconds, LONGEST_REST)
        self._fact().advance(_text_of(self.ledger.clock(), length))

    def left(self) -> float:
        """Seconds until the wallet may ask the vendor again."""
        text = self._fact().get()
        if text is None:
            return 0.0
        end, length = text.split()
        now = self.ledger.clock()
        left = (datetime.fromisoformat(end) - now).total_seconds()
        if left > float(length):  # a worker whose clock runs ahead wrote it down
            self._fact().put(_text_of(now, float(length)))
        return max(0.0, min(left, float(length)))

    def keep(self, purchase: Purchase) -> None:
        """Wait for the end of a short rest before a look at a purchase.

        :raises OutcomeUnknown: the rest is longer than a task waits. Its next try comes after the rest.
        """
        left = self.left()
        if left > LONGEST_REST_IN_TASK:
            why = f"the vendor asked for a pause of {left:.0f} s more."
            raise outcome_unknown(purchase, self.tracker.vendor, why, retry_after=left)
        SpokenPause(self.tracker, "the end of the pause that the vendor asked for").sleep(left)

    def require_over(self) -> None:
        """Wait for the end of a short rest before a new purchase.

        :raises WalletHeld: the rest is longer than a task waits. Nothing was bought.
        """
        left = self.left()
        if left > LONGEST_REST_IN_TASK:
            raise WalletHeld(
                f"{self.tracker.vendor.title} asked for a pause of {left:.0f} s more. Nothing was bought. The next try "
                "comes after that.",
                retry_after=left,
            )
        SpokenPause(self.tracker, "the end of the pause that the vendor asked for").sleep(left)

    def _fact(self) -> facts.Fact:
        return facts.no_request_before(self.ledger, self.tracker.account.wallet)


def _text_of(now: datetime, length: float) -> str:
    """The end of a rest and its length, in a form that sorts by the end."""
    return f"{stamp(now + timedelta(seconds=length))} {length:.3f}"
