"""Only ``purchase`` spends: no other room starts a vendor's purchase or hands a permit to the transport."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "airflow_provider_proxyorders"
#: ``transport`` defines ``run`` and what a permit is; ``sandbox`` and ``testing`` spend no money.
ROOMS = {"purchase", "transport", "sandbox", "testing"}
#: modules whose ``run`` has nothing to do with flows
OTHER_RUNS = {"asyncio", "subprocess", "uvicorn"}


def spends(source: str) -> Iterator[tuple[int, str]]:
    """Line and code of every use of a vendor's ``create`` or ``extend`` and every flow that runs with a permit."""
    for node in ast.walk(ast.parse(source)):
        if _spends(node):
            yield node.lineno, ast.unparse(node)


def _spends(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in ("create", "extend") and _is_vendor(node.value)
    if isinstance(node, ast.ImportFrom):
        return any(alias.name == "Permit" for alias in node.names)
    return isinstance(node, ast.Call) and (_runs_with_permit(node) or _looks_up_a_purchase(node))


def _is_vendor(value: ast.expr) -> bool:
    """Whether an expression is a vendor by its name, as ``hook.vendor`` and ``vendor_class(name)(account)`` are."""
    while isinstance(value, ast.Call):
        value = value.func
    return "vendor" in ast.unparse(value).rpartition(".")[2].lower()


def _runs_with_permit(call: ast.Call) -> bool:
    if any(keyword.arg == "permit" for keyword in call.keywords):
        return True
    if isinstance(call.func, ast.Attribute) and call.func.attr == "run":  # http.run(flow, permit)
        return ast.unparse(call.func.value) not in OTHER_RUNS and len(call.args) > 1
    return isinstance(call.func, ast.Name) and call.func.id == "run" and len(call.args) > 2  # run(flow, send, permit)


def _looks_up_a_purchase(call: ast.Call) -> bool:
    """``getattr(vendor, "create")``"""
    if ast.unparse(call.func) != "getattr" or len(call.args) < 2:
        return False
    vendor, name = call.args[:2]
    return isinstance(name, ast.Constant) and name.value in ("create", "extend") and _is_vendor(vendor)


def test_only_purchase_spends(project: Path) -> None:
    package = project / PACKAGE
    paths = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in ROOMS]
    assert len(paths) > 100
    assert [
        f"{path.relative_to(package)}:{line}: {code}" for path in paths for line, code in spends(path.read_text(encoding="utf-8"))
    ] == []


def test_purchase_spends_at_one_place(project: Path) -> None:
    """The patterns still match the one place, so a rename cannot blind the test."""
    files = sorted((project / PACKAGE / "purchase").glob("*.py"))
    places = [(path.name, code) for path in files for _, code in spends(path.read_text(encoding="utf-8"))]
    assert {name for name, _ in places} == {"sending.py"}
    assert {"vendor.create", "vendor.extend"} < {code for _, code in places}
    assert [code for _, code in places if "permit" in code]


@pytest.mark.parametrize(
    "code",
    [
        "hook.vendor.create(body)",
        "self.vendor.extend(order_id, body)",
        "flow = buyer.tracker.vendor.create",
        "vendor_class(account.vendor)(account).create(body)",
        "getattr(hook.vendor, 'create')(body)",
        "hook.http.run(flow, permit)",
        "hook.http.run(flow, lambda request: None)",
        "http.run(flow, permit=allow)",
        "run(flow, send, allow)",
        "from airflow_provider_proxyorders.purchase.permit import Permit",
    ],
)
def test_spending_elsewhere_is_found(code: str) -> None:
    assert [line for line, _ in spends(code)] == [1]


@pytest.mark.parametrize(
    "code",
    [
        "lines.extend(more)",
        "buyer.extend(order_id, request)",
        "http.run(vendor.balance())",
        "vendor.capabilities.extend",
        "run(flow, send)",
    ],
)
def test_reading_is_free(code: str) -> None:
    assert list(spends(code)) == []
