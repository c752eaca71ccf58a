"""``make matrix``: the tests under each supported pair of Python and Airflow, in an environment of its own.

The tests without a whole Airflow run under each pair, and some with a whole Airflow under the first and the last. The newest
packages that fit are taken, not the locked ones, so this needs the network. Exit status: 0 when every pair passed, 1 otherwise; a
Python that the machine lacks is named and left out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "matrix"
UV = Path(sys.executable).with_name("uv")
#: Each supported Python and each supported Airflow, the lowest of both first and the newest Airflow last.
PAIRS = (("3.10", "3.3.0"), ("3.11", "3.3.1"), ("3.12", "3.3.2"), ("3.14", "3.3.2"), ("3.13", "3.4.0b2"))
#: A whole Airflow that buys, waits and delivers, and the page in a browser, where there is one.
WHOLE = ("tests/e2e/test_main_job.py", "tests/page/test_browser.py")
_COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error)")


@dataclass(frozen=True)
class Row:
    """What came of one pair.

    :param whole: of the test with a whole Airflow; empty where it was not to run.
    """

    python: str
    airflow: str
    counts: str
    whole: str
    minutes: float
    good: bool

    def __str__(self) -> str:
        return f"| {self.python} | {self.airflow} | {self.counts} | {self.whole or '–'} | {self.minutes:.0f} |"


def find_python(version: str) -> str | None:
    """The interpreter of a version, ``None`` where the machine has none."""
    of_pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob(f"{version}.*/bin/python")
    for path in (shutil.which(f"python{version}"), _of_uv(version), *map(str, of_pyenv)):
        if path and subprocess.run([path, "--version"], capture_output=True, text=True).stdout.startswith(f"Python {version}."):
            return path
    return None


def _of_uv(version: str) -> str | None:
    done = subprocess.run([UV, "python", "find", "--no-python-downloads", version], capture_output=True, text=True)
    return done.stdout.strip() or None


def install(interpreter: str, airflow: str, folder: Path) -> Path:
    """An environment with this Airflow, this checkout and the tools of the tests; returns its Python.

    :raises subprocess.CalledProcessError: the packages do not fit together.
    """
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([UV, "venv", "--quiet", "--python", interpreter, folder], check=True)
    python = folder / "bin" / "python"
    packages = (f"apache-airflow=={airflow}", f"{ROOT}[dev]")
    command = [UV, "pip", "install", "--quiet", "--compile-bytecode", "--prerelease", "if-necessary-or-explicit"]
    subprocess.run([*command, "--python", python, "--editable", packages[1], packages[0], "pip", "uv"], check=True)
    return python


def run(python: Path, log: Path, *arguments: str) -> tuple[str, int]:
    """Run pytest; returns its counts and its exit status."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL_ENV"))}
    clean["PATH"] = f"{python.parent}{os.pathsep}{clean.get('PATH', '')}"
    with log.open("w") as file:
        done = subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT, env=clean, stdout=file, stderr=subprocess.STDOUT)
    lines = log.read_text(errors="replace").splitlines()
    summary = next((line for line in reversed(lines) if _COUNTS.search(line)), "nothing ran")
    return ", ".join(f"{count} {word}" for count, word in _COUNTS.findall(summary)) or summary, done.returncode


def play(python: str, airflow: str, options: argparse.Namespace, *, whole: bool) -> Row | None:
    """One pair; ``None`` without its Python."""
    interpreter = find_python(python)
    if interpreter is None:
        print(f"Left out: Python {python} is not on this machine.", flush=True)
        return None
    name, began = f"py{python}-airflow{airflow}", time.monotonic()
    print(f"{name}: installing", flush=True)
    try:
        own = install(interpreter, airflow, BUILD / name)
    except subprocess.CalledProcessError as error:
        return Row(python, airflow, f"not installed: {error}", "", (time.monotonic() - began) / 60, good=False)
    print(f"{name}: testing", flush=True)
    selected = ["-m", "not e2e", "-q", "-o", f"cache_dir={BUILD / name / 'cache'}", *options.tests]
    parallel = [f"--numprocesses={options.jobs}", "--dist=worksteal", "--durations=100"]
    counts, status = run(own, BUILD / f"{name}.log", *parallel, *selected)
    if status == 1:  # tests failed: as in `make test`, one that missed its seconds beside the others runs again alone
        alone, status = run(own, BUILD / f"{name}-alone.log", "--last-failed", "--last-failed-no-failures=none", *selected)
        counts = f"{counts}; alone {alone}"
    said, good = "", status == 0
    if whole:
        said, whole_status = run(own, BUILD / f"{name}-whole.log", "-m", "e2e", "-q", "-p", "no:cacheprovider", *WHOLE)
        good = good and whole_status == 0
    return Row(python, airflow, counts, said, (time.monotonic() - began) / 60, good)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="make matrix", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", action="append", metavar="PYTHON/AIRFLOW", help="this pair, such as 3.10/3.3.0; repeatable")
    parser.add_argument("--jobs", type=int, default=7, help="tests at a time (default 7)")
    parser.add_argument("tests", nargs="*", default=["tests"], help="files or folders of tests (default: all)")
    options = parser.parse_args(argv)
    pairs = [tuple(each.split("/", 1)) for each in options.only] if options.only else list(PAIRS)
    BUILD.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (python, airflow) in enumerate(pairs):
        if (row := play(python, airflow, options, whole=number in (0, len(pairs) - 1))) is not None:
            rows.append(row)
            print(row, flush=True)
    print("\n| Python | Airflow | tests | a whole Airflow | minutes |\n|---|---|---|---|--:|")
    print("\n".join(map(str, rows)))
    return 0 if rows and all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
