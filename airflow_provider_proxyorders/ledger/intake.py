"""How many webhooks a day make new rows for a wallet. So a stolen webhook secret cannot fill the disk.

Two rules. The ledger keeps the count, so any number of receivers share it, and a restart changes nothing. A copy of a stored
webhook makes no row and does not count, so a replay cannot use up the count of a wallet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, bindparam, func, select

from airflow_provider_proxyorders.ledger.dialect import insert_into
from airflow_provider_proxyorders.ledger.schema import facts, webhooks

#: New rows of one wallet in a day (UTC).
MOST_A_DAY = 200_000

_VALUES = select(facts.c.name, facts.c.value).where(facts.c.name.in_(bindparam("_names", expanding=True)))
_STORED = select(webhooks.c.digest).where(webhooks.c.digest.in_(bindparam("_digests", expanding=True)))
_NEW_ROWS = (
    select(webhooks.c.wallet, func.count().label("new_rows"))
    .where(webhooks.c.id > bindparam("_after"))
    .group_by(webhooks.c.wallet)
)


def beyond_limit(connection: Connection, digests: Iterable[tuple[str, str]], today: str) -> frozenset[str]:
    """The webhooks that would exceed the day's count of their wallet.

    :param digests: wallet and digest of each webhook, in the order of arrival.
    :param today: ``YYYY-MM-DD``.
    """
    by_wallet = defaultdict[str, list[str]](list)
    for wallet, digest in digests:
        by_wallet[wallet].append(digest)
    counts, beyond = _counts(connection, by_wallet, today), set[str]()
    for wallet, arrived in by_wallet.items():
        room = max(0, MOST_A_DAY - counts[wallet])
        if len(arrived) > room:
            stored = set(connection.execute(_STORED, {"_digests": arrived}).scalars())
            beyond.update([digest for digest in arrived if digest not in stored][room:])
    return frozenset(beyond)


def add_new_rows(connection: Connection, after: int, now: str) -> None:
    """Add the rows after a number to the day's counts of their wallets.

    :param now: the moment as text; it begins with the day.
    """
    new_rows = {row.wallet: int(row.new_rows) for row in connection.execute(_NEW_ROWS, {"_after": after})}
    counts = _counts(connection, new_rows, now[:10]) if new_rows else {}
    for wallet, count in new_rows.items():
        value = {"value": f"{now[:10]} {counts[wallet] + count}", "at": now}
        insert = insert_into(connection, facts).values(name=_name(wallet), **value)
        connection.execute(insert.on_conflict_do_update(index_elements=[facts.c.name], set_=value))


def _counts(connection: Connection, wallets: Iterable[str], today: str) -> Mapping[str, int]:
    names = {_name(wallet): wallet for wallet in wallets}
    counts = dict.fromkeys(names.values(), 0)
    for name, value in connection.execute(_VALUES, {"_names": list(names)}):
        day, _, count = value.partition(" ")
        if day == today:
            counts[names[name]] = int(count)
    return counts


def _name(wallet: str) -> str:
    """The name of a wallet's fact: the day and its count."""
    return f"webhooks of {wallet}"


__all__ = ["MOST_A_DAY", "add_new_rows", "beyond_limit"]
