"""The pytest plugin for tests of your own DAGs: pytest finds it by its entry point.

One rule: pytest loads this file in every project with this package, so it imports the rest when a test asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_proxyorders.sandbox import Sandbox

#: They would send calls to this machine through a proxy elsewhere.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle")


@pytest.fixture
def proxyorders_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """The vendors on a free port of this machine, with invented money, for one test.

    The connections ``proxyscrape_default``, ``iproyal_default``, ``voodoo_default`` and ``proxy6_default`` lead there, and the
    test has a ledger of its own. Read ``book`` and ``balance``, break something with ``fault``, steer with ``control``, and let
    time pass with ``advance``.
    """
    from airflow_provider_proxyorders.ledger import engine
    from airflow_provider_proxyorders.sandbox import Sandbox

    for name in _PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", f"sqlite:///{tmp_path}/proxyorders.db")
    with Sandbox.start(processing=0) as box:
        for vendor in box.state.vendors:
            monkeypatch.setenv(f"AIRFLOW_CONN_{vendor.upper()}_DEFAULT", json.dumps(box.connection(vendor, settle=0.3)))
        yield box
        engine.close()
