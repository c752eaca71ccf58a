"""How an answer of a pretended vendor names its order, and how it refuses with a good status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class AnswerNames:
    """A vendor overrides what its answers need.

    :cvar id_field: the field of a purchase's answer that holds the order's id.
    """

    id_field: ClassVar[str] = "id"

    def says_no(self, answer: Any) -> bool:
        """Whether an answer with a good status is a refusal."""
        return False

    def order_in(self, answer: Mapping[str, Any]) -> str:
        """The id of the order that an answer to a purchase names."""
        return str(answer[self.id_field])

    def as_named(self, order_id: str) -> str:
        """An order's id as :attr:`id_field` of an answer holds it."""
        return order_id
