"""Values only: money, orders, purchases, errors, accounts, dates, and the reading of user input.

The function here lets a package offer names without loading the modules behind them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names_from(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package: each name loads when it is first used.

    :param modules: name -> the module of the package with this name.
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)  # the next use finds it there
        return value

    return load
