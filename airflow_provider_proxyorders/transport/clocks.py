"""The difference between the clocks of a vendor and of this machine, measured by the ``Date`` of the vendor's answers."""

from __future__ import annotations

from airflow_provider_proxyorders.wire.messages import Response

#: Seconds. A difference above it is said.
WORTH_SAYING = 60.0


class VendorClock:
    """The clock of one vendor beside that of this machine.

    :param title: the vendor, for people.
    :ivar difference: the vendor's clock minus ours in seconds, by the last answer with a time; ``None`` before. It is exact to a
        second, and 0 for all that the length of the exchange explains.
    """

    def __init__(self, title: str):
        self.title = title
        self.difference: float | None = None
        self._said = False

    def measure(self, answer: Response, began: float, ended: float) -> None:
        """Take the vendor's time from an answer.

        :param began, ended: unix seconds of the exchange by our clock.
        """
        date = answer.date
        if date is not None:
            theirs = date.timestamp() + 0.5  # the header leaves the fraction out
            self.difference = theirs - min(max(theirs, began - 0.5), ended + 0.5)

    def warn_once(self) -> str:
        """A sentence about a large difference, the first time; else ""."""
        if self._said or self.difference is None or abs(self.difference) <= WORTH_SAYING:
            return ""
        self._said = True
        side = "behind" if self.difference > 0 else "ahead of"
        return (
            f"Note: the clock of this machine is {abs(self.difference):.0f} s {side} that of {self.title}. "
            "Purchases are settled without comparing the two; dates of expiry may be judged wrongly. Set the clock with NTP."
        )
