"""The address of a ledger's database, what its driver is told, and how messages name it.

Two rules. A password stays out of every message, wherever the address holds it: before the host, in the query, or cut in two by a
sign that should be percent-encoded. Every connection, also the one that listens, is opened with the same arguments.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from airflow_provider_proxyorders.domain.errors import LedgerError

ADVICE = (
    "Check [proxyorders] ledger_url: a writable file for SQLite (sqlite:////absolute/path.db), or "
    "postgresql+psycopg://user:password@host/database."
)
#: Options of an address that messages show.
_OPEN_OPTIONS = frozenset({"host", "port", "uri", "mode"})
_HOST = r"[\w.-]+(?::\d+)?"
#: Several hosts with a comma, as libpq and psql take them: user and password, hosts, the rest.
_HOSTS = re.compile(rf"(postgres[^:/]*://(?:[^/?]*@)?)({_HOST}(?:,{_HOST})+)((?:[/?].*)?)")
_DRIVERS = ("psycopg", "psycopg2")
#: Arguments of the driver that an address cannot set, since the ledger depends on them.
_OURS = ("autocommit", "row_factory", "cursor_factory", "context")


def read_address(url: str) -> URL:
    """The parts of an address.

    :raises LedgerError: it is invalid; the text omits it.
    """
    try:
        address = make_url(_with_hosts_as_options(url))
    except (ArgumentError, ValueError):  # ValueError: a password in the place of the port
        raise LedgerError(f"[proxyorders] ledger_url must be a database URL. {ADVICE}", retry="never") from None
    if address.drivername in ("postgres", "postgresql"):
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() == "postgresql":
        _require_own_driver(address)
    return address


def connect_arguments(address: URL) -> dict[str, Any]:
    """The driver's arguments for a connection to PostgreSQL; those of the address come first.

    :raises LedgerError: hosts and ports of the address do not fit together.
    """
    dialect = address.get_dialect()()
    try:
        arguments: dict[str, Any] = dict(dialect.create_connect_args(address)[1])
        if "[" in str(arguments.get("host", "")):  # an IPv6 address in a list of hosts, which SQLAlchemy cuts in two
            raise ValueError
    except (ArgumentError, ValueError):
        raise LedgerError(
            "[proxyorders] ledger_url names hosts and ports that do not fit together: write each as host=h1:5432&host=h2:5432.",
            retry="never",
        ) from None
    arguments.setdefault("connect_timeout", 10)
    if "," in str(arguments.get("host", "")):
        arguments.setdefault("target_session_attrs", "read-write")  # the one that takes purchases
    arguments.pop("prepare_threshold", None)
    if dialect.driver == "psycopg":
        arguments["prepare_threshold"] = None  # a pooler hands a statement's name to another process's connection
    return arguments


def _with_hosts_as_options(url: str) -> str:
    """An address with ``h1:5432,h2:5432`` in the place of the host, in the form of ``host=h1:5432&host=h2:5432``."""
    match = _HOSTS.fullmatch(url)
    if match is None:
        return url
    before, hosts, rest = match.groups()
    path, mark, query = rest.partition("?")
    options = "&".join([*([query] if query else []), *(f"host={host}" for host in hosts.split(","))])
    return f"{before}{path or '/'}?{options}"


def _require_own_driver(address: URL) -> None:
    driver = address.drivername.partition("+")[2]
    if driver and driver not in _DRIVERS:
        raise LedgerError(
            f"[proxyorders] ledger_url names the driver {driver}, and the ledger needs postgresql+psycopg://.", retry="never"
        )
    if refused := [name for name in _OURS if name in address.query]:
        raise LedgerError(
            f"[proxyorders] ledger_url sets {refused[0]}, which the ledger sets itself: take it out of the address.",
            retry="never",
        )


def without_password(url: URL) -> str:
    """The address for messages."""
    if _cut_password(url):
        return f"{url.drivername}://***"
    hidden = [name for name in url.query if name not in _OPEN_OPTIONS]
    return url.difference_update_query(hidden).render_as_string(hide_password=True)


def redact(url: URL, text: str) -> str:
    """A text of the database or its library, without what :func:`without_password` hides."""
    secrets = [str(url.password or ""), *_cut_password(url)]
    for name, value in url.query.items():
        secrets += [] if name in _OPEN_OPTIONS else [value] if isinstance(value, str) else value
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***") if len(secret) >= 4 else text
    return text


def file_of(url: URL) -> str:
    """The path of a SQLite database, "" for one in memory and for PostgreSQL."""
    path = (url.database or "") if url.get_backend_name() == "sqlite" else ""
    if url.query.get("uri"):
        path = path.removeprefix("file:").partition("?")[0]
    return "" if path == ":memory:" else path


def _cut_password(url: URL) -> list[str]:
    """The parts with a bare ``@``: they hold a login, or the rest of a password."""
    if url.get_backend_name() == "sqlite":
        return []
    shown = [str(value) for name, value in url.query.items() if name in _OPEN_OPTIONS]
    parts = [url.host or "", url.database or "", *url.query, *shown]
    return [part for part in parts if "@" in part]
