"""Hooks with real Airflow connections against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import connections
from .connections import VENDORS, Shops


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    yield from connections.shops(tmp_path, monkeypatch)


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    """The name of each vendor in turn."""
    name: str = request.param
    return name
