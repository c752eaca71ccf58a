"""A repeated answer keeps its result, so it is read once.

Two rules. Only the single answer of a flow can be a repetition. In a flow of several answers, the others decide as well. A large
answer is read anew each time, and all kept answers together are bounded in bytes, so the memory stays small.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from airflow_provider_proxyorders.wire.messages import Response

T = TypeVar("T")

#: Bytes of an answer whose result is kept. Its result takes about ten times as much memory.
LARGEST_KEPT = 1024 * 1024
#: Bytes of all answers of one account with kept results. Beyond that, the others are forgotten.
MOST_KEPT = 8 * LARGEST_KEPT

#: By question: the hash of the last answer, its bytes, and its result.
Answers = dict[Any, tuple[int, int, Any]]


class CachedAnswer(Generic[T]):
    """The last answer to one question, for one drive of its flow.

    :param answers: the last answers. They belong to one account with its settings and may be emptied at any time.
    :ivar result: the last result, once an answer repeats. Its readers share it and leave it as it is.
    """

    __slots__ = ("_answers", "_digests", "_question", "_size", "result")
    result: T

    def __init__(self, answers: Answers, question: Hashable):
        self._answers, self._question = answers, question
        self._digests: list[int] = []
        self._size = 0

    def repeats(self, response: Response) -> bool:
        """Whether this is the first answer of the drive, and the same to the letter as the last one."""
        digest = hash((response.status, response.body))
        self._digests.append(digest)
        self._size = max(self._size, len(response.body))
        last = self._answers.get(self._question)
        if last is None or len(self._digests) > 1 or last[0] != digest:
            return False
        self.result = last[2]
        return True

    def keep(self, result: T) -> None:
        """Remember the result of this drive for the next one."""
        self._answers.pop(self._question, None)
        if len(self._digests) == 1 and self._size <= LARGEST_KEPT:
            if sum(size for _, size, _ in self._answers.values()) + self._size > MOST_KEPT:
                self._answers.clear()
            self._answers[self._question] = (self._digests[0], self._size, result)
