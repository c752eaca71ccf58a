"""What all tests share: a private Airflow home, and a PostgreSQL that starts when the first test asks for it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.ledgers import Postgres

# Before anybody imports airflow: it reads its environment once, and would make a folder in the user's home.
for _name in [name for name in os.environ if name.startswith(("AIRFLOW", "_AIRFLOW"))]:
    del os.environ[_name]
_HOME = tempfile.mkdtemp(prefix="proxyorders-airflow-")
os.environ.update(AIRFLOW_HOME=_HOME, AIRFLOW__CORE__LOAD_EXAMPLES="False", AIRFLOW__CORE__UNIT_TEST_MODE="False")
# Without bytecode every Airflow that a test starts takes two to three times as long.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what the generated tests counted."""
    counts = Counter[str]()
    for reports in terminalreporter.stats.values():
        for report in reports:
            counts.update(dict(report.user_properties) if getattr(report, "when", "") == "call" else {})
    for name, count in sorted(counts.items()):
        terminalreporter.write_line(f"{name}: {count}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first, so that a mistake shows early; those with a whole Airflow last; those with a real vendor on demand."""
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker("e2e")
        if "live" in item.path.parts:
            item.add_marker("live")
            if os.environ.get("PROXYORDERS_LIVE") != "1":
                item.add_marker(pytest.mark.skip(reason="talks to a real vendor; use `make live`"))
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)


@pytest.fixture(autouse=True)
def _no_open_ledgers() -> Iterator[None]:
    """Every test has ledgers of its own, so without this thousands of files would be open at the end of a run."""
    yield
    engines = sys.modules.get("airflow_provider_proxyorders.ledger.engine")
    if engines is not None:
        engines.close()


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests() -> Iterator[None]:
    """Airflow compiles one pattern of all secrets at each new one, so thousands of tests would cost more and more."""
    yield
    for name in ("airflow.sdk._shared.secrets_masker", "airflow._shared.secrets_masker"):
        if name in sys.modules:
            sys.modules[name].reset_secrets_masker()


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the whole run; ends with it."""
    from tests.ledgers import Postgres

    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Postgres(folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """SQLAlchemy URL of an empty ledger in PostgreSQL. Its connections end with the test: a server takes a hundred."""
    url = postgres.new_ledger()
    yield url
    postgres.take_back(url)


@pytest.fixture
def empty_postgres_url(postgres: Postgres) -> Iterator[str]:
    """SQLAlchemy URL of a PostgreSQL database without any table."""
    url = postgres.new_database()
    yield url
    postgres.drop(url)
