"""What counts as a broken promise, and what is counted apart.

One rule: a promise is only excused where its stated conditions were really left (a purchase taken after the settle time, a clock
that jumped, money of others that nothing can tell from ours), and what is excused is counted, not forgotten.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from sqlalchemy import RowMapping, bindparam, select

from airflow_provider_proxyorders.ledger.schema import purchases
from airflow_provider_proxyorders.sandbox.charges import Entry
from airflow_provider_proxyorders.sandbox.proxyscrape import SandboxProxyScrape
from tests.vendors import ROWS

from .market import Charge

if TYPE_CHECKING:
    from .run import Run

_SHOWN = (purchases.c.step, purchases.c.maybe_sent, purchases.c.counted, purchases.c.confirmed, purchases.c.order_id)
_ROW = select(*_SHOWN).where(purchases.c.order_key == bindparam("key"))

#: What can break once a purchase came after its settle time, or a clock jumped.
TIMING = frozenset(
    {
        "adopted another",
        "asked without need",
        "bought twice",
        "counted wrong",
        "daily_limit",
        "lost",
        "min_balance",
        "monthly_limit",
        "not counted",
        "taken unseen",
        "told wrong",
    }
)
#: What somebody else's purchases from the same wallet can break.
MONEY = frozenset({"counted wrong", "min_balance"})
AFTER_REFUND, AFTER_TOP_UP = "forgotten after a refund", "forgotten after a top-up of its price"
TWIN = "adopted its twin"


class Verdict:
    """Judges for one run."""

    def __init__(self, run: Run):
        self.run = run

    def broken(self, what: str, text: str) -> None:
        """A promise is broken: say so and end the run, or count it apart."""
        run = self.run
        apart = what in (AFTER_REFUND, AFTER_TOP_UP, TWIN)
        apart = apart or (run.beyond and what in TIMING) or (run.scenario.kind == "foreign" and what in MONEY)
        if apart or (run.scenario.kind != "plain" and what in ("not finished", "still open")):
            run.clockwork.note("APART", f"{what}: {text}")
            run.stats[f"apart, {run.scenario.kind}: {what}"] += 1
        else:
            run.fail(f"{what}: {text}")

    def excused(self, charges: list[Charge]) -> str | None:
        """What no vendor's read can tell from "it was never bought": the money came back, just as much did, or its twin has it.

        Two keys with the same request that hold each other's orders have as many orders as keys.
        """
        if self.given_back(charges):
            return AFTER_REFUND
        charge, swapped, forgotten = charges[0], self.run.checker.swapped, self.run.checker.forgotten
        if charge.key in swapped and sum(len(self.run.market.of(key)) for key in swapped) <= len(swapped):
            return TWIN
        topped_up = (Decimal(charge.entry.amount), charge.entry.wallet) in self.run.market.top_ups
        if ROWS[charge.entry.vendor].traces_come_late and topped_up:
            if charge.key in forgotten or not self.opened(charge, self.run.clockwork.now):
                forgotten.add(charge.key)
                return AFTER_TOP_UP
        return None

    def given_back(self, charges: list[Charge]) -> bool:
        return all(self.paid(charge) <= 0 for charge in charges)

    def paid(self, charge: Charge) -> Decimal:
        """What was paid in the end."""
        return Decimal(charge.entry.amount) - sum(Decimal(entry.amount) for entry in self._refunds(charge))

    def opened(self, charge: Charge, before: float) -> bool:
        """Whether an order has had its trace since then, and still has it: at ProxyScrape its sub-account, elsewhere itself."""
        if not ROWS[charge.entry.vendor].traces_come_late:
            return charge.at <= before
        shop = self.run.market.state.vendors[charge.entry.vendor]
        assert isinstance(shop, SandboxProxyScrape)
        account = shop.orders[charge.entry.order_id].account
        return account is not None and account.valid and account.entry["time_added"] <= before

    def row(self, key: str) -> RowMapping | None:
        """What the ledger says of a purchase, read past all workers."""
        with self.run.engine.connect() as connection:
            return connection.execute(_ROW, {"key": key}).mappings().first()

    def _refunds(self, charge: Charge) -> list[Entry]:
        book = self.run.market.state.book.charges(charge.entry.vendor)
        return [entry for entry in book if entry.kind == "refund" and entry.order_id == charge.entry.order_id]
