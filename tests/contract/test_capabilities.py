"""What a vendor declares is read, and no more is promised than it declares."""

from __future__ import annotations

import ast
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_proxyorders
from airflow_provider_proxyorders.purchase.guarantees import sentences
from airflow_provider_proxyorders.vendors import Capabilities, Polling, Vendor

PACKAGE = Path(airflow_provider_proxyorders.__file__).parent
#: For every field another value than in BASE, and the row of the guarantees that must change with it.
BASE = Capabilities(extend=True, create_evidence="order", extend_evidence="order")
CHANGES: dict[str, tuple[Any, str]] = {
    "quote_create": (True, "price"),
    "quote_extend": (True, "price"),
    "list_orders": (True, "orders"),
    "list_by": ("product_id", "orders"),
    "extend": (False, "extend"),
    "price_in_order": (True, "price"),
    "create_evidence": ("search", "create"),
    "extend_evidence": ("wallet", "extend"),
    "requests_per_second": (3.0, "waiting"),
    "ids_per_read": (50, "waiting"),
    "settle": (90.0, "create"),
    "edge_limit": (60.0, "create"),
    "polling": (Polling(first=7), "waiting"),
}


def declaring(capabilities: Capabilities) -> type[Vendor]:
    return type("Declared", (Vendor,), {"name": "declared", "title": "Declared", "capabilities": capabilities})


def names_read(folder: Path) -> set[str]:
    """Every attribute that the package reads outside ``vendors``, the methods of Capabilities included."""
    sources = [path for path in folder.rglob("*.py") if folder / "vendors" not in path.parents]
    return {node.attr for path in sources for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}


def readers_of(field: str) -> set[str]:
    """The field itself, and the methods of Capabilities that read it."""
    tree = ast.parse((PACKAGE / "vendors" / "contract.py").read_text())
    owner = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Capabilities")
    methods = [node for node in owner.body if isinstance(node, ast.FunctionDef)]
    return {field} | {m.name for m in methods if any(isinstance(n, ast.Attribute) and n.attr == field for n in ast.walk(m))}


@pytest.mark.parametrize("field", [field.name for field in fields(Capabilities)])
def test_every_declared_capability_is_read_outside_the_vendors(field: str) -> None:
    assert readers_of(field) & names_read(PACKAGE), f"Capabilities.{field} is declared and read nowhere"


def test_a_new_capability_must_say_which_guarantee_it_changes() -> None:
    assert set(CHANGES) == {field.name for field in fields(Capabilities)}


@pytest.mark.parametrize("field", CHANGES)
def test_the_guarantees_change_with_every_capability(field: str) -> None:
    value, row = CHANGES[field]
    before, after = sentences(declaring(BASE)), sentences(declaring(replace(BASE, **{field: value})))
    assert before[row] != after[row]


def test_a_vendor_that_declares_nothing_is_promised_nothing_but_once() -> None:
    promised = sentences(declaring(Capabilities()))
    assert promised["create"] == "at most once; after a lost answer a person always decides"
    assert promised["extend"].startswith("not offered")
    assert "never tells the charge" in promised["price"] and "freezes" not in promised["price"]
    for word in ("balance", "list of orders", "account", "exactly"):
        assert word not in promised["create"]


@pytest.mark.parametrize(
    ("evidence", "turn", "repeats"),
    [
        ("reference", False, True),
        ("search", False, False),
        ("order", True, False),
        ("wallet", True, False),
        ("none", True, False),
    ],
)
def test_evidence_says_who_takes_turns_and_what_may_be_sent_again(evidence: Any, turn: bool, repeats: bool) -> None:
    capabilities = Capabilities(create_evidence=evidence, extend=True, extend_evidence="order")
    assert capabilities.needs_turn("create") is capabilities.reads_evidence_alone("create") is turn
    assert capabilities.repeats_safely("create") is repeats
    assert not capabilities.repeats_safely("extend")
    assert not capabilities.needs_turn("extend") and capabilities.reads_evidence_alone("extend")
