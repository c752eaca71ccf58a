"""Refused webhooks: the answer, which tells a sender nothing, and the log, which tells the operator the reason."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Results in our metrics. A path or a body that anybody can send has no part in them.
RESULTS = {200: "accepted", 401: "bad_signature", 429: "too_many", 503: "not_stored"}
#: Seconds between two lines about one reason in the log, and the reasons that are remembered.
LOG_EVERY, MOST_REASONS = 60.0, 1000


class Refused(Exception):
    """The answer to a refused webhook.

    :param why: for the log only.
    :param sender: the connection, if it exists; else "".
    :param detail: a part of the reason that differs between webhooks.
    :param unproven: whether nothing proves the sender.
    :param result: for our metrics; by default that of the status.
    """

    def __init__(
        self,
        status: int,
        why: str,
        sender: str = "",
        *,
        detail: str = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        unproven: bool = False,
        result: str = "",
    ):
        self.status, self.headers, self.unproven = status, headers, unproven
        self.result = result or RESULTS.get(status, "malformed")
        #: The reason without the part that differs.
        self.reason = f"{sender}: {why}" if sender else why
        super().__init__(f"{self.reason}{detail}")


class RefusalLog:
    """Writes each reason once a minute, with the number of refusals left out meanwhile: a flood cannot fill the log."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._since: dict[tuple[int, str], tuple[float, int]] = {}

    def add(self, refusal: Refused) -> None:
        """Write the line of a refusal, unless its reason was written within the last minute."""
        key, now = (refusal.status, refusal.reason), self._clock()
        since, left_out = self._since.get(key, (-LOG_EVERY, 0))
        if now - since < LOG_EVERY:
            self._since[key] = since, left_out + 1
            return
        if len(self._since) >= MOST_REASONS:
            self._since.clear()
        self._since[key] = now, 0
        more = f"; {left_out} more for this reason since the last such line" if left_out else ""
        log.warning("Webhook refused with %d: %s%s", refusal.status, refusal, more)
