"""The history of a wallet: each freeze and each end of one, with time, reason and person.

One rule: a row is part of the transaction that freezes the wallet or ends the freeze. The reason of a freeze outlives its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, bindparam, select

from airflow_provider_proxyorders.domain.model import Actor, Step
from airflow_provider_proxyorders.ledger import facts, turns
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import stamp, unindexed
from airflow_provider_proxyorders.ledger.rows import StaleClaim
from airflow_provider_proxyorders.ledger.schema import purchases, questions, wallet_steps

_OPEN_QUESTION = (
    select(questions.c.order_key).where(questions.c.wallet == bindparam("_wallet"), questions.c.answered_at.is_(None)).limit(1)
)
#: A refused purchase that may have landed: its task takes the refusal for a proof that nothing was bought.
_OPEN_REFUSAL = (
    select(purchases.c.order_key)
    .where(unindexed(purchases.c.wallet) == bindparam("_wallet"), purchases.c.step == Step.REJECTED.value, purchases.c.maybe_sent)
    .limit(1)
)
_OF_WALLET = select(wallet_steps).where(wallet_steps.c.wallet == bindparam("_wallet")).order_by(wallet_steps.c.id)


@dataclass(frozen=True)
class WalletStep:
    """One row of a wallet's history.

    :param host: the person, for a decision of one; "" for the code's own step.
    """

    at: datetime
    what: Literal["frozen", "unfrozen"]
    why: str
    host: str


class LedgerFreezes(Database):
    """The part of a ledger about the history of wallets."""

    def wallet_history(self, wallet: str) -> list[WalletStep]:
        """Every freeze of a wallet and every end of one, oldest first; also those from before a join, under all its names."""
        with self.autocommit() as connection:
            rows = connection.execute(_OF_WALLET, {"_wallet": turns.live_name(connection, wallet)}).mappings()
            return [WalletStep(datetime.fromisoformat(row["at"]), row["what"], row["why"], row["host"]) for row in rows]

    def unfreeze(self, wallet: str, why: str, actor: Actor, note: str) -> None:
        """End a freeze, as a person decided who saw its reason. The balance of then is accepted: the next read is the new mark.

        :param why: the reason that the person saw.
        :raises StaleClaim: the wallet is frozen for another reason by now, or something of it waits for a decision first. Nothing
            was changed.
        """
        now = self.clock()
        with self.transaction() as connection:
            row = turns.lock(connection, wallet)
            values = {"_wallet": row["wallet"]}
            waits = any(connection.execute(query, values).first() is not None for query in (_OPEN_QUESTION, _OPEN_REFUSAL))
            if row["frozen"] != why or waits:
                raise StaleClaim(f"wallet {row['wallet']!r} has changed since it was looked at: look again. Nothing was changed.")
            set_frozen(connection, row["wallet"], None, now, host=actor.host, note=note)
            facts.forget_balance(connection, row["wallet"])


def set_frozen(connection: Connection, wallet: str, why: str | None, now: datetime, *, host: str = "", note: str = "") -> None:
    """Stop all purchases from a locked wallet, or with ``None`` allow them again, with a row in its history.

    :param host: the person who decided.
    :param note: why a freeze ends.
    """
    row = turns.read(connection, wallet)
    before = row["frozen"] if row is not None else None
    turns.freeze(connection, wallet, why)
    if why is None and before is None:
        return
    text = why if why is not None else f"{note or 'the cause is clear'}; it was frozen because {before}"
    what = "frozen" if why is not None else "unfrozen"
    values = {"wallet": wallet, "at": stamp(now), "what": what, "why": text, "host": host}
    connection.execute(wallet_steps.insert(), values)
