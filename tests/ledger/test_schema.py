"""A database gets its tables once, under a lock, before its first use."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.ledger.engine import engine_for
from airflow_provider_proxyorders.ledger.schema import HEAD, VERSION_TABLE, VERSIONS, metadata


def test_first_use_builds_what_the_code_describes(empty_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with open_ledger(empty_url).engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all() == [HEAD]


def test_the_code_knows_every_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import airflow_provider_proxyorders.ledger.schema as schema

    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    assert script.get_current_head() == HEAD
    assert {revision.revision for revision in script.walk_revisions()} == set(VERSIONS)


def test_many_first_users_at_once(empty_url: str) -> None:
    errors: list[BaseException] = []
    ready = threading.Barrier(6)

    def use() -> None:
        ready.wait()
        try:
            open_ledger(empty_url)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert set(metadata.tables) <= set(inspect(engine_for(empty_url)).get_table_names())


def test_a_newer_ledger_is_refused_and_left_alone(ledger_url: str) -> None:
    engine = open_ledger(ledger_url).engine
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(LedgerError, match=r"schema version '9999'.*newer package on every host.*bought nothing") as refused:
        open_ledger(ledger_url)
    assert refused.value.retry == "never"
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == "9999"


def test_sqlite_keeps_what_it_said_it_kept(tmp_path: Path) -> None:
    with open_ledger(f"sqlite:///{tmp_path}/l.db").engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////no/such/folder/l.db", "unable to open database file"),
        ("postgresql+psycopg://user:hunter2-secret@127.0.0.1:1/none", "cannot be used"),
        ("mysql://user:hunter2-secret@127.0.0.1/none", "must be SQLite or PostgreSQL, got 'mysql'|needs a missing driver"),
        ("not a url", "ledger_url must be a database URL"),
    ],
)
def test_a_ledger_that_cannot_be_used_says_how_to_mend_it_and_keeps_its_password(url: str, says: str) -> None:
    with pytest.raises(LedgerError, match=says) as error:
        open_ledger(url)
    assert "This try bought nothing" in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_read_only_ledger_buys_nothing(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    open_ledger(f"sqlite:///{path}").engine.dispose()
    with pytest.raises(LedgerError, match="readonly database"):
        ledger = open_ledger(f"sqlite:///file:{path}?mode=ro&uri=true")
        ledger.decide_once("a", "b")


def test_engines_are_kept(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/l.db"
    assert open_ledger(url).engine is open_ledger(url).engine
    assert create_engine(url) is not open_ledger(url).engine
