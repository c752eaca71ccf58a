"""Takes back what the ledger held for settled: a refusal, a proof of absence, or an order under a wrong id.

Two rules. A purchase that may have landed after all counts for the limits again, and it cannot be sent before somebody has
looked. The order of a late answer with no place in its purchase stays there as an open question.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_proxyorders.domain.errors import ConfigError, LedgerError
from airflow_provider_proxyorders.domain.model import Actor, Purchase, Step
from airflow_provider_proxyorders.ledger import ownership, questions, spending, turns
from airflow_provider_proxyorders.ledger.counting import count, count_beside
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.writes import change


class LedgerCorrections(Database):
    """The part of a ledger that takes a purchase back."""

    def reopen(self, purchase: Purchase, why: str, actor: Actor) -> Purchase:
        """Make a purchase unresolved again, because an earlier sending may have landed: UNKNOWN, counted as reserved.

        A worker that has intended it meanwhile can send it no more.

        :param purchase: INTENDED or REJECTED.
        :raises StaleClaim: another worker has taken it further.
        :raises LedgerError: the purchase stands at another step. Nothing was changed.
        """
        now = self.clock()
        if purchase.step not in (Step.INTENDED, Step.REJECTED):
            raise LedgerError(
                f"{purchase.order_key!r} cannot go from {purchase.step.value} back to unknown; nothing was changed", retry="never"
            )
        with self.transaction() as connection:
            purchase = turns.in_wallet(purchase, turns.lock(connection, purchase.wallet))
            if purchase.step is Step.REJECTED:
                purchase = change(connection, purchase, Step.INTENDED, why, actor, now, {})
            turns.leave(connection, purchase)
            changes = count(connection, purchase, spending.millionths(purchase.reserved.amount))
            changes |= {"maybe_sent": True, "fence": purchase.fence + 1}
            return change(connection, purchase, Step.UNKNOWN, why, actor, now, changes)

    def disown(self, purchase: Purchase, why: str, actor: Actor) -> Purchase:
        """Take the order of an answer away from a purchase: it is not there, or it is another order. UNKNOWN, the id is free.

        The limits count the purchase as reserved, since it may have landed as another order.

        :param purchase: PLACED and not confirmed.
        :raises StaleClaim: another worker has taken it further.
        """
        now = self.clock()
        with self.transaction() as connection:
            purchase = turns.in_wallet(purchase, turns.lock(connection, purchase.wallet))
            ownership.release(connection, purchase)
            changes: dict[str, Any] = count(connection, purchase, spending.millionths(purchase.reserved.amount))
            changes |= {"order_id": None, "handle": None, "vendor_status": None, "price": None, "refund": None, "reason": ""}
            changes |= {"expires_at": None, "delivered": None, "confirmed": False}
            changes |= {"maybe_sent": True, "fence": purchase.fence + 1}
            return change(connection, purchase, Step.UNKNOWN, why, actor, now, changes)

    def give_up(self, purchase: Purchase, why: str, actor: Actor) -> Purchase:
        """End a purchase that was never sent: its reservation and its turn are given back, and its key stands for nothing.

        A worker that has intended it meanwhile must intend it anew.

        :param purchase: INTENDED.
        :raises LedgerError: it may have been sent, or stands at another step. Nothing was changed.
        :raises StaleClaim: another worker has taken it further meanwhile. Nothing was changed.
        """
        now = self.clock()
        if purchase.step is not Step.INTENDED or purchase.maybe_sent:
            raise LedgerError(f"{purchase.order_key!r} may have been sent; nothing was changed", retry="never")
        with self.transaction() as connection:
            purchase = turns.in_wallet(purchase, turns.lock(connection, purchase.wallet))
            turns.leave(connection, purchase)
            changes: dict[str, Any] = {**count(connection, purchase, 0), "fence": purchase.fence + 1}
            return change(connection, purchase, Step.REJECTED, why, actor, now, changes)

    def ask(self, purchase: Purchase, order_id: str, why: str, actor: Actor) -> Purchase:
        """Keep the order of a late answer as an open question about its purchase. The wallet freezes.

        :param purchase: as the caller knows it; it stays at its step.
        :param why: one sentence for a person.
        :raises StaleClaim: another worker has taken it further meanwhile. Nothing was changed.
        """
        now = self.clock()
        with self.transaction() as connection:
            purchase = turns.in_wallet(purchase, turns.lock(connection, purchase.wallet))
            if questions.put(connection, purchase, order_id, why, now):
                count_beside(connection, purchase, purchase.reserved.amount)
            return change(connection, purchase, purchase.step, why, actor, now, {})

    def note(self, purchase: Purchase, why: str, actor: Actor) -> Purchase:
        """Add a line to the history of a purchase, which stays as it is.

        :raises StaleClaim: another worker has taken it further meanwhile. Nothing was changed.
        """
        now = self.clock()
        with self.transaction() as connection:
            purchase = turns.in_wallet(purchase, turns.lock(connection, purchase.wallet))
            return change(connection, purchase, purchase.step, why, actor, now, {})

    def answer(self, purchase: Purchase, order_id: str, answer: str, actor: Actor) -> Purchase:
        """Close an open question without the order: it was paid back, or belongs to somebody else. Its reservation ends.

        :raises ConfigError: no question about this order is open. Nothing was changed.
        :raises StaleClaim: another worker has taken the purchase further meanwhile. Nothing was changed.
        """
        now = self.clock()
        with self.transaction() as connection:
            purchase = turns.in_wallet(purchase, turns.lock(connection, purchase.wallet))
            if questions.close(connection, purchase, order_id, answer, now) is None:
                raise ConfigError(f"no open question of {purchase.order_key!r} is about order {order_id}. Nothing was changed.")
            count_beside(connection, purchase, -purchase.reserved.amount)
            return change(connection, purchase, purchase.step, f"order {order_id}: {answer}", actor, now, {})
