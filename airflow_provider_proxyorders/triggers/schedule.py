"""The order of the next looks: one moment an order, the earliest first.

Four rules. An order has one moment, and a plan can only move it nearer. A forgotten order soon costs nothing. Orders planned
together stay together: ten thousand of them are a few entries of the queue, and a full call is made again for the same orders.
Calls for single orders alternate with the others, so neither kind holds the other up.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence

#: The moment of an order in need of its own call: as soon as the vendor may be asked.
ALONE = float("-inf")
NEVER = float("inf")


class PollSchedule:
    """Orders by the moment of their next look, in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._moments: dict[str, float] = {}
        self._queue: list[tuple[float, list[str]]] = []
        self._queued = 0
        self._alone: deque[str] = deque()
        self._alone_has_turn = False

    def plan(self, order_ids: Sequence[str], moment: float) -> None:
        """Look at these orders at this moment; an earlier plan for an order stays."""
        moments = self._moments
        group = []
        for order_id in order_ids:
            if moment < moments.get(order_id, NEVER):
                moments[order_id] = moment
                group.append(order_id)
        if group:
            heapq.heappush(self._queue, (moment, group))
            self._queued += len(group)

    def plan_alone(self, order_ids: Sequence[str]) -> None:
        """Look at each of these orders in a call of its own, as soon as possible."""
        for order_id in order_ids:
            if self._moments.get(order_id) != ALONE:
                self._moments[order_id] = ALONE
                self._alone.append(order_id)
                self._queued += 1

    def forget(self, order_id: str) -> None:
        """Drop the plan for an order."""
        self._moments.pop(order_id, None)
        if self._queued > 2 * len(self._moments) + 64:
            self._drop_stale_entries()

    @property
    def next(self) -> float:
        """The earliest moment; infinity for an empty plan."""
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
        return NEVER

    def take(self, now: float, most: int, ahead: float = 0.0) -> list[str]:
        """Take out the orders of the next call; empty until an order is due.

        Full groups stay whole. Splitting one to fill up a call would shift every following group, and repeated answers would go
        unrecognised.

        :param most: how many orders one call can ask for.
        :param ahead: orders due within so many seconds fill up a call that is due now.
        """
        if self._alone:
            self._alone_has_turn = not self._alone_has_turn
            if self._alone_has_turn and (order_ids := self._take_alone()):
                return order_ids
        taken: list[str] = []
        put_back: list[tuple[float, list[str]]] = []
        queue, moments = self._queue, self._moments
        while len(taken) < most and queue and queue[0][0] <= (now + ahead if taken else now):
            moment, group = heapq.heappop(queue)
            self._queued -= len(group)
            due = []
            for order_id in group:
                if moments.get(order_id) == moment:
                    due.append(order_id)
            room = most - len(taken)
            if taken and len(due) == most:
                put_back.append((moment, due))
                continue
            for order_id in due[:room]:
                del moments[order_id]
            taken += due[:room]
            if len(due) > room:
                put_back.append((moment, due[room:]))
        for moment, group in put_back:
            heapq.heappush(queue, (moment, group))
            self._queued += len(group)
        return taken or (self._take_alone() if self._alone else [])

    def _take_alone(self) -> list[str]:
        if self.next != ALONE:
            return []
        order_id = self._alone.popleft()
        self._queued -= 1
        del self._moments[order_id]
        return [order_id]

    def _drop_stale_entries(self) -> None:
        """Rebuild the queue from the present plans."""
        self._alone = deque(dict.fromkeys(order_id for order_id in self._alone if self._moments.get(order_id) == ALONE))
        entries = []
        for moment, group in self._queue:
            if planned := [order_id for order_id in group if self._moments.get(order_id) == moment]:
                entries.append((moment, planned))
        heapq.heapify(entries)
        self._queue = entries
        self._queued = len(self._alone) + sum(len(group) for _, group in entries)
