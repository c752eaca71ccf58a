"""Which order is to be looked at next: one moment an order, the earliest first.

Three rules: an order has one moment, and a plan only ever moves it nearer; what is forgotten costs nothing for long; and orders
that are planned together stay together, so that ten thousand of them are not ten thousand entries of a queue, and a call that
asks for as many as it can is made again for the same ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence


class Agenda:
    """Orders by the moment at which they are to be looked at, in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._moments: dict[str, float] = {}
        self._queue: list[tuple[float, list[str]]] = []
        self._queued = 0

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

    def forget(self, order_id: str) -> None:
        self._moments.pop(order_id, None)
        if self._queued > 2 * len(self._moments) + 64:
            kept = [(moment, [o for o in group if self._moments.get(o) == moment]) for moment, group in self._queue]
            self._queue, self._queued = [], 0
            for moment, group in kept:
                if group:
                    self._push(moment, group)

    @property
    def next(self) -> float:
        """The earliest moment; infinity when nothing is planned."""
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
        """Take out the orders whose moment is not after ``until``, the earliest first.

        A group that fills a call by itself is not divided to fill up another one: that would leave a part of it to the next call,
        which would divide the next group, and so on, so that no call would ever ask for the same orders twice.
        """
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
