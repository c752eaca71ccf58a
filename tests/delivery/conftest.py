"""Airflow connections to the sandbox, as for the hooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hooks import connections
from tests.hooks.connections import Shops


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    yield from connections.shops(tmp_path, monkeypatch)
