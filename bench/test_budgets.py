"""``make bench``: every benchmark in its short form, one after the other; each fails by itself when a budget is missed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPTS = sorted(
    file.stem for file in HERE.glob("*.py") if "def main() -> int:" in file.read_text() and file.stem != "test_budgets"
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", SCRIPTS)
def test_budget(script: str) -> None:
    print(f"\n\n# {script}\n", flush=True)
    done = subprocess.run([sys.executable, str(HERE / f"{script}.py")], timeout=900)
    assert done.returncode == 0, f"{script}.py missed a budget; see what it printed"
