"""The built wheel, installed into an empty environment, is a provider for Airflow, with a demo ready to start.

The environment holds only the wheel. Airflow comes from the environment of the tests by path: an installation would need the
network.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from airflow_provider_proxyorders.provider_info import provider_info
from airflow_provider_proxyorders.vendors import vendor_class, vendor_names


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


def run(*command: object, home: Path | None = None, **settings: str) -> str:
    # from /, so that Python imports nothing from the checkout
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= settings
    if home:
        environment["AIRFLOW_HOME"] = str(home)
    done = subprocess.run([str(part) for part in command], cwd="/", env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_holds_the_package_and_the_examples_but_no_test_data(wheel: Path, project: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = project / "airflow_provider_proxyorders"
    source = {
        path.relative_to(project).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    exchanges = {name for name in source if "/sandbox/exchanges/" in name and name.endswith(".json")}
    assert exchanges
    examples = {f"{package.name}/example_dags/{path.name}" for path in (project / "dags").glob("*.py")}
    assert names == source - exchanges | examples | {f"{package.name}/cli/new_vendor.md"}
    for part in ("py.typed", "provider.json", "ledger/migrations/env.py", "sandbox/exchanges/README.md"):
        assert f"{package.name}/{part}" in names


def test_imports_from_the_wheel_with_its_entry_points(installed: Path) -> None:
    script = """
import json
import airflow_provider_proxyorders as package
from airflow_provider_proxyorders.vendors import vendor_class, vendor_names
print(json.dumps([package.__file__, {name: vendor_class(name).__name__ for name in vendor_names()}]))
"""
    where, vendors = json.loads(run(installed / "bin" / "python", "-c", script))
    assert Path(where).is_relative_to(installed)
    assert vendors == {name: vendor_class(name).__name__ for name in vendor_names()}


def test_the_demo_finds_its_dag_and_airflow_can_read_it(installed: Path, tmp_path: Path) -> None:
    python = installed / "bin" / "python"
    folder = run(python, "-c", "from airflow_provider_proxyorders.cli.demo import dags_folder; print(dags_folder())").strip()
    assert Path(folder).is_relative_to(installed)
    script = f"import runpy; print(*[name for name in runpy.run_path('{folder}/order_and_use.py') if name.startswith('order_')])"
    assert "order_and_use" in run(python, "-c", script, home=tmp_path).split()


def test_airflow_offers_the_example_dags(installed: Path, tmp_path: Path) -> None:
    """With ``[core] load_examples``, which is on by default."""
    script = """
from airflow.dag_processing.bundles.manager import DagBundlesManager
print(*[bundle.name for bundle in DagBundlesManager().get_all_dag_bundles()])
"""
    found = run(installed / "bin" / "python", "-c", script, home=tmp_path, AIRFLOW__CORE__LOAD_EXAMPLES="True")
    assert "airflow-provider-proxyorders-example-dags" in found.split()


def test_the_page_of_the_index_has_no_dead_link(wheel: Path) -> None:
    (name,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")]
    page = zipfile.ZipFile(wheel).read(name).decode()
    assert "Description-Content-Type: text/markdown" in page and "## The first DAG" in page
    assert [link for link in re.findall(r"\]\(([^)]*)\)", page) if not link.startswith("https://")] == []


def test_without_exchanges_a_replay_says_so(installed: Path) -> None:
    script = """
from airflow_provider_proxyorders.testing import exchanges
try:
    exchanges()
except FileNotFoundError as error:
    print(error)
"""
    assert "is without exchanges" in run(installed / "bin" / "python", "-c", script)


def test_brings_the_command(installed: Path) -> None:
    assert "Usage: proxyorders" in run(installed / "bin" / "proxyorders", "--help")


def test_airflow_lists_the_provider_and_its_hooks(installed: Path, tmp_path: Path) -> None:
    airflow = (installed / "bin" / "python", "-m", "airflow", "providers")

    def said(*words: str) -> list[dict[str, str]]:
        """On Python 3.14 Airflow warns of itself before."""
        rows = re.search(r"^\[(?:$|\{).*", run(*airflow, *words, "--output", "json", home=tmp_path), re.DOTALL | re.MULTILINE)
        assert rows is not None
        return list(json.loads(rows[0]))

    (provider,) = said("get", "airflow-provider-proxyorders")
    assert provider["Provider"] == "airflow-provider-proxyorders"
    hooks = said("hooks")
    ours = {hook["connection_type"]: hook["class"] for hook in hooks if hook["package_name"] == "airflow-provider-proxyorders"}
    assert ours == {form["connection-type"]: form["hook-class-name"] for form in provider_info()["connection-types"]}
