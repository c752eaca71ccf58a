"""Values only: money, orders, purchases, errors, accounts, dates, and the reading of user input.

The functions here let a package offer names without loading the modules behind them, and tell where a missing name is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

#: The packages whose names are public.
ROOMS = ("operators", "sensors", "hooks", "triggers")


def names_from(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package: each name loads when it is first used.

    :param modules: name -> the module of the package with this name.
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise missing_name(package, name)
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)  # the next use finds it there
        return value

    return load


def missing_name(package: str, name: str) -> Exception:
    """The error for a name that a package lacks: where it is, for a public class that is imported from another place.

    Python hides an ``AttributeError`` of ``from package import name`` behind a text of its own, and shows an ``ImportError``.
    """
    if name[:1].isupper():  # probes of Python and of tools are in small letters
        import difflib  # a DAG file that is right loads it never

        root = package.partition(".")[0]
        homes = {public: room for room in ROOMS for public in import_module(f"{root}.{room}").__all__}
        if near := difflib.get_close_matches(name, homes, n=1, cutoff=0.8):
            line = f"from {root}.{homes[near[0]]} import {near[0]}"
            return ImportError(f"{package} lacks {name}. Write: {line}", name=package)
    return AttributeError(f"module {package!r} has no attribute {name!r}")
