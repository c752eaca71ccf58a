"""A few seeds of the campaign, with real processes, and a few guards that it must miss. The rest is ``make adversary``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def begin(project: Path, *arguments: str) -> subprocess.Popen[str]:
    """Run the command in a process of its own, as ``make adversary`` does."""
    command = [sys.executable, "-m", "tests.adversary", *arguments]
    return subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_few_seeds_and_missing_guards(project: Path) -> None:
    """Seeds of both databases; and without a guard the oracle finds what goes wrong. Both wait more than they compute."""
    seeds = begin(project, "--seeds", "4,6", "-v")
    names = ("refusal", "contradiction", "account")
    guards = begin(project, "--seeds", "0-2", "--database", "sqlite", *(f"--without={name}" for name in names))
    told = seeds.communicate(timeout=280)[0]
    assert seeds.returncode == 0, told
    assert "2 of 2 seeds" in told and "bought twice: 0" in told and "lost: 0" in told
    told = guards.communicate(timeout=280)[0]
    assert guards.returncode == 0, told
    assert "3 of 3 removed guards found" in told
