"""An import inside a function must keep a heavy library out of a process; any other is reported with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.imports import PACKAGE, House, loaded_by_airflow

#: a small house: what each file holds
FILES = {
    "domain/values.py": "",
    "wire/reading.py": "from P.domain import values",
    "ledger/__init__.py": "def __getattr__(name):\n    from P.ledger import book\n    return getattr(book, name)",
    "ledger/book.py": "import sqlalchemy",
    "ledger/dates.py": "",
    "cli/main.py": "",
    "operators/buy.py": "from P.wire import reading",
}
AIRFLOW_LOADS = frozenset({"json", "airflow.sdk", "airflow.sdk.exceptions"})


def faults(tmp_path: Path, file: str, line: str) -> list[str]:
    """The reasons against one import inside a function of a file."""
    for name, text in {**FILES, file: f"{FILES[file]}\ndef f():\n    {line}\n"}.items():
        path = tmp_path / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text.replace("P.", f"{PACKAGE}."))
    return [fault.rpartition(": ")[2] for fault in House(tmp_path / PACKAGE, AIRFLOW_LOADS).faults()]


@pytest.mark.parametrize(
    ("file", "line", "reason"),
    [
        ("cli/main.py", "from P.domain import values", "modules of domain are light"),
        ("cli/main.py", "from P.wire.reading import number", "modules of wire are light"),
        ("operators/buy.py", "from P.domain.values import Money", "modules of domain are light"),
        ("ledger/book.py", "import sqlalchemy", "the file imports it at the top already"),
        ("ledger/book.py", "from P.ledger import book", "the file imports it at the top already"),
        ("cli/main.py", "from P.ledger import dates", "it brings no heavy library"),
        ("cli/main.py", "import json", "it is light"),
        ("cli/main.py", "import simplejson", "it is light"),
        (
            "operators/buy.py",
            "from airflow.sdk.exceptions import AirflowFailException",
            "Airflow loads it before it reads a DAG file",
        ),
    ],
)
def test_an_import_that_saves_nothing_is_reported(tmp_path: Path, file: str, line: str, reason: str) -> None:
    assert faults(tmp_path, file, line) == [reason]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("cli/main.py", "import sqlalchemy"),
        ("cli/main.py", "from P.ledger import book"),
        ("cli/main.py", "from P.ledger import Ledger"),
        ("cli/main.py", "from airflow.sdk.exceptions import AirflowFailException"),
        ("cli/main.py", "import wsgiref"),
        ("operators/buy.py", "from P.ledger import dates"),
        ("operators/buy.py", "from airflow.sdk import Variable"),
    ],
)
def test_an_import_that_saves_something_stays(tmp_path: Path, file: str, line: str) -> None:
    assert faults(tmp_path, file, line) == []


def test_imports_for_type_checkers_do_not_count(tmp_path: Path) -> None:
    assert faults(tmp_path, "cli/main.py", "if TYPE_CHECKING:\n        from P.domain import values") == []


def test_the_package_has_none(project: Path) -> None:
    assert list(House(project / PACKAGE, loaded_by_airflow()).faults()) == []
