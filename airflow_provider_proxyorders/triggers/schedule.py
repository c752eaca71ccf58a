"""Which order is to be looked at next: one moment an order, the earliest first.

Four rules: an order has one moment, and a plan only ever moves it nearer; what is forgotten costs nothing for long; orders that
are planned together stay together, so that ten thousand of them are not ten thousand entries of a queue, and a call that asks
for as many as it can is made again for the same ones; and those that have to be asked for one by one come in turn with the
others, however many they are.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence

#: The moment of an order that is to be asked for alone: as soon as anything may be asked.
ALONE = float("-inf")


class PollSchedule:
    """Orders by the moment at which they are to be looked at, in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._moments: dict[str, float] = {}
        self._queue: list[tuple[float, list[str]]] = []
        self._queued = 0
        self._alone: deque[str] = deque()
        self._turn_of_one = False

    def plan(self, order_id: str, moment: float) -> None:
        """Look at an order at this moment, or earlier where that is planned already."""
        self.plan_together((order_id,), moment)

    def plan_together(self, order_ids: Sequence[str], moment: float) -> None:
        """The same for several orders."""
        moments = self._moments
        nearer = [order_id for order_id in order_ids if moment < moments.get(order_id, float("inf"))]
        if nearer:
            for order_id in nearer:
                moments[order_id] = moment
            self._push(moment, nearer)

    def plan_alone(self, order_ids: Sequence[str]) -> None:
        """Look at each of these in a call of its own, as soon as possible."""
        for order_id in order_ids:
            if self._moments.get(order_id) != ALONE:
                self._moments[order_id] = ALONE
                self._alone.append(order_id)
                self._queued += 1

    def forget(self, order_id: str) -> None:
        self._moments.pop(order_id, None)
        if self._queued > 2 * len(self._moments) + 64:
            kept = [(moment, [o for o in group if self._moments.get(o) == moment]) for moment, group in self._queue]
            self._alone = deque(dict.fromkeys(o for o in self._alone if self._moments.get(o) == ALONE))
            self._queue, self._queued = [], len(self._alone)
            for moment, group in kept:
                if group:
                    self._push(moment, group)

    @property
    def next(self) -> float:
        """The earliest moment; infinity when nothing is planned."""
        while self._alone:
            if self._moments.get(self._alone[0]) == ALONE:
                return ALONE
            self._alone.popleft()
            self._queued -= 1
        while self._queue:
            moment, group = self._queue[0]
            while group and self._moments.get(group[-1]) != moment:  # forgotten, or planned for an earlier moment since
                group.pop()
                self._queued -= 1
            if group:
                return moment
            heapq.heappop(self._queue)
        return float("inf")

    def take(self, until: float, most: int) -> list[str]:
        """Take out the orders of the next call: those whose moment is not after ``until``, the earliest first, or one alone.

        A group that fills a call by itself is not divided to fill up another one: that would leave a part of it to the next call,
        which would divide the next group, and so on, so that no call would ever ask for the same orders twice.
        """
        if not self._alone:
            return self._take_together(until, most)
        self._turn_of_one = not self._turn_of_one
        if self._turn_of_one:
            return self._take_alone() or self._take_together(until, most)
        return self._take_together(until, most) or self._take_alone()

    def _take_alone(self) -> list[str]:
        if self.next != ALONE:
            return []
        order_id = self._alone.popleft()
        self._queued -= 1
        del self._moments[order_id]
        return [order_id]

    def _take_together(self, until: float, most: int) -> list[str]:
        moments = self._moments
        taken: list[str] = []
        full: list[tuple[float, list[str]]] = []
        while len(taken) < most and self._queue and self._queue[0][0] <= until:
            moment, group = heapq.heappop(self._queue)
            self._queued -= len(group)
            due = [order_id for order_id in group if moments.get(order_id) == moment]
            room = most - len(taken)
            if taken and len(due) == most:
                full.append((moment, due))
                continue
            for order_id in due[:room]:
                del moments[order_id]
            taken += due[:room]
            if len(due) > room:
                self._push(moment, due[room:])
        for moment, group in full:
            self._push(moment, group)
        return taken

    def _push(self, moment: float, group: list[str]) -> None:
        heapq.heappush(self._queue, (moment, group))
        self._queued += len(group)
