"""The tables of the input tests are complete: every public class and every public method of the hook."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.bases.sensor import BaseSensorOperator
from airflow.triggers.base import BaseTrigger

from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

from .test_inputs import METHODS, TASKS, TRIGGERS

PACKAGE = "airflow_provider_proxyorders"
ROOMS = ("operators", "sensors", "triggers")

#: methods of the hook without input of a user, and what they take
WITHOUT_INPUT = {
    "get_balance": "nothing",
    "get_conn": "nothing",
    "get_products": "nothing",
    "iter_products": "nothing",
    "test_connection": "nothing",
    "buyer": "the task's context",
    "wait_for_order": "a purchase, and two durations; see tests/hooks/test_hook.py",
}


def modules(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def public_classes(package: ModuleType) -> set[type]:
    """Operators, sensors and triggers that the modules of a room define."""
    return {
        item
        for module in modules(package)
        for name, item in vars(module).items()
        if inspect.isclass(item)
        and issubclass(item, (BaseOperator, BaseSensorOperator, BaseTrigger))
        and item.__module__ == module.__name__
        and not name.startswith("_")
        and not inspect.isabstract(item)
    }


def public_methods(kind: type) -> set[str]:
    """Methods that a class and its bases of this package define, properties left out."""
    return {
        name
        for base in kind.__mro__
        if base.__module__.startswith(PACKAGE)
        for name, item in vars(base).items()
        if not name.startswith("_") and (inspect.isfunction(item) or isinstance(item, (classmethod, staticmethod)))
    }


def test_every_public_class_is_in_a_table() -> None:
    ours = {item for room in ROOMS for item in public_classes(importlib.import_module(f"{PACKAGE}.{room}"))}
    assert ours == {*TASKS, *TRIGGERS}, "add the class with the parameters of a run that succeeds to TASKS or TRIGGERS"


def test_every_method_of_the_hook_is_in_a_table() -> None:
    assert public_methods(ProxyOrdersHook) == METHODS.keys() | WITHOUT_INPUT.keys(), (
        "add a method with its arguments to METHODS, or to WITHOUT_INPUT where it takes no input of a user"
    )
    assert not METHODS.keys() & WITHOUT_INPUT.keys()


@pytest.mark.parametrize("name", [name for name, takes in WITHOUT_INPUT.items() if takes == "nothing"])
def test_a_method_without_input_has_no_parameters(name: str) -> None:
    assert [*inspect.signature(getattr(ProxyOrdersHook, name)).parameters] in ([], ["self"])


@pytest.mark.parametrize("base", ["BaseOperator", "BaseSensorOperator"])
def test_a_class_in_a_new_module_is_found(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_new_room").mkdir()
    (tmp_path / "a_new_room" / "__init__.py").touch()
    lines = [f"from {kind.__module__} import {kind.__name__}" for kind in (BaseOperator, BaseSensorOperator)]
    lines.append(f"class Fresh({base}):\n    def poke(self, context): ...\nclass _Inner({base}): ...\n")
    (tmp_path / "a_new_room" / "later.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("a_new_room", "a_new_room.later"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert {item.__name__ for item in public_classes(importlib.import_module("a_new_room"))} == {"Fresh"}


def test_a_new_method_of_the_hook_is_found() -> None:
    class Hook(ProxyOrdersHook):
        def sell_order(self, order_id: str) -> None: ...

        @staticmethod
        def pause_order(order_id: str) -> None: ...

        def _inner(self) -> None: ...

    Hook.__module__ = f"{PACKAGE}.hooks.later"
    assert public_methods(Hook) - public_methods(ProxyOrdersHook) == {"sell_order", "pause_order"}
