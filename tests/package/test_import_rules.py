"""The import rules bite: in a copy of the package with one forbidden import a rule, each rule is reported broken.

That the package itself keeps them is checked by ``make check``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

#: rule -> (module, a line that breaks the rule)
VIOLATIONS = {
    "Imports go down only": ("domain/model.py", "from airflow_provider_proxyorders.purchase import buyer"),
    "Values, wire format and vendors do no I/O": ("vendors/fields.py", "import asyncio"),
    "Nothing below the hooks knows Airflow": ("purchase/buyer.py", "import airflow.sdk"),
    "Only the transport knows HTTP libraries": ("ledger/schema.py", "import requests"),
    "Only the ledger knows SQL": ("purchase/buyer.py", "import sqlalchemy"),
}


def lint(folder: Path) -> str:
    # run as a module function: the script beside the interpreter would read the installed package instead of the copy
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run(['--no-cache', '--no-logo'])"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120).stdout


def test_each_rule_reports_its_violation(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "airflow_provider_proxyorders", tmp_path / "airflow_provider_proxyorders")
    shutil.copy(project / "pyproject.toml", tmp_path)
    for module, line in VIOLATIONS.values():
        with (tmp_path / "airflow_provider_proxyorders" / module).open("a") as source:
            source.write(f"\n{line}\n")
    report = lint(tmp_path)
    for rule in VIOLATIONS:
        assert f"{rule} BROKEN" in report, report
