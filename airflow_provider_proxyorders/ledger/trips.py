"""Fewer trips to PostgreSQL: reads travel together, and a write, ``BEGIN`` or ``COMMIT`` travels with another statement.

Three rules. Statements that travel together are one message of the simple protocol, which every pooler passes on. They run in the
order in which the code names them. Each sees the database as of its own start, as if it came alone: what follows a lock sees all
that was committed before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect, Engine, Executable, RowMapping, Select

#: The driver with several statements in a message, of which each gives its rows.
DRIVER = "psycopg"
_PARAMETER = re.compile(r"%\((\w+)\)s")

#: A query and its values.
Read = tuple[Select[Any], Mapping[str, Any]]
#: A row by the names of its columns, as a query alone gives it, too.
Row = RowMapping | Mapping[str, Any]
Rows = Sequence[Row]


@cache
def connection_class() -> Any:
    """The driver's connection, whose next statement takes others along. Made late: an import costs every process."""
    import psycopg

    class TripConnection(psycopg.Connection[Any]):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            self.forget()
            self.in_transaction = False

        def forget(self) -> None:
            self.before: list[str] = []
            self.values: dict[str, Any] = {}
            self.after: list[str] = []
            self.has_ended = self.goes_together = False

        def take_along(self) -> tuple[list[str], dict[str, Any], list[str]]:
            """The statements before the next one, their values, and the statements after it."""
            before, values, after = self.before, self.values, self.after
            self.forget()
            self.has_ended = bool(after)
            return before, values, after

        def cursor(self, *arguments: Any, **options: Any) -> Any:
            if self.has_ended:
                raise AssertionError("a statement comes after the last one of its transaction")
            if self.before or self.after or self.goes_together:
                return _cursor_class()(self, row_factory=self.row_factory)
            return super().cursor(*arguments, **options)

    return TripConnection


@cache
def _cursor_class() -> Any:
    import psycopg

    class TripCursor(psycopg.ClientCursor[Any]):
        connection: Any

        def execute(self, query: Any, params: Any = (), **options: Any) -> Any:
            before, values, after = self.connection.take_along()
            super().execute(";".join([*before, query, *after]), values | dict(params), **options)
            for _ in before:
                self.nextset()
            return self

        def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
            before, values, _ = self.connection.take_along()
            if before:
                super().execute(";".join(before), values)
            super().executemany(query, params_seq, **options)

    return TripCursor


@contextmanager
def transaction(engine: Engine, autocommitting: Engine) -> Iterator[Connection]:
    """A connection with one transaction, committed at the end and taken back after an error.

    :param autocommitting: the same engine for single statements.
    """
    if engine.dialect.driver != DRIVER:
        with engine.begin() as connection:
            yield connection
        return
    with autocommitting.connect() as connection:
        driver = _driver_of(connection)
        driver.before, driver.in_transaction = ["BEGIN"], True
        try:
            with connection.begin():  # its commit and its rollback are trips only where the server has a transaction
                yield connection
                if driver.before not in ([], ["BEGIN"]):
                    connection.exec_driver_sql("COMMIT")
        finally:
            driver.forget()
            driver.in_transaction = False


def execute_last(connection: Connection, statement: Executable, values: Mapping[str, Any]) -> CursorResult[Any]:
    """Execute the last statement of a transaction; ``COMMIT`` travels with it. What may refuse the transaction comes before."""
    if _takes_along(connection):
        _driver_of(connection).after = ["COMMIT"]
    return connection.execute(statement, values)


def write_later(connection: Connection, statement: Executable, values: Mapping[str, Any]) -> None:
    """Execute a write of a transaction at the latest with its next statement. Nobody asks for its result."""
    if not _takes_along(connection):
        connection.execute(statement, values)
        return
    driver = _driver_of(connection)
    sql, parameters = _written(connection, statement, values, f"before_{len(driver.before)}")
    driver.before.append(sql)
    driver.values |= parameters


def together(connection: Connection, *reads: Read) -> list[Rows]:
    """The rows of independent reads, in one trip."""
    if not reads:
        return []
    if connection.dialect.driver != DRIVER:
        return [connection.execute(statement, values).mappings().all() for statement, values in reads]
    written = [_written(connection, *read, f"read_{number}") for number, read in enumerate(reads)]
    _driver_of(connection).goes_together = True
    parameters = {name: value for _, values in written for name, value in values.items()}
    result = connection.exec_driver_sql(";".join(sql for sql, _ in written), parameters)
    cursor: Any = result.cursor
    answers: list[Rows] = []
    for statement, _ in reads:
        names = statement.selected_columns.keys()
        answers.append([dict(zip(names, row, strict=True)) for row in cursor.fetchall()])
        cursor.nextset()
    result.close()
    return answers


def _takes_along(connection: Connection) -> bool:
    """Whether :func:`transaction` opened it with the driver for that."""
    return connection.dialect.driver == DRIVER and _driver_of(connection).in_transaction


def _driver_of(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _written(connection: Connection, statement: Executable, values: Mapping[str, Any], prefix: str) -> tuple[str, dict[str, Any]]:
    """A statement as the driver takes it, with names of its parameters that no other statement of the message has."""
    compiled, processors = _compiled(statement, connection.dialect, tuple(values))
    cleaned = {name: processors[name](value) if name in processors else value for name, value in values.items()}
    written = compiled.construct_expanded_state(cleaned)
    parameters = {f"{prefix}_{name}": value for name, value in written.parameters.items()}
    return _PARAMETER.sub(rf"%({prefix}_\1)s", written.statement), parameters


@lru_cache(maxsize=256)
def _compiled(statement: Any, dialect: Dialect, names: tuple[str, ...]) -> tuple[Any, Mapping[str, Any]]:
    """A statement as the dialect writes it for values of these names, and what its columns make of a value, such as odd text.

    Statements are made once, so few are kept here.
    """
    compiled = statement.compile(dialect=dialect, column_keys=names)
    of_types = {name: parameter.type.dialect_impl(dialect).bind_processor(dialect) for name, parameter in compiled.binds.items()}
    return compiled, {name: process for name, process in of_types.items() if process is not None}
