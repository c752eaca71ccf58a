"""``make check`` refuses complex, commented-out and unused code: each rule reports a file with such code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def branches(many: int) -> str:
    return (
        "def f(x):\n" + "".join(f"    if x == {number}:\n        return {number}\n" for number in range(many)) + "    return x\n"
    )


def ruff(project: Path, source: str, rule: str, file: str = "ledger/sample.py") -> str:
    """What the project's linter says of a file of the package."""
    name = project / "airflow_provider_proxyorders" / file
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--output-format",
        "concise",
        "--stdin-filename",
        str(name),
        "-",
    ]
    done = subprocess.run(command, input=source, cwd=project, capture_output=True, text=True, timeout=60)
    return "\n".join(line for line in done.stdout.splitlines() if rule in line)


def test_a_function_of_complexity_11_is_refused(project: Path) -> None:
    assert "is too complex (11 > 10)" in ruff(project, branches(10), "C901")
    assert ruff(project, branches(9), "C901") == ""


def test_a_commented_out_line_is_refused(project: Path) -> None:
    assert "commented-out code" in ruff(project, "# total = price * count\n", "ERA001")
    assert ruff(project, "# The total is the price of all.\n", "ERA001") == ""


def test_a_folder_without_init_is_refused(project: Path) -> None:
    """The import rules do not see such a folder."""
    assert "implicit namespace package" in ruff(project, "x = 1\n", "INP001", "stray/sample.py")
    assert ruff(project, "x = 1\n", "INP001") == ""


@pytest.mark.parametrize(
    "line", ["import urllib.request", "from urllib import request", "from http.client import HTTPConnection"]
)
@pytest.mark.parametrize("where", ["", "def late():\n    "], ids=["at the top", "inside a function"])
def test_the_http_of_the_standard_library_stays_in_the_transport(project: Path, line: str, where: str) -> None:
    assert "Only the transport knows HTTP" in ruff(project, f"{where}{line}\n", "TID251", "wallet/sample.py")
    assert ruff(project, f"{where}{line}\n", "TID251", "transport/sample.py") == ""


@pytest.mark.parametrize(
    ("kind", "source", "use"),
    [
        ("function", "def lonely():\n    return 1\n", "lonely()\n"),
        ("method", "class Used:\n    def lonely(self):\n        return 1\n\nUsed()\n", "Used().lonely()\n"),
        ("attribute", "class Used:\n    def __init__(self):\n        self.lonely = 1\n\nUsed()\n", "print(Used().lonely)\n"),
    ],
)
def test_unused_code_is_refused(project: Path, tmp_path: Path, kind: str, source: str, use: str) -> None:
    path = tmp_path / "sample.py"
    path.write_text(source)
    assert f"unused {kind} 'lonely'" in vulture(project, path)
    path.write_text(source + use)
    assert vulture(project, path) == ""


def test_a_name_that_airflow_reads_counts_as_used(project: Path, tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text("class Task:\n    template_fields = ()\n\nTask()\n")
    assert "template_fields" in vulture(project, path)
    assert vulture(project, path, project / "tests" / "house" / "used_elsewhere.py") == ""


def vulture(project: Path, *paths: Path) -> str:
    command = [sys.executable, "-m", "vulture", "--config", str(project / "pyproject.toml"), *map(str, paths)]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60).stdout
