"""``make test``: the tests with a whole Airflow run beside all others, which wait more than they compute.

Among others a test may miss its seconds. What failed runs again alone, and what fails there too is a failure.
Exit status: 0 when all passed in the end; else pytest's own, such as 5 when nothing was selected.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHOLE, OTHERS = "e2e", "not e2e"
#: Pytest's exit statuses.
FAILED, NOTHING_SELECTED = 1, 5


def command(marked: str, *arguments: str) -> list[str]:
    """The command for the tests of one kind. Each kind remembers its own failures."""
    cache = ROOT / "build" / f"cache-{marked.replace(' ', '-')}"
    return [sys.executable, "-m", "pytest", "-m", marked, "-o", f"cache_dir={cache}", *arguments]


def alone(marked: str, code: int, arguments: Sequence[str]) -> int:
    """Run again what failed, one after the other; returns the last exit status."""
    if code != FAILED:
        return code
    print("Those that failed run again, each alone.", flush=True)
    again = command(marked, "--last-failed", "--last-failed-no-failures=none", "--exitfirst", *arguments)
    return subprocess.run(again, cwd=ROOT).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="make test", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=5, help="tests without a whole Airflow at a time (default 5)")
    parser.add_argument("arguments", nargs="*", help="for pytest, after --")
    options = parser.parse_args(argv)
    log = ROOT / "build" / "e2e.txt"
    log.parent.mkdir(exist_ok=True)
    parallel = (f"--numprocesses={options.jobs}", "--dist=worksteal", "--durations=15")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with log.open("wb") as file:
        whole = subprocess.Popen(command(WHOLE, "--durations=15", *options.arguments), cwd=ROOT, stdout=file, stderr=file)
        try:
            others = subprocess.run(command(OTHERS, *parallel, *options.arguments), cwd=ROOT).returncode
            code = whole.wait()
        finally:
            if whole.poll() is None:
                whole.send_signal(signal.SIGINT)
                whole.wait()
    print("\nThe tests with a whole Airflow, which ran beside those above:\n", flush=True)
    print(log.read_text(errors="replace"), flush=True)
    codes = [alone(OTHERS, others, options.arguments), alone(WHOLE, code, options.arguments)]
    ran = [each for each in codes if each != NOTHING_SELECTED]
    if not options.arguments or not ran:  # of a selection, one of the two may find nothing
        ran = codes
    return next((each for each in ran if each), 0)


if __name__ == "__main__":
    sys.exit(main())
