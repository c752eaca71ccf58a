"""A rule of the ledger stands in one file. A second copy fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGE = "airflow_provider_proxyorders"


@pytest.mark.parametrize(
    ("rule", "pattern", "place"),
    [
        ("an insert in a dialect", r"dialects\.\w+ import insert", "ledger/dialect.py"),
        ("the name of a fact", r"\bFact\(", "ledger/facts.py"),
        ("reading and writing a fact by its name", r"\w*(ledger|store|book)\.(decide_once|put|get|advance)\(", "ledger/facts.py"),
        ("the lock of a wallet's row", r"with_for_update\(\)", "ledger/turns.py"),
    ],
)
def test_a_rule_has_one_place(project: Path, rule: str, pattern: str, place: str) -> None:
    package = project / PACKAGE
    places = [str(path.relative_to(package)) for path in package.rglob("*.py") if re.search(pattern, path.read_text())]
    assert places == [place], rule
