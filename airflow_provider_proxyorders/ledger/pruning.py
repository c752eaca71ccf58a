"""Forgets old webhook deliveries, once a day, by whichever process comes first.

Two rules: the database says who prunes today, so any number of receivers and triggerers may try; and it goes in small bites, so
that no delivery waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timezone

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import facts
from airflow_provider_proxyorders.ledger.inbox import Inbox

log = logging.getLogger(__name__)

#: Seconds between two looks whether it is another day.
EVERY = 3600.0


def prune_today(inbox: Inbox, days: float) -> int | None:
    """Prune where nobody did so today (UTC).

    :param days: how long a delivery is kept after it last arrived.
    :returns: how many deliveries were forgotten, None where it was done already.
    :raises LedgerError: the rest is left for another day.
    """
    today = inbox.clock().astimezone(timezone.utc).date().isoformat()
    if not facts.webhooks_pruned_on(facts.FactStore(inbox.engine, inbox.clock)).advance(today):
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
