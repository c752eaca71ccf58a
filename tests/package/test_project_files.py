"""What a release needs beside the code: licence, notices, metadata, and the pages and hooks for contributors."""

from __future__ import annotations

import re
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from airflow_provider_proxyorders.provider_info import own_vendors

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: of the licence's text as its authors publish it
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


@pytest.fixture(scope="module")
def metadata(project: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    return loaded


def test_the_licence_is_the_whole_text_and_the_metadata_names_it(project: Path, metadata: dict[str, Any]) -> None:
    assert sha256((project / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    assert metadata["project"]["license"] == "Apache-2.0"
    assert metadata["project"]["license-files"] == ["LICENSE", "NOTICE"]


def test_the_notice_names_every_vendor(project: Path) -> None:
    notice = (project / "NOTICE").read_text(encoding="utf-8")
    assert [vendor.title for vendor in own_vendors() if vendor.title not in notice] == []
    assert "not affiliated" in notice


def test_no_address_is_invented(project: Path, metadata: dict[str, Any]) -> None:
    """Reserved names in metadata or pages for contributors would lead a reader nowhere."""
    texts = [str(metadata["project"]), *((project / name).read_text() for name in ("SECURITY.md", "CONTRIBUTING.md", "NOTICE"))]
    assert [found for text in texts for found in re.findall(r"\S*(?:example\.(?:com|org)|@\w+\.\w+|\bTODO\b)\S*", text)] == []


def test_the_source_archive_holds_what_the_readme_links_to(project: Path, metadata: dict[str, Any]) -> None:
    included = metadata["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    links = re.findall(r"\]\(([\w.]+\.md)\)", (project / "README.md").read_text(encoding="utf-8"))
    assert {f"/{link}" for link in links} <= set(included)


def test_the_changelog_keeps_its_form(project: Path) -> None:
    page = (project / "CHANGELOG.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert titles[:2] == ["Compatibility", "Unreleased"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", title) for title in titles[2:])
    kinds = re.findall(r"^### (.*)$", page, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_hooks_before_a_commit_fetch_nothing(project: Path) -> None:
    config = yaml.safe_load((project / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        program, *words = hook["entry"].split()
        assert program.startswith(".venv/bin/")
        if words[0] == "-m":
            assert (project / f"{words[1].replace('.', '/')}.py").is_file()


def test_the_forms_for_issues_are_complete(project: Path) -> None:
    for path in sorted((project / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem == "config":
            continue
        assert {"name", "description", "body"} <= set(form), path.name
        ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
        assert len(ids) == len(set(ids)) > 0, path.name
