"""The address of a ledger's database, and how messages name it.

One rule: a password stays out of every message, wherever the address holds it: before the host, in the query, or cut in two by a
sign that should be percent-encoded.
"""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from airflow_provider_proxyorders.domain.errors import LedgerError

ADVICE = (
    "Check [proxyorders] ledger_url: a writable file for SQLite (sqlite:////absolute/path.db), or "
    "postgresql+psycopg://user:password@host/database."
)
#: Options of an address that messages show.
_OPEN_OPTIONS = frozenset({"host", "port", "uri", "mode"})


def read_address(url: str) -> URL:
    """The parts of an address.

    :raises LedgerError: it is invalid; the text omits it.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a password in the place of the port
        raise LedgerError(f"[proxyorders] ledger_url must be a database URL. {ADVICE}", retry="never") from None
    return address.set(drivername="postgresql+psycopg") if address.drivername in ("postgres", "postgresql") else address


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
    """The parts behind a password with a bare ``@``: they hold its rest."""
    if url.get_backend_name() == "sqlite":
        return []
    parts = [url.host or "", url.database or "", *url.query]
    return [part for part in parts if "@" in part]
