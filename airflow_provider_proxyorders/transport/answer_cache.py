"""A repeated answer keeps its result, so it is read once.

Two rules. Only the single answer of a flow can be a repetition. In a flow of several answers, the others decide as well. A large
answer is read anew each time, so the memory stays small.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from airflow_provider_proxyorders.wire.messages import Response

T = TypeVar("T")

#: Bytes of an answer whose result is kept. Its result takes about ten times as much memory.
LARGEST_KEPT = 1024 * 1024


class CachedAnswer(Generic[T]):
    """The last answer to one question, for one drive of its flow.

    :param answers: by question, the hash of the last answer and its result. It belongs to one account with its settings and may
        be emptied at any time.
    :ivar result: the last result, once an answer repeats. Its readers share it and leave it as it is.
    """

    __slots__ = ("_answers", "_digests", "_large", "_question", "result")
    result: T

    def __init__(self, answers: dict[Any, tuple[int, Any]], question: Hashable):
        self._answers, self._question = answers, question
        self._digests: list[int] = []
        self._large = False

    def repeats(self, response: Response) -> bool:
        """Whether this is the first answer of the drive, and the same to the letter as the last one."""
        digest = hash((response.status, response.body))
        self._digests.append(digest)
        self._large = self._large or len(response.body) > LARGEST_KEPT
        last = self._answers.get(self._question)
        if last is None or len(self._digests) > 1 or last[0] != digest:
            return False
        self.result = last[1]
        return True

    def keep(self, result: T) -> None:
        """Remember the result of this drive for the next one."""
        if len(self._digests) == 1 and not self._large:
            self._answers[self._question] = (self._digests[0], result)
        else:
            self._answers.pop(self._question, None)
