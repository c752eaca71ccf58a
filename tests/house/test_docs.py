"""The pages are true: diagrams and tables match the code, and links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.cli import main as command
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.vendors import voodoo
from airflow_provider_proxyorders.vendors.iproyal import answers as iproyal_answers
from airflow_provider_proxyorders.vendors.iproyal import requests as iproyal
from airflow_provider_proxyorders.vendors.proxy6 import answers as proxy6_answers
from airflow_provider_proxyorders.vendors.proxy6 import requests as proxy6
from airflow_provider_proxyorders.vendors.proxyscrape import answers as proxyscrape_answers
from airflow_provider_proxyorders.vendors.proxyscrape import requests as proxyscrape
from docs import life
from tests.house.blocks import blocks, every_page
from tests.vendors import VENDORS

PACKAGE = "airflow_provider_proxyorders"
#: What one purchase may take to explain.
MOST_FILES, MOST_LINES = 6, 1500


@pytest.fixture(scope="module")
def architecture(project: Path) -> str:
    return (project / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def glossary(project: Path) -> str:
    return (project / "docs" / "glossary.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def code(project: Path) -> str:
    """The whole package as one text, in small letters."""
    files = [path for path in (project / PACKAGE).rglob("*.py") if "migrations" not in path.parts]
    return "\n".join(path.read_text(encoding="utf-8") for path in files).lower()


def between(page: str, begin: str, end: str) -> str:
    """The part of a page between two comments that begin so."""
    match = re.search(rf"<!-- {begin}.*?-->(.*?)<!-- {end}", page, re.DOTALL)
    assert match, f"the page lacks the comments <!-- {begin} ... --> and <!-- {end} ... -->"
    return match[1]


def rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without head and rule."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def section(page: str, title: str) -> str:
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


# -- architecture ------------------------------------------------------------------------------------------------------


def test_the_diagram_is_made_from_the_table_of_lives(architecture: str) -> None:
    assert life.written(architecture) == architecture, "write it anew: python -m docs.life"


def test_the_layers_are_those_of_the_import_contract(architecture: str, project: Path) -> None:
    contract = (project / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^layers = \[\n(.*?)^\]", contract, re.DOTALL | re.MULTILINE)
    assert listed
    layers = [set(re.findall(r"\w+", line)) for line in re.findall(r'"(.*?)"', listed[1])]
    shown = [set(re.findall(r"`(\w+)`", row[0])) for row in rows(between(architecture, "layers", "end of layers"))]
    assert shown == layers


def test_six_files_explain_one_purchase(architecture: str, project: Path) -> None:
    files = {row[0].strip("`"): int(row[1]) for row in rows(between(architecture, "six files", "end of six files"))}
    lines = {name: (project / PACKAGE / name).read_text(encoding="utf-8").count("\n") for name in files}
    assert len(lines) <= MOST_FILES
    assert sum(lines.values()) <= MOST_LINES
    assert {name: count for name, count in files.items() if abs(count - lines[name]) > lines[name] / 10} == {}, lines


def test_every_named_file_is_there(architecture: str, project: Path) -> None:
    names = set(re.findall(r"`(\w+/[\w/]+\.\w+)`", architecture))
    assert {name for name in names if not (project / PACKAGE / name).exists()} == set()


# -- glossary ----------------------------------------------------------------------------------------------------------


def test_every_step_is_explained(glossary: str) -> None:
    explained = {row[0].strip("`") for row in rows(section(glossary, "The steps"))}
    assert explained == {step.value for step in Step}


@pytest.mark.parametrize("title", ["The words", "The verdicts", "The steps"])
def test_every_explained_word_is_used_in_the_code(glossary: str, code: str, title: str) -> None:
    words = [row[0].strip("`").lower() for row in rows(section(glossary, title))]
    assert len(words) >= 4
    unused = [word for word in words if not re.search(rf"\b{re.sub('[ _]', '[ _]?', word)}", code)]
    assert unused == []


# -- decisions ---------------------------------------------------------------------------------------------------------


def test_decisions_are_numbered_once_and_say_what_else_was_considered(project: Path) -> None:
    page = (project / "docs" / "decisions.md").read_text(encoding="utf-8")
    entries = re.findall(r"^### D(\d+) .*\n\n((?:.+\n)+)", page, re.MULTILINE)
    assert sorted(int(number) for number, _ in entries) == list(range(1, page.count("\n### ") + 1))
    assert [number for number, text in entries if not re.match(r"\d{4}-\d\d-\d\d\. ", text) or "*Considered:*" not in text] == []


# -- vendors -----------------------------------------------------------------------------------------------------------

#: The documented fields of a purchase, and how its statuses are read.
DOCUMENTED: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "iproyal": (iproyal.CREATE, iproyal_answers.STATUSES),
    "voodoo": (voodoo.FIELDS, voodoo.STATUSES),
    "proxy6": (proxy6.CREATE, proxy6_answers.STATUSES),
    "proxyscrape": ({**proxyscrape.FIELDS, "proxies[<location>]": None}, proxyscrape_answers.STATUSES),
}


def vendor_page(project: Path, name: str) -> str:
    return (project / "docs" / "vendors" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_vendors_page_names_its_settings_fields_and_statuses(project: Path, name: str) -> None:
    page, (fields, statuses) = vendor_page(project, name), DOCUMENTED[name]
    shown = {row[0].strip("`") for row in rows(section(page, "The connection"))}
    assert {setting.name for setting in VENDORS[name].settings} <= shown
    table = re.search(r"(?:^\|.*\n)+", section(page, "Fields of a request"), re.MULTILINE)[0]  # type: ignore[index]
    assert {row[0].strip("`") for row in rows(table)} == set(fields)
    required = {row[0].strip("`") for row in rows(table) if row[1].startswith("required") and "without" not in row[1]}
    assert required == {field for field, rule in fields.items() if rule is not None and rule.required}
    read = {row[0].strip("`"): row[1] for row in rows(section(page, "Statuses"))}
    assert set(read) == set(statuses)
    assert [word for word, status in statuses.items() if not read[word].startswith(status.value)] == []


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_vendors_page_names_every_call(project: Path, name: str) -> None:
    """Each first part of a path that the exchanges of a vendor ask for stands in its table of operations."""
    shown = re.findall(r"`(?:GET|POST) ([^`]*)`", section(vendor_page(project, name), "Operations"))
    known = [re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path) + "$") for path in shown]
    asked = {step["request"]["path"] for path in (project / PACKAGE / "sandbox/exchanges" / name).glob("*.json")
             for step in json.loads(path.read_text())["steps"]}  # fmt: skip
    assert {path for path in asked if not any(pattern.match(path) for pattern in known)} == set()


# -- all pages ---------------------------------------------------------------------------------------------------------


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere(project: Path) -> None:
    broken = []
    for page in every_page(project):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if link.startswith(("https://", "api.md#airflow_provider_proxyorders.")):  # the site's build checks its own anchors
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
                broken.append(f"{page.name}: {link}")
    assert broken == []


def test_each_attack_names_a_test(project: Path, record_property: Any) -> None:
    page = (project / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [
        row for row in re.findall(r"^\| .*$", section(page, "What is defended"), re.MULTILINE) if not row.endswith("| test |")
    ]
    for row in rows:
        (named,) = re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)` \|$", row)
        file, *names = named.split("::")
        text = (project / file).read_text(encoding="utf-8")
        assert all(re.search(rf"^ *(?:def|class) {name}\b", text, re.MULTILINE) for name in names), named
    record_property("attacks in docs/security.md", len(rows))
    assert len(rows) >= 30


def test_the_python_of_readme_and_docs_runs(project: Path) -> None:
    """Every DAG file loads by itself; other blocks are compiled. ``test_dag_blocks`` runs them, and takes longer."""
    texts = [block.text for block in blocks(project, "python") if "new_vendor" not in block.page]  # it has a test of its own
    assert len(texts) >= 12
    script = """
import json, sys
for block in json.load(sys.stdin):
    code = compile(block, block[:40], "exec")
    "DAG(" in block and exec(code, {})
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def test_every_command_in_the_pages_is_understood(project: Path) -> None:
    lines = []
    for page in every_page(project):
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines += [line.strip() for line in block.splitlines() if line.strip().startswith("proxyorders ")]
    assert len(lines) >= 10
    for line in lines:
        command._parser("proxyorders").parse_args(
            shlex.split(line, comments=True)[1:]
        )  # exits with an error for anything unknown


def test_every_make_target_in_the_pages_is_there(project: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (project / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set()
    for page in every_page(project):
        text = page.read_text(encoding="utf-8")
        named |= set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert len(named) >= 4 and named <= targets


def test_the_sandbox_commands_in_the_pages_work(project: Path) -> None:
    page = (project / "docs" / "testing.md").read_text(encoding="utf-8")
    commands = re.findall(r"_sandbox/(control|faults) -d '(.*?)'$", page, re.MULTILINE)
    assert len(commands) >= 3
    with Sandbox.start() as box:
        for kind, body in commands:
            if kind == "control":
                box.control(json.loads(body))
            else:
                box.fault(**json.loads(body))
