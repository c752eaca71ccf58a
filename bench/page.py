"""The page in Airflow with many purchases: the first page of every filter and what the other tabs list, as the server makes it.

A ledger of a thousand purchases and one of a hundred thousand (with --full a million) are asked in turns, on SQLite and on
PostgreSQL. The first page of any filter takes at most 50 ms where the rest of the machine leaves it alone, and at most twice the
time of the ledger with a thousand.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import measuring
from measuring import Verdicts
from sqlalchemy import text

from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.ledger.attention import FEW_ENDS, Attention
from airflow_provider_proxyorders.ledger.listing import Filters, Listing
from airflow_provider_proxyorders.page import shapes
from tests.page.many import FIRST, fill

SMALL = 1_000
LONGEST, LIMIT = 50.0, 2.0

FILTERS: Mapping[str, tuple[Filters, Mapping[str, Any]]] = {
    "no filter": (Filters(), {}),
    "oldest first": (Filters(), {"ascending": True}),
    "first intended": (Filters(), {"sorted_by": "created_at"}),
    "end of term": (Filters(), {"sorted_by": "expires_at", "ascending": True}),
    "vendor": (Filters(vendor="iproyal"), {}),
    "wallet": (Filters(wallet="iproyal:iproyal_3"), {}),
    "connection": (Filters(conn_id="iproyal_3"), {}),
    "DAG": (Filters(dag_id="bulk_7"), {}),
    "rare DAG": (Filters(dag_id="rare"), {}),
    "state": (Filters(state="failed"), {}),
    "unresolved": (Filters(state="unresolved"), {}),
    "wallet and state": (Filters(wallet="iproyal:iproyal_3", state="failed"), {}),
    "time": (Filters(since=FIRST, until=FIRST + timedelta(seconds=500)), {}),
    "text": (Filters(text="order/77"), {}),
    "text of nothing": (Filters(text="nowhere"), {}),
    "kind, DAG and text": (Filters(kind="extend", dag_id="bulk_8", text="8"), {}),
    "two connections": (Filters(conn_ids=frozenset({"iproyal_1", "iproyal_4"})), {}),
    "connection and rare DAG": (Filters(conn_id="iproyal_3", dag_id="rare"), {}),
    "end of term and state": (Filters(state="failed"), {"sorted_by": "expires_at"}),
    "twenty connections": (Filters(conn_ids=frozenset(f"iproyal_{number}" for number in range(2, 22))), {}),
}
#: What the first tabs show beside lists: every order ends here within the week.
WEEK, SIXTY_DAYS = (FIRST, FIRST + timedelta(days=7)), (FIRST, FIRST + timedelta(days=60))


def questions(ledger: Ledger) -> dict[str, Callable[[], object]]:
    """The first page of each filter, as the text of an answer."""
    listing, attention = Listing(ledger.engine), Attention(ledger.engine)

    def ask(filters: Filters, order: Mapping[str, Any]) -> Callable[[], object]:
        return lambda: json.dumps([shapes.line(row) for row in listing.page(filters, **order).rows])

    def ends(*of: Any) -> Callable[[], object]:
        return lambda: json.dumps([shapes.end(row) for row in attention.ends(*of)[0]])

    return {
        **{name: ask(*asked) for name, asked in FILTERS.items()},
        "tab: orders that end in a week": ends(*WEEK, None, FEW_ENDS),
        "tab: of one connection, in 60 days": ends(*SIXTY_DAYS, frozenset({"iproyal_3"})),
        "tab: exact id": lambda: json.dumps([shapes.line(row) for row in listing.exact("b77", None)]),
        "tab: names of the filters": lambda: json.dumps([attention.conn_ids(), attention.dag_ids()]),
        "tab: names of the wallets": lambda: json.dumps([wallet.wallet for wallet in attention.wallets()]),
    }


def measure(name: str, small: Ledger, large: Ledger, many: int, turns: Mapping[str, int], verdicts: Verdicts) -> None:
    fill(small.engine, SMALL)
    fill(large.engine, many)
    for ledger in (small, large):  # PostgreSQL does it by itself within a minute after so many rows
        with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
    ours, theirs = questions(large), questions(small)
    rows = []
    for what in ours:
        for _ in range(2):  # a miss is measured once more, since the machine may have been busy
            series = measuring.in_turns({"large": ours[what], "small": theirs[what]}, **turns)
            share = measuring.ratio_by_round(series["large"], series["small"])
            if statistics.median(share) <= LIMIT:
                break
        middle, alone = statistics.median(share), series["large"].quick * 1e3
        rows.append([what, f"{series['small'].quick * 1e3:.2f}", f"{alone:.2f}", f"{middle:.2f}"])
        verdicts.at_most(f"{name}: {what}", alone, LONGEST, " ms")
        if len(json.loads(str(ours[what]()))) == len(json.loads(str(theirs[what]()))):  # or the small one has less to show
            verdicts.at_most(f"{name}: {what}, large ÷ small", middle, LIMIT, "", share)
    print(f"\n{name}:\n")
    print(measuring.table([f"{many:,} purchases beside {SMALL:,}", "small, ms", "large, ms", "ratio"], rows))


def main() -> int:
    full = measuring.options(__doc__ or "").full
    many, turns = (1_000_000, {"rounds": 7, "calls": 20}) if full else (100_000, {"rounds": 5, "calls": 10})
    print(measuring.machine())
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory(prefix="proxyorders-bench-") as folder, measuring.postgres() as database:
        lite = [open_ledger(f"sqlite:///{Path(folder) / size}.db") for size in ("small", "large")]
        measure("SQLite", *lite, many, turns, verdicts)
        if database is not None:
            measure("PostgreSQL", open_ledger(database()), open_ledger(database()), many, turns, verdicts)
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
