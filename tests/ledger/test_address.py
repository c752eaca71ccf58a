"""A ledger's address in messages, and the rights of its file."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path

import pytest

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.ledger.address import connect_arguments, read_address, without_password
from airflow_provider_proxyorders.ledger.inspect import examine, mode_for_others
from tests.ledgers import sqlite_ledger

HIDDEN = "hush-quiet"
#: Addresses with a password in every place that a person or a library puts it, right or wrong.
FORMS = {
    "before the host": "postgresql+psycopg://me:hush-quiet@127.0.0.1:1/p",
    "short driver": "postgres://me:hush-quiet@127.0.0.1:1/p",
    "in the query": "postgresql+psycopg://127.0.0.1:1/p?user=me&password=hush-quiet",
    "of the client's key": "postgresql+psycopg://me@127.0.0.1:1/p?sslmode=disable&sslpassword=hush-quiet",
    "twice in the query": "postgresql+psycopg://127.0.0.1:1/p?password=a&password=hush-quiet",
    "an unknown option": "postgresql+psycopg://127.0.0.1:1/p?passwort=hush-quiet",
    "with a bare @": "postgresql+psycopg://me:my@hush-quiet@127.0.0.1:1/p",
    "with a bare @ and /": "postgresql+psycopg://me:my@127/hush-quiet@127.0.0.1:1/p",
    "with a bare @ and ?": "postgresql+psycopg://me:my@127?hush-quiet@127.0.0.1:1/p",
    "a login in a host of the query": "postgresql+psycopg:///p?host=me:hush-quiet@127.0.0.1&port=1",
    "a login in several hosts of the query": "postgresql+psycopg:///p?host=me:hush-quiet@127.0.0.1:1&host=127.0.0.1:1",
    "a login before the second host": "postgresql+psycopg://127.0.0.1:1,me:hush-quiet@127.0.0.1:1/p",
    "in the place of the port": "postgresql+psycopg://me:hush-quiet/p",
    "percent-encoded": "postgresql+psycopg://me:%68ush-quiet@127.0.0.1:1/p",
    "another database": "mysql://me:hush-quiet@127.0.0.1/p",
    "without a driver": "://me:hush-quiet@127.0.0.1/p",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_password_stays_out_of_errors(form: str) -> None:
    for use in (open_ledger, examine):
        with pytest.raises(LedgerError) as error:
            use(FORMS[form])
        shown = "".join(traceback.format_exception(error.value))
        assert HIDDEN not in str(error.value) and HIDDEN not in shown.replace(FORMS[form], "")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql+psycopg://me:hush@db.example.com:5432/p", "postgresql+psycopg://me:***@db.example.com:5432/p"),
        ("postgresql://me@/p?host=/run/pg&password=hush", "postgresql+psycopg://me@/p?host=%2Frun%2Fpg"),
        ("postgresql://me:a@b@db/p", "postgresql+psycopg://***"),
        ("sqlite:////srv/me@home/p.db", "sqlite:////srv/me@home/p.db"),
    ],
)
def test_the_place_of_a_ledger_is_named(url: str, place: str) -> None:
    assert without_password(read_address(url)) in (place, place.replace("me@home", "me%40home"))  # SQLAlchemy 2.0, and 2.1


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h1:5432,h2:5433/db", {"host": "h1,h2", "port": "5432,5433", "target_session_attrs": "read-write"}),
        ("postgresql://u:a%40b@h1,h2/db?sslmode=require", {"host": "h1,h2", "password": "a@b", "sslmode": "require"}),
        ("postgresql://u@/db?host=h1:1&host=h2:2", {"host": "h1,h2", "port": "1,2", "target_session_attrs": "read-write"}),
        ("postgresql://h1,h2/db?target_session_attrs=any", {"target_session_attrs": "any"}),
        ("postgresql://u@h/db?connect_timeout=3", {"connect_timeout": "3", "prepare_threshold": None}),
        ("postgresql://u@h/db?prepare_threshold=0", {"connect_timeout": 10, "prepare_threshold": None}),
        ("postgresql://u@h/db?options=-c%20lock_timeout%3D7s", {"options": "-c lock_timeout=7s"}),
        ("postgresql+psycopg2://u@[::1]:5/db", {"host": "::1", "port": 5}),
    ],
)
def test_the_driver_is_told_what_operators_write(url: str, expected: dict[str, object]) -> None:
    arguments = connect_arguments(read_address(url))
    assert {name: arguments.get(name, "missing") for name in expected} == expected
    assert "psycopg2" not in url or "prepare_threshold" not in arguments


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://me:hush-quiet@h1:x,h2:5/p", "must be a database URL"),
        ("postgresql://me:hush-quiet@/p?host=h1&host=h2&port=1", "hosts and ports that do not fit together"),
        ("postgresql://me:hush-quiet@/p?host=[::1]:5&host=h2:5", "hosts and ports that do not fit together"),
        ("postgresql://me:hush-quiet@h/p?autocommit=true", "sets autocommit, which the ledger sets itself"),
        ("postgresql+asyncpg://me:hush-quiet@h/p", "the ledger needs postgresql+psycopg://"),
        ("postgresql://me:hush,quiet/p", "must be a database URL"),
    ],
)
def test_an_address_that_cannot_work_is_refused_in_one_sentence(url: str, says: str) -> None:
    with pytest.raises(LedgerError, match=re.escape(says)) as error:
        open_ledger(url)
    assert error.value.retry == "never" and "hush" not in str(error.value)


@pytest.mark.parametrize("form", ["sqlite:///{}", "sqlite:///file:{}?uri=true", "sqlite:///file:{}?mode=rwc&uri=true"])
def test_only_its_owner_may_read_a_new_file(tmp_path: Path, form: str) -> None:
    """Under any umask; the files beside it hold the same rows."""
    url, before = form.format(tmp_path / "new.db"), os.umask(0)
    try:
        ledger = open_ledger(url)
        with ledger.engine.connect() as connection:
            ledger.decide_once("a", "1")
            files = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
            connection.rollback()
    finally:
        os.umask(before)
    assert files == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}
    assert mode_for_others(url) == ""


def test_a_file_that_others_may_read_keeps_its_mode_and_is_named(tmp_path: Path) -> None:
    url = sqlite_ledger(tmp_path)
    assert mode_for_others(url) == ""
    (tmp_path / "ledger.db").chmod(0o640)
    open_ledger(url).decide_once("a", "1")
    assert mode_for_others(url) == "0640"
