"""Rights that end by themselves, and what ends those that would last too long.

Rule: a right ends when it was to end, and no later than one full length after any look at it. A host whose clock runs ahead may
write down an end that is hours away, and die. The first worker that meets such an end cuts it, in the ledger, so that every other
worker sees the same end. A cut leaves a full length, so a worker that is still at work keeps all of its time.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import bindparam, select, update

from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.ledger import turns
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import stamp
from airflow_provider_proxyorders.ledger.rows import purchase_of
from airflow_provider_proxyorders.ledger.schema import purchases, tickets, wallets

#: Seconds for which a purchase has the turn on its wallet without being sent.
TURN = 120.0
#: Seconds for which a place in the line before the turn lasts without being renewed.
TICKET = 15.0

_FIND_PURCHASE = select(purchases).where(purchases.c.order_key == bindparam("_key"))
_CUT_TURN = (
    update(wallets)
    .where(wallets.c.wallet == bindparam("_wallet"), wallets.c.turn_until > bindparam("_longest"))
    .values(turn_until=bindparam("_longest"))
)
_CUT_TICKETS = (
    update(tickets)
    .where(tickets.c.wallet == bindparam("_wallet"), tickets.c.until > bindparam("_longest"))
    .values(until=bindparam("_longest"))
)
_CUT_SENDING = (
    update(purchases)
    .where(
        purchases.c.order_key == bindparam("_key"),
        purchases.c.step == Step.SENT.value,
        purchases.c.fence == bindparam("_fence"),
        purchases.c.sent_at > bindparam("_now"),
    )
    .values(sent_at=bindparam("_now"), sent_until=bindparam("_longest"))
)


def longest() -> float:
    """Seconds for which a turn or a place in the line lasts at most. A waiter at work keeps its place as long as a turn."""
    return max(TURN, TICKET)


class LedgerLeases(Database):
    """The part of a ledger that ends rights in time."""

    def cut_turn(self, wallet: str) -> None:
        """Let the turn on a wallet end in time, and each place in its line."""
        end = stamp(self.clock() + timedelta(seconds=longest()))
        with self.transaction() as connection:
            values = {"_wallet": turns.lock(connection, wallet)["wallet"], "_longest": end}
            connection.execute(_CUT_TURN, values)
            connection.execute(_CUT_TICKETS, values)

    def cut_sending(self, purchase: Purchase) -> Purchase:
        """Let the wait of a sender end in time. It was sent later than now only by the clock of its sender.

        :returns: the purchase as it stands.
        """
        now = self.clock()
        if purchase.step is not Step.SENT or purchase.sent_at is None or purchase.sent_until is None or purchase.sent_at <= now:
            return purchase
        longest = now + (purchase.sent_until - purchase.sent_at)
        with self.transaction() as connection:
            turns.lock(connection, purchase.wallet)
            cut = {"_key": purchase.order_key, "_fence": purchase.fence, "_now": stamp(now), "_longest": stamp(longest)}
            connection.execute(_CUT_SENDING, cut)
            return purchase_of(connection.execute(_FIND_PURCHASE, {"_key": purchase.order_key}).mappings().one())
