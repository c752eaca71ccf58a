"""The code blocks of README and the pages, as a reader would paste them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Block:
    """One fenced block.

    :param page: the file, from the root of the project.
    :param language: the word behind the fence.
    :param number: its place among the blocks of its language on its page, from 1.
    """

    page: str
    language: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.page} {self.language} {self.number}"

    @property
    def dag_file(self) -> str | None:
        """The name that a block gives itself in its first line, ``# dags/NAME.py``."""
        named = re.match(r"# dags/(\w+)\.py\n", self.text)
        return named[1] if named else None


def every_page(project: Path) -> list[Path]:
    """The pages of the project, and those for its contributors."""
    return [*sorted(project.glob("*.md")), *sorted((project / "docs").rglob("*.md"))]


def blocks(project: Path, *languages: str) -> Iterator[Block]:
    """The blocks of all pages, or those of some languages."""
    for path in every_page(project):
        count: dict[str, int] = {}
        for language, text in re.findall(r"^```(\w+)\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            count[language] = count.get(language, 0) + 1
            if not languages or language in languages:
                yield Block(path.relative_to(project).as_posix(), language, count[language], text)
