"""Lists of purchases for people: filtered, sorted, and paged by key.

Three rules. A page begins behind the last row of the page before it, so a late page costs as much as the first. One filter
chooses the index, and the other filters are checked on its rows. A page looks at a bounded number of rows: if few of them match,
the page is short and names the place to go on from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import Engine, Integer, RowMapping, bindparam, or_, select

from airflow_provider_proxyorders.domain.model import UNRESOLVED, Actor, Money, Step
from airflow_provider_proxyorders.ledger import distinct
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import moment_of, stamp
from airflow_provider_proxyorders.ledger.rows import price_of
from airflow_provider_proxyorders.ledger.schema import purchases

SortedBy = Literal["updated_at", "created_at", "expires_at"]
#: Rows that one page looks at, and indexed parts of a list that are read beside each other.
SCANNED, MOST_PARTS = 1_000, 12
#: In place of a step: every purchase that may or may not have landed.
UNRESOLVED_STATE = "unresolved"

_UNRESOLVED_STEPS = [step.value for step in sorted({*UNRESOLVED, Step.INTENDED, Step.REJECTED})]
#: A purchase may have kilobytes of evidence, which no list shows.
_COLUMNS = [column for column in purchases.c if column.key not in ("evidence", "fingerprint", "request")]
_LIKE_SIGNS, _ESCAPED = re.compile("[%_/]"), r"/\g<0>"
_BY_KEY = select(*_COLUMNS).where(or_(purchases.c.order_key == bindparam("_text"), purchases.c.task_key == bindparam("_text")))
_BY_ID = (
    select(*_COLUMNS)
    .where(purchases.c.wallet.in_(bindparam("_wallets", expanding=True)), purchases.c.order_id == bindparam("_text"))
    .limit(bindparam("_limit", type_=Integer))
)
_SEARCHED = ("order_key", "task_key", "order_id", "target", "handle", "task_id", "vendor_status", "reason")


@dataclass(frozen=True)
class Filters:
    """What a list shows.

    :param conn_ids: only purchases through these connections; ``None``: through every connection.
    :param state: the value of a step, or ``unresolved``.
    :param since: from this moment on, of the time that the list is sorted by.
    :param until: before this moment, of the same time.
    :param text: a part of a key, an id, a task, or of the vendor's words, in any case.
    :param order_key: only the purchase with this very key in the ledger.
    """

    conn_ids: frozenset[str] | None = None
    conn_id: str | None = None
    vendor: str | None = None
    wallet: str | None = None
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    state: str | None = None
    kind: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    order_key: str | None = None


@dataclass(frozen=True)
class Place:
    """A place in a sorted list: the sorted value of a row, and its key for rows with the same value."""

    value: str
    order_key: str


@dataclass(frozen=True)
class ListedPurchase:
    """One line of a list.

    :param task: the task that intended it.
    """

    order_key: str
    kind: str
    vendor: str
    conn_id: str
    wallet: str
    step: Step
    order_id: str | None
    target: str | None
    vendor_status: str | None
    reserved: Money
    price: Money | None
    expires_at: datetime | None
    delivered: int | None
    reason: str
    unresolved: bool
    sent_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    task: Actor


@dataclass(frozen=True)
class Page:
    """A page of a list.

    :param after: the place behind which the list goes on; ``None`` at its end.
    """

    rows: Sequence[ListedPurchase]
    after: Place | None


@dataclass(frozen=True)
class _Part:
    """The matching rows of one indexed part of a list, and the place up to which they are complete."""

    rows: list[RowMapping]
    horizon: Place | None


class Listing(Database):
    """The lists of one ledger database. It only reads."""

    def page(
        self,
        filters: Filters,
        *,
        sorted_by: SortedBy = "updated_at",
        ascending: bool = False,
        after: Place | None = None,
        size: int = 50,
    ) -> Page:
        """The rows behind a place, at most ``size``."""
        paths, checks = _paths(self.engine, filters, sorted_by)
        query = _Query(self.engine.dialect.name, sorted_by, ascending, filters, after, checks)
        scanned = max(200, SCANNED // max(1, len(paths)))
        parts = [self._read(path, query, size, scanned) for path in paths]
        rows = sorted((row for part in parts for row in part.rows), key=query.key_of, reverse=not ascending)
        horizons = [(part.horizon.value, part.horizon.order_key) for part in parts if part.horizon is not None]
        nearest: Place | None = None
        if horizons:  # behind the nearest horizon, rows of its part may be missing
            end = min(horizons) if ascending else max(horizons)
            rows = [row for row in rows if (query.key_of(row) <= end if ascending else query.key_of(row) >= end)]
            nearest = Place(*end)
        if len(rows) > size:
            rows = rows[:size]
            nearest = query.place_of(rows[-1])
        return Page([listed(row) for row in rows], nearest)

    def every_row(self, filters: Filters, *, sorted_by: SortedBy, ascending: bool) -> Iterator[ListedPurchase]:
        """All rows, read a page at a time."""
        place: Place | None = None
        while True:
            page = self.page(filters, sorted_by=sorted_by, ascending=ascending, after=place, size=1000)
            yield from page.rows
            place = page.after
            if place is None:
                return

    def exact(self, text: str, conn_ids: frozenset[str] | None) -> list[ListedPurchase]:
        """The purchases with this very order key or order id, at most a hundred of each."""
        wallets = distinct.values(self.engine, purchases.c.wallet)
        values = {"_text": text, "_wallets": wallets, "_limit": 100}
        with self.autocommit() as connection:
            rows = [row for query in (_BY_KEY, _BY_ID) for row in connection.execute(query, values).mappings()]
        readable = {row["order_key"]: row for row in rows if conn_ids is None or row["conn_id"] in conn_ids}
        return [listed(row) for row in readable.values()]

    def _read(self, path: Mapping[str, str], query: _Query, size: int, scanned: int) -> _Part:
        values = query.values_of(path) | {"_limit": size + 1, "_scanned": scanned}
        with self.autocommit() as connection:
            rows = list(connection.execute(_statement(query.shape_of(path)), values).mappings())
            if len(rows) > size:
                return _Part(rows, query.place_of(rows[-1]))
            if not query.checks:
                return _Part(rows, None)
            last = connection.execute(_last_scanned(query.shape_of(path)), values).mappings().first()
            return _Part(rows, query.place_of(last) if last is not None else None)


@dataclass(frozen=True)
class _Shape:
    """All that the text of a statement depends on; its values come at execution.

    :param path: the columns of the index.
    :param checks: the filters that are checked on each row.
    """

    dialect: str
    sorted_by: SortedBy
    ascending: bool
    path: tuple[str, ...]
    checks: tuple[str, ...]
    bounds: tuple[bool, bool, bool]


@dataclass(frozen=True)
class _Query:
    """How the parts of a list are read.

    :param checks: the filters without an index.
    """

    dialect: str
    sorted_by: SortedBy
    ascending: bool
    filters: Filters
    after: Place | None
    checks: Mapping[str, Any]

    def shape_of(self, path: Mapping[str, str]) -> _Shape:
        """The shape of the statement for one part."""
        bounds = (self.filters.since is not None, self.filters.until is not None, self.after is not None)
        return _Shape(self.dialect, self.sorted_by, self.ascending, tuple(path), tuple(self.checks), bounds)

    def values_of(self, path: Mapping[str, str]) -> dict[str, Any]:
        """The values of the statement for one part."""
        values: dict[str, Any] = {f"_at_{name}": value for name, value in path.items()}
        values |= {f"_check_{name}": value for name, value in self.checks.items()}
        if self.filters.since is not None:
            values["_since"] = stamp(self.filters.since)
        if self.filters.until is not None:
            values["_until"] = stamp(self.filters.until)
        if self.after is not None:
            values |= {"_value": self.after.value, "_key": self.after.order_key}
        return values

    def key_of(self, row: RowMapping) -> tuple[str, str]:
        return row[self.sorted_by], row["order_key"]

    def place_of(self, row: RowMapping) -> Place:
        return Place(*self.key_of(row))


def _paths(engine: Engine, filters: Filters, sorted_by: SortedBy) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The indexed parts of a list, each by its columns, and the checks of their rows."""
    if filters.conn_ids is not None and filters.conn_id is not None and filters.conn_id not in filters.conn_ids:
        return [], {}
    steps = [] if filters.state is None else _UNRESOLVED_STEPS if filters.state == UNRESOLVED_STATE else [filters.state]
    used: set[str] = set()
    paths: list[dict[str, str]] = [{}]
    if filters.order_key is not None:
        paths = [{"order_key": filters.order_key}]
    elif sorted_by == "updated_at":
        paths, used = _indexed(engine, filters, steps)
    checks = {
        name: value
        for name in ("conn_id", "vendor", "wallet", "dag_id", "run_id", "task_id", "map_index", "kind")
        if (value := getattr(filters, name)) is not None and name not in used
    }
    if steps and "step" not in used:
        checks["steps"] = steps
    if filters.state == UNRESOLVED_STATE:
        checks["maybe_sent"] = [step.value for step in sorted(UNRESOLVED)]
    if filters.conn_ids is not None and not used & {"conn_id", "conn_ids"}:
        checks["conn_ids"] = sorted(filters.conn_ids)
    if filters.text:
        checks["text"] = f"%{_LIKE_SIGNS.sub(_ESCAPED, filters.text)}%"
    return paths, checks


