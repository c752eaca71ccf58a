"""``make release``: build the archives, check them, list what is in an installation, write the notes. It uploads nothing.

The installation in an empty environment takes the locked packages from the index, so this needs the network.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIST, OUT = ROOT / "dist", ROOT / "build" / "release"
NAME = "airflow-provider-proxyorders"
BIN = Path(sys.executable).parent


def run(*command: object, home: Path | None = None) -> str:
    """Run a program of this environment, and end with its output if it fails."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home or Path.home()), **({"AIRFLOW_HOME": str(home)} if home else {})}
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, env=environment if home else None
    )
    if done.returncode:
        sys.exit(f"{' '.join(str(part) for part in command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def say(text: str) -> None:
    print(text, flush=True)


def build() -> list[Path]:
    """The source archive and, made from it, the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, ROOT)
    return sorted(DIST.iterdir())


def install(wheel: Path, folder: Path) -> Path:
    """An environment with the wheel and the locked packages alone; returns its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    uv = (BIN / "uv", "pip", "install", "--quiet", "--python", python)
    run(*uv, "--require-hashes", "-r", ROOT / "requirements" / "runtime.txt")
    run(*uv, "--no-deps", wheel)
    run(BIN / "uv", "pip", "check", "--python", python)
    return python


def notes(changelog: str, version: str) -> str:
    """The changes of a version, or those that are unreleased."""
    for title in (re.escape(version) + r" - .*", "Unreleased"):
        if match := re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL):
            return f"# {NAME} {version}\n{match[1].rstrip()}\n"
    raise SystemExit(f"CHANGELOG.md tells nothing of {version}")


def main() -> int:
    say("building")
    archives = build()
    (wheel,) = (path for path in archives if path.suffix == ".whl")
    version = wheel.name.split("-")[1]
    OUT.mkdir(parents=True, exist_ok=True)
    say("checking metadata and contents")
    run(BIN / "twine", "check", "--strict", *archives)
    run(sys.executable, "-m", "pytest", "-q", "tests/package/test_wheel.py", "tests/package/test_project_files.py")
    with tempfile.TemporaryDirectory(prefix="proxyorders-release-") as folder:
        say("installing in an empty environment")
        home = Path(folder) / "home"
        python = install(wheel, Path(folder) / "venv")
        answer = run(python, "-m", "airflow", "providers", "get", NAME, "--output", "json", home=home)
        (provider,) = json.loads(answer)
        if provider["Version"] != version:
            sys.exit(f"airflow providers says {provider}")
        say(f"airflow providers: {provider['Provider']} {provider['Version']}")
        run(python.parent / "proxyorders", "guarantees", home=home)
        run(BIN / "cyclonedx-py", "environment", "--output-reproducible", "-o", OUT / "sbom.cdx.json", python)
    (OUT / "notes.md").write_text(notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version), encoding="utf-8")
    for path in [*archives, OUT / "sbom.cdx.json", OUT / "notes.md"]:
        say(f"{sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}")
    say("Nothing was uploaded. To publish, after a tag and a date in CHANGELOG.md: .venv/bin/twine upload dist/*")
    return 0


if __name__ == "__main__":
    sys.exit(main())
