"""Hears of new webhooks: at once where PostgreSQL can tell, else by short polls.

One rule: silence is tested. A pooler in transaction mode takes ``LISTEN`` and forgets it, so a listener notifies itself through
the ledger's own connections before it believes that it hears.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import Engine, text

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger.address import connect_arguments, redact
from airflow_provider_proxyorders.ledger.engine import autocommitting, engine_for, translated_errors
from airflow_provider_proxyorders.ledger.inbox import CHANNEL

if TYPE_CHECKING:
    from psycopg import AsyncConnection

log = logging.getLogger(__name__)

#: Seconds between two looks: at a SQLite file, and at a PostgreSQL that cannot tell.
EVERY, EVERY_IF_DEAF = 0.5, 1.0
#: Seconds for the test notification to arrive.
DEAF_AFTER = 3.0
#: A listener sends nothing, so without these a vanished server would be noticed after hours.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


async def arrivals(url: str, longest: float, listen_url: str = "") -> AsyncIterator[None]:
    """Yields when the inbox may hold a new webhook: at once with PostgreSQL, every half second with SQLite.

    :param longest: most seconds between two yields with PostgreSQL.
    :param listen_url: another address of the same database for listening, such as one past the pooler.
    :raises LedgerError: listening failed.
    """
    engine = engine_for(url)
    if engine.dialect.name != "postgresql":
        while True:
            yield
            await asyncio.sleep(EVERY)
    import psycopg

    listening = engine_for(listen_url) if listen_url else engine
    arguments = {**_KEEPALIVES, **connect_arguments(listening.url), "prepare_threshold": None}
    probe = f"proxyorders_probe_{uuid4().hex}"
    try:
        connection = await psycopg.AsyncConnection.connect(**arguments, autocommit=True)
        async with connection:
            for channel in (CHANNEL, probe):
                await connection.execute(f"LISTEN {channel}")
            await asyncio.to_thread(_notify, engine, probe)
            if await _hears(connection, probe):
                await connection.execute(f"UNLISTEN {probe}")
                while True:
                    yield
                    async for _ in connection.notifies(timeout=longest, stop_after=1):
                        pass
            await connection.execute("UNLISTEN *")  # a pooler gives the server's side to others
    except psycopg.Error as error:
        cause = redact(listening.url, str(error)).strip().partition("\n")[0] or type(error).__name__
        raise LedgerError(f"listening to the inbox failed: {cause}") from None
    log.warning(
        "PostgreSQL's notifications do not arrive here: a pooler in transaction mode stands in between, or [proxyorders] "
        "ledger_listen_url names another database. The inbox is read every second. For less, set ledger_listen_url to "
        "PostgreSQL's own address."
    )
    while True:
        yield
        await asyncio.sleep(EVERY_IF_DEAF)


def _notify(engine: Engine, channel: str) -> None:
    with translated_errors(engine.url), autocommitting(engine).connect() as connection:
        connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": channel})


async def _hears(connection: AsyncConnection[Any], channel: str) -> bool:
    async for notification in connection.notifies(timeout=DEAF_AFTER):
        if notification.channel == channel:
            return True
    return False