def _indexed(engine: Engine, filters: Filters, steps: Sequence[str]) -> tuple[list[dict[str, str]], set[str]]:
    """The parts of the most selective index, and the filters that they meet."""
    if filters.wallet is not None and steps:
        return [{"wallet": filters.wallet, "step": step} for step in steps], {"wallet", "step"}
    if filters.conn_id is not None:
        return [{"conn_id": filters.conn_id}], {"conn_id"}
    if filters.dag_id is not None:
        return [{"dag_id": filters.dag_id}], {"dag_id"}
    if steps:
        return [{"step": step} for step in steps], {"step"}
    if filters.wallet is not None:
        return [{"wallet": filters.wallet}], {"wallet"}
    if filters.vendor is not None:
        wallets = [name for name in distinct.values(engine, purchases.c.wallet) if name.startswith(f"{filters.vendor}:")]
        if len(wallets) <= MOST_PARTS:
            return [{"wallet": name} for name in wallets], {"vendor"}
    if filters.conn_ids is not None and len(filters.conn_ids) <= MOST_PARTS:
        return [{"conn_id": conn_id} for conn_id in sorted(filters.conn_ids)], {"conn_ids"}
    return [{}], set()


# Building a statement takes longer than running it, so each shape is built once.


@lru_cache(512)
def _statement(shape: _Shape) -> Any:
    """The matching rows of a part."""
    limit = bindparam("_limit", type_=Integer)
    if not shape.checks:
        return _scan(shape, _COLUMNS).limit(limit)
    scanned = _scan(shape, _COLUMNS).limit(bindparam("_scanned", type_=Integer)).subquery()
    return select(scanned).where(*(_check(scanned.c, name, shape.dialect) for name in shape.checks)).limit(limit)


