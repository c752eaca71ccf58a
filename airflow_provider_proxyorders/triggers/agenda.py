"""Which order is to be looked at next: one moment an order, the earliest first.

Two rules: an order has one moment, and a plan only ever moves it nearer; and what is forgotten costs nothing for long.
"""

from __future__ import annotations

import heapq


class Agenda:
    """Orders by the moment at which they are to be looked at, in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._moments: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []

    def plan(self, order_id: str, moment: float) -> None:
        """Look at an order at this moment, or earlier where that is planned already."""
        if moment < self._moments.get(order_id, float("inf")):
            self._moments[order_id] = moment
            heapq.heappush(self._queue, (moment, order_id))

    def forget(self, order_id: str) -> None:
        self._moments.pop(order_id, None)
        if len(self._queue) > 2 * len(self._moments) + 64:
            self._queue = [(moment, order_id) for order_id, moment in self._moments.items()]
            heapq.heapify(self._queue)

    @property
    def next(self) -> float:
        """The earliest moment; infinity when nothing is planned."""
        queue, moments = self._queue, self._moments
        while queue and moments.get(queue[0][1]) != queue[0][0]:  # forgotten, or planned for an earlier moment since
            heapq.heappop(queue)
        return queue[0][0] if queue else float("inf")

    def take(self, until: float, most: int) -> list[str]:
        """Take out the orders whose moment is not after ``until``, the earliest first."""
        queue, moments = self._queue, self._moments
        taken: list[str] = []
        while queue and queue[0][0] <= until and len(taken) < most:
            moment, order_id = heapq.heappop(queue)
            if moments.get(order_id) == moment:
                del moments[order_id]
                taken.append(order_id)
        return taken
