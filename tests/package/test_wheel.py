"""The built wheel, installed into an empty environment, is a provider that Airflow finds.

The environment is empty but for the wheel; Airflow itself comes from the environment of the tests by path, since
installing it again would need the network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, project)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment that holds the wheel and borrows the rest."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(*command: object, home: Path | None = None) -> str:
    # from /, so that nothing is imported from the checkout
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if home:
        environment["AIRFLOW_HOME"] = str(home)
    done = subprocess.run([str(part) for part in command], cwd="/", env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_holds_what_it_needs_and_nothing_else(wheel: Path, project: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    package = project / "airflow_provider_proxyorders"
    wanted = [
        path.relative_to(project).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    ]
    assert set(wanted) == {name for name in names if ".dist-info/" not in name}
    for part in ("py.typed", "ledger/migrations/env.py"):
        assert f"airflow_provider_proxyorders/{part}" in names
    assert any(name.startswith("airflow_provider_proxyorders/sandbox/exchanges/") and name.endswith(".json") for name in names)


def test_imports_from_the_wheel_with_its_entry_points(installed: Path) -> None:
    script = """
import json
import airflow_provider_proxyorders as package
from airflow_provider_proxyorders.vendors import vendor_class, vendor_names
print(json.dumps([package.__file__, {name: vendor_class(name).__name__ for name in vendor_names()}]))
"""
    where, vendors = json.loads(run(installed / "bin" / "python", "-c", script))
    assert Path(where).is_relative_to(installed)
    assert vendors == {"iproyal": "IPRoyal", "proxyscrape": "ProxyScrape", "voodoo": "Voodoo"}


def test_brings_the_command(installed: Path) -> None:
    assert "usage: proxyorders" in run(installed / "bin" / "proxyorders", "--help")


def test_airflow_lists_the_provider_and_its_hooks(installed: Path, tmp_path: Path) -> None:
    airflow = (installed / "bin" / "python", "-m", "airflow", "providers")
    (provider,) = json.loads(run(*airflow, "get", "airflow-provider-proxyorders", "--output", "json", home=tmp_path))
    assert provider["Provider"] == "airflow-provider-proxyorders"
    hooks = json.loads(run(*airflow, "hooks", "--output", "json", home=tmp_path))
    ours = {one["connection_type"]: one["class"] for one in hooks if one["package_name"] == "airflow-provider-proxyorders"}
    module = "airflow_provider_proxyorders.hooks.proxyorders"
    assert ours == {
        "iproyal": f"{module}.IPRoyalHook",
        "proxyscrape": f"{module}.ProxyScrapeHook",
        "voodoo": f"{module}.VoodooHook",
    }