@lru_cache(512)
def _last_scanned(shape: _Shape) -> Any:
    """The last row that a page looks at; none where the part ends before. The number of rows is the same for every page."""
    number: Any = bindparam("_scanned", type_=Integer)
    # with a LIMIT of 1 alone, SQLite may sort the whole table
    scanned = _scan(shape, [purchases.c[shape.sorted_by], purchases.c.order_key]).limit(number).subquery()
    return select(scanned).limit(1).offset(number - 1)


def _scan(shape: _Shape, columns: Sequence[Any]) -> Any:
    """The rows of a part in order, behind the place."""
    column = purchases.c[shape.sorted_by]
    # both databases and Python then sort keys alike
    key = purchases.c.order_key.collate("C" if shape.dialect == "postgresql" else "BINARY")
    value: Any = bindparam("_value")
    last: Any = bindparam("_key")
    query: Any = select(*columns).where(*(purchases.c[name] == bindparam(f"_at_{name}") for name in shape.path))
    since, until, after = shape.bounds
    if shape.sorted_by == "expires_at":
        query = query.where(column.is_not(None))
    if since:
        query = query.where(column >= bindparam("_since"))
    if until:
        query = query.where(column < bindparam("_until"))
    if after and shape.ascending:
        query = query.where(column >= value, or_(column > value, key > last))
    elif after:
        query = query.where(column <= value, or_(column < value, key < last))
    return query.order_by(column.asc(), key.asc()) if shape.ascending else query.order_by(column.desc(), key.desc())


def _check(columns: Any, name: str, dialect: str) -> Any:
    """A filter as a condition on the scanned rows."""
    value: Any = bindparam(f"_check_{name}")
    if name == "text":  # SQLite's LIKE takes letters of any case as it is
        like = "ilike" if dialect == "postgresql" else "like"
        return or_(*(getattr(columns[each], like)(value, escape="/") for each in _SEARCHED))
    if name == "maybe_sent":
        return or_(columns.maybe_sent, columns.step.in_(bindparam("_check_maybe_sent", expanding=True)))
    if name in ("conn_ids", "steps"):
        return columns[name.removesuffix("s")].in_(bindparam(f"_check_{name}", expanding=True))
    return columns[name] == value


def listed(row: RowMapping) -> ListedPurchase:
    """The line in a row."""
    step = Step(row["step"])
    return ListedPurchase(
        order_key=row["order_key"],
        kind=row["kind"],
        vendor=row["vendor"],
        conn_id=row["conn_id"],
        wallet=row["wallet"],
        step=step,
        order_id=row["order_id"],
        target=row["target"],
        vendor_status=row["vendor_status"],
        reserved=Money(Decimal(row["reserved"]), row["currency"]),
        price=price_of(row),
        expires_at=moment_of(row["expires_at"]),
        delivered=row["delivered"],
        reason=row["reason"],
        unresolved=step in UNRESOLVED or (bool(row["maybe_sent"]) and step in (Step.INTENDED, Step.REJECTED)),
        sent_at=moment_of(row["sent_at"]),
        created_at=moment_of(row["created_at"]),
        updated_at=moment_of(row["updated_at"]),
        task=Actor(row["dag_id"], row["run_id"], row["task_id"], row["map_index"]),
    )
