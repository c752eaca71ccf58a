"""The lock files install on another machine: hashes for everything, no address, and everything that is declared."""

from __future__ import annotations

import re
import sys
from itertools import product
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCKS = ("bootstrap", "runtime", "dev")


def locked(project: Path, name: str) -> dict[str, set[tuple[str, Marker | None]]]:
    """Package -> its locked versions, each with the Pythons it is for."""
    versions: dict[str, set[tuple[str, Marker | None]]] = {}
    for line in (project / "requirements" / f"{name}.txt").read_text().splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            requirement = Requirement(line.rstrip("\\ "))
            versions.setdefault(canonicalize_name(requirement.name), set()).add(
                (str(requirement.specifier)[2:], requirement.marker)
            )
    return versions


def is_for(marker: Marker | None, python: str) -> bool:
    return marker is None or marker.evaluate({"python_version": python, "python_full_version": f"{python}.99"})


def declared(project: Path, *extras: str) -> list[Requirement]:
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    lines = [*metadata["dependencies"], *(line for extra in extras for line in metadata["optional-dependencies"][extra])]
    requirements = [Requirement(line) for line in lines]
    return [requirement for requirement in requirements if requirement.name != metadata["name"]]


@pytest.mark.parametrize("name", LOCKS)
def test_hashes_and_no_addresses(project: Path, name: str) -> None:
    text = (project / "requirements" / f"{name}.txt").read_text()
    entries = re.split(r"^(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)[1:]
    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"://|--(?:extra-)?index|--find-links|/(?:home|root|tmp)/", text) == []


@pytest.mark.parametrize(("name", "extras"), [("runtime", ["postgres"]), ("dev", ["postgres", "dev"])])
def test_everything_declared_is_locked_to_a_version_that_fits(project: Path, name: str, extras: list[str]) -> None:
    versions = locked(project, name)
    for requirement, python in product(declared(project, *extras), ("3.10", "3.11", "3.12", "3.13", "3.14")):
        if is_for(requirement.marker, python):
            fitting = [
                requirement.specifier.contains(version, prereleases=True)
                for version, marker in versions.get(canonicalize_name(requirement.name), set())
                if is_for(marker, python)
            ]
            assert fitting and all(fitting), f"{requirement}, Python {python}"


def test_tests_run_with_the_versions_that_users_get(project: Path) -> None:
    runtime, dev = locked(project, "runtime"), locked(project, "dev")
    for name, versions in runtime.items():
        assert {version for version, _ in versions} == {version for version, _ in dev.get(name, set())}, name
