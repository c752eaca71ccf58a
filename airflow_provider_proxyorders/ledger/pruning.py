"""Deletes old webhooks from the inbox once a day.

Two rules. The database picks the process that prunes today, so any number of receivers and triggerers may try. Each transaction
is small, so new webhooks wait only briefly.
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

#: Seconds between two checks for a new day.
EVERY = 3600.0


def prune_today(inbox: Inbox, days: float) -> int | None:
    """Prune, as the first process of today (UTC).

    :param days: for which a webhook stays after its last copy.
    :returns: the number of deleted webhooks, ``None`` if another process has pruned today.
    :raises LedgerError: the rest stays for another day.
    """
    today = inbox.clock().astimezone(timezone.utc).date().isoformat()
    if not facts.webhooks_pruned_on(facts.FactStore(inbox.engine, inbox.clock)).advance(today):
        return None
    return inbox.prune(days)


async def keep_pruned(open_inbox: Callable[[], Inbox], days: float) -> None:
    """Prune once a day, until cancelled.

    :param open_inbox: is called in a thread.
    """
    while True:
        try:
            deleted = await asyncio.to_thread(lambda: prune_today(open_inbox(), days))
            if deleted:
                log.info("Deleted %d webhooks older than %g days", deleted, days)
        except LedgerError as error:
            log.warning("Pruning old webhooks failed, next try in an hour: %s", error)
        await asyncio.sleep(EVERY)
