"""Every test that takes ``exchange`` runs once for each golden exchange."""

from __future__ import annotations

import pytest

from tests.contract.replay import exchanges


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "exchange" in metafunc.fixturenames:
        found = exchanges()
        metafunc.parametrize("exchange", found, ids=[exchange.name for exchange in found])
