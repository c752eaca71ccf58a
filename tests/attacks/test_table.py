"""The table of attacks in ``docs/security.md`` and the table of their guards are one table."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.attacks.guards import GUARDS, PACKAGE, WITHOUT_REMOVAL


def attacks(project: Path) -> list[str]:
    """The tests that the document names, one for each attack."""
    rows = re.findall(r"^\|.*\| `(tests/[^`]+)` \|$", (project / "docs" / "security.md").read_text(), re.MULTILINE)
    assert len(rows) > 30
    return rows


def test_every_attack_has_a_guard_that_can_be_taken_away_or_a_reason(project: Path) -> None:
    assert sorted(set(attacks(project))) == sorted({*GUARDS, *WITHOUT_REMOVAL})
    assert not GUARDS.keys() & WITHOUT_REMOVAL


@pytest.mark.parametrize("test", [*GUARDS, *WITHOUT_REMOVAL])
def test_each_test_is_there(project: Path, test: str) -> None:
    file, *names = test.split("::")
    source = (project / file).read_text()
    assert all(re.search(rf"(def|class) {name}\b", source) for name in names)


@pytest.mark.parametrize("place", sorted({place for place, _ in GUARDS.values()}))
def test_each_guard_is_there(place: str) -> None:
    module, _, name = place.partition(":")
    owner = import_module(PACKAGE + module)
    for step in name.split("."):
        if step != "abs":  # a function of Python's own
            owner = getattr(owner, step)
