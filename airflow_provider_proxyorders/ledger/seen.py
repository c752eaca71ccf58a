"""Ids that reads saw at a vendor, such as ProxyScrape's sub-accounts: what is there before a purchase is not its own.

Two rules. An id is kept once for a wallet, and what a vendor showed once counts for good. The numbers grow in the order of the
reads, so one number tells what had been seen by then: a purchase keeps that mark in place of ten thousand ids.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, bindparam, select

from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.ledger import turns
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import insert_or_ignore
from airflow_provider_proxyorders.ledger.schema import seen_ids

#: The name of the number in a mark.
UP_TO = "up_to"

_OF_WALLET = seen_ids.c.wallet.in_(bindparam("_names", expanding=True)), seen_ids.c.vendor == bindparam("_vendor")
_SEEN = select(seen_ids.c.vendor_id, seen_ids.c.id).where(*_OF_WALLET)
_SEEN_UP_TO = select(seen_ids.c.vendor_id).where(*_OF_WALLET, seen_ids.c.id <= bindparam("_up_to"))


class LedgerSeenIds(Database):
    """The ids that were seen at the vendors of each wallet."""

    def see(self, wallet: str, vendor: str, ids: Iterable[str]) -> dict[str, int]:
        """Keep the ids of a read; returns the mark of all that was seen by now."""
        with self.autocommit() as connection:  # mostly nothing is new, so nothing is locked
            numbers = _numbers(connection, wallet, vendor)
        if new := sorted(set(ids) - numbers.keys()):
            with self.transaction() as connection:
                live = turns.live_name(connection, wallet)
                rows = [{"wallet": live, "vendor": vendor, "vendor_id": each} for each in new]
                connection.execute(insert_or_ignore(connection, seen_ids), rows)
                numbers = _numbers(connection, live, vendor)
        return {UP_TO: max(numbers.values(), default=0)}

    def with_seen(self, purchase: Purchase, evidence: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
        """The evidence of a purchase as its vendor made it: with the ids in place of their mark.

        :param name: the name of the ids in the evidence; ``None``: the vendor has none, see ``Vendor.seen_ids``.
        """
        mark = evidence.get(name) if name is not None else None
        if name is None or not isinstance(mark, Mapping):  # unreadable, or the ids themselves, from an older version
            return evidence
        return {**evidence, name: SeenIds(self, purchase.wallet, purchase.vendor, int(mark[UP_TO]))}

    def seen_up_to(self, wallet: str, vendor: str, number: int) -> frozenset[str]:
        """The ids that had been seen at a mark."""
        with self.autocommit() as connection:
            values = {"_names": _names(connection, wallet), "_vendor": vendor, "_up_to": number}
            return frozenset(connection.execute(_SEEN_UP_TO, values).scalars())


class SeenIds(Container[str]):
    """The ids of a mark, read when the first one is asked for: most orders are compared without."""

    def __init__(self, ledger: LedgerSeenIds, wallet: str, vendor: str, number: int):
        self._ledger, self._mark = ledger, (wallet, vendor, number)

    @cached_property
    def _ids(self) -> frozenset[str]:
        return self._ledger.seen_up_to(*self._mark)

    def __contains__(self, vendor_id: object) -> bool:
        return vendor_id in self._ids


def _numbers(connection: Connection, wallet: str, vendor: str) -> dict[str, int]:
    values = {"_names": _names(connection, wallet), "_vendor": vendor}
    return {row.vendor_id: row.id for row in connection.execute(_SEEN, values)}


def _names(connection: Connection, wallet: str) -> list[str]:
    """All names of a wallet: rows keep the name under which they were seen, also when two wallets become one."""
    live, former = turns.read_live(connection, wallet, turns.reading_former_names)
    return [live, *(row["wallet"] for row in former)]
