"""Forgets old webhook deliveries, once a day, by whichever process comes first.

Two rules: the database says who prunes today, so any number of receivers and triggerers may try; and it goes in small bites, so
that no delivery waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timezone
from typing import Any

from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger.engine import speaking_of
from airflow_provider_proxyorders.ledger.inbox import Inbox
from airflow_provider_proxyorders.ledger.schema import facts

log = logging.getLogger(__name__)

#: Name of the anchor that holds the last day on which somebody pruned.
NAME = "webhooks pruned on"
#: Seconds between two looks whether it is another day.
EVERY = 3600.0


def prune_today(inbox: Inbox, days: float) -> int | None:
    """Prune where nobody did so today (UTC).

    :param days: how long a delivery is kept after it last arrived.
    :returns: how many deliveries were forgotten, None where it was done already.
    :raises LedgerError: the rest is left for another day.
    """
    now = inbox.clock().astimezone(timezone.utc)
    today = {"value": now.date().isoformat(), "at": now.isoformat(timespec="microseconds")}
    insert: Any = postgres_insert if inbox.engine.dialect.name == "postgresql" else sqlite_insert
    claim = insert(facts).values(name=NAME, **today)
    claim = claim.on_conflict_do_update(index_elements=[facts.c.name], set_=today, where=facts.c.value < claim.excluded.value)
    with speaking_of(inbox.engine.url), inbox.engine.begin() as connection:
        mine = connection.execute(claim.returning(facts.c.name)).first()
    if mine is None:
        return None
    return inbox.prune(days)


async def keep_pruned(opened: Callable[[], Inbox], days: float) -> None:
    """Prune once a day for as long as this runs.

    :param opened: opens the inbox; called in a thread.
    """
    while True:
        try:
            gone = await asyncio.to_thread(lambda: prune_today(opened(), days))
            if gone:
                log.info("Forgot %d webhook deliveries of more than %g days ago", gone, days)
        except LedgerError as error:
            log.warning("Old webhook deliveries cannot be pruned right now: %s", error)
        await asyncio.sleep(EVERY)
