"""One sandbox and one real Airflow for all end-to-end tests: PostgreSQL, scheduler, triggerer, DAG processor, API server.

Every test asks for ``box`` and gets full wallets and an empty book; its runs must have ended when it ends. A resumed task is
sometimes wrongly failed by Airflow 3.3 and tried again, so tests believe the sandbox's book and not the number of tries.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow
from tests.ledgers import Postgres
from tests.vendors import ROWS

VENDORS = tuple(ROWS)
WEBHOOK_SECRET = "e2e-webhook-secret"
#: A second wallet at IPRoyal, which only the tests of wallets use; it is opened by them, since a reset closes it.
WATCHED, WATCHED_TOKEN = "watched_wallet", "e2e-token-of-the-second-wallet"
#: A third wallet, without the purchases of other tests: the sandbox forgets them with each test, and the ledger does not.
RENEWED, RENEWED_TOKEN = "renewed_wallet", "e2e-token-of-the-third-wallet"
#: A connection without webhooks: no webhook will tell the order of a lost answer there.
WITHOUT_WEBHOOKS = "voodoo_without_webhooks"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The vendors; an order takes them two seconds."""
    with Sandbox.start(processing=2.0) as box:
        yield box


@pytest.fixture
def box(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox as on its first day: no orders, full wallets, no faults."""
    sandbox.state.reset()
    yield sandbox
    sandbox.clear_faults()


@pytest.fixture(scope="session")
def ledger_url(postgres: Postgres) -> str:
    """The ledger of the Airflow below, in a PostgreSQL database of its own."""
    return postgres.new_ledger()


@pytest.fixture(scope="session")
def ledger(ledger_url: str) -> Ledger:
    return open_ledger(ledger_url)


@pytest.fixture(scope="session")
def airflow(
    postgres: Postgres, ledger_url: str, sandbox: Sandbox, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    """A running Airflow with the project's DAGs, those of ``dags`` beside this file, and a connection for each vendor."""
    folder = tmp_path_factory.mktemp("dags")
    for source in (project / "dags", Path(__file__).parent / "dags"):
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    with LocalAirflow(
        tmp_path_factory.mktemp("airflow"),
        dags_folder=folder,
        connections={
            **{f"{vendor}_default": connection(sandbox, vendor) for vendor in VENDORS},
            WATCHED: {**connection(sandbox, "iproyal"), "password": WATCHED_TOKEN},
            RENEWED: {**connection(sandbox, "iproyal"), "password": RENEWED_TOKEN},
            WITHOUT_WEBHOOKS: connection(sandbox, "voodoo", webhook_secret=None),
        },
        database=postgres.new_database(),
        env={"AIRFLOW__PROXYORDERS__LEDGER_URL": ledger_url, "REFILL_CONN_ID": WATCHED, "REFILL_EVERY": "2"},
    ) as running:
        yield running


def connection(box: Sandbox, vendor: str, **extra: Any) -> dict[str, Any]:
    """The fields of a connection to a vendor of the sandbox."""
    limits = {"max_order_price": "100.00", "currency": "USD", **extra}
    if ROWS[vendor].vendor.webhook:
        limits.setdefault("webhook_secret", WEBHOOK_SECRET)
    return {"conn_type": vendor, "host": box.url(vendor), "password": box.token(vendor), "extra": limits}
