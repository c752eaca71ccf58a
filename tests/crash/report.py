"""The numbers of a run as tables, and ``docs/guarantees.md``.

Two rules: the page's first part is made of the code (declared capabilities and constants) and of nothing else, so a test can
see whether it is up to date; its second part is what a run counted, with the command that counts it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from airflow_provider_proxyorders import __version__
from airflow_provider_proxyorders.purchase import guarantees
from airflow_provider_proxyorders.vendors import vendor_class, vendor_names

from .cells import LOSSES, MODES, OPERATIONS, POINTS, READS, WAITS, Cell, core, product
from .verdict import Verdict

#: Between the part that follows from the code and the part that a run counted.
NUMBERS = "## What was counted: the crash matrix"

MODE_NAMES: Mapping[str, str] = {
    "retry": "Airflow retries the killed try",
    "clear": "the task fails, is cleared, and cleared again when done",
    "two": "two workers run it at the same time, one is killed",
    "frozen": "not killed but frozen, given up, and thawed when all is over",
}

#: The purchases that only a person can complete: the vendor refuses a repeat, and nothing else tells the order's id.
LANDED = ", landed and the answer lost"

COLUMNS = ("cells", "hit", "intended", "bought", "duplicates", "lost", "unattended", "a person asked")


# ---------------------------------------------------------------------------------------------- tables


def table(verdicts: Sequence[Verdict]) -> str:
    """All counts: by operation, kill point, way back, way to wait, and why a person was asked."""
    by = {verdict.cell: Cell.parse(verdict.cell) for verdict in verdicts}

    def operation(verdict: Verdict) -> str:
        cell = by[verdict.cell]
        return f"{cell.operation}{LANDED}" if cell.names_no_id and cell.landed_unanswered else cell.operation

    operations = [name for operation in OPERATIONS for name in (operation, f"{operation}{LANDED}")]
    parts = [
        _grouped("operation", operations, verdicts, operation, [("**all**", *_counts(verdicts))] if verdicts else []),
        _grouped("process killed", POINTS.values(), verdicts, lambda verdict: POINTS[by[verdict.cell].point]),
        _grouped("how the task comes back", MODE_NAMES.values(), verdicts, lambda verdict: MODE_NAMES[by[verdict.cell].mode]),
        _grouped("waits in the", WAITS, verdicts, lambda verdict: by[verdict.cell].wait),
        _grouped("reads are", READS, verdicts, lambda verdict: by[verdict.cell].reads),
        _reasons(verdicts),
    ]
    return "\n\n".join(part for part in parts if part)


def summary(verdicts: Sequence[Verdict], seconds: float, jobs: int) -> str:
    """One line on the whole run."""
    parts = {
        "cells": len(verdicts),
        "tries": sum(verdict.tries for verdict in verdicts),
        "processes killed or frozen": sum(verdict.kills for verdict in verdicts),
        "orders bought": sum(verdict.bought for verdict in verdicts),
        "duplicates": sum(verdict.duplicates for verdict in verdicts),
        "lost": sum(verdict.lost for verdict in verdicts),
        "cells wrong": sum(bool(verdict.wrong) for verdict in verdicts),
    }
    counts = ", ".join(f"{number} {what}" for what, number in parts.items())
    return f"{counts}; {seconds / 60:.1f} minutes, {jobs} cells at a time"


def not_hit(verdicts: Sequence[Verdict]) -> int:
    """In how many cells no process was killed, though their story has the moment."""
    return sum(not verdict.kills and Cell.parse(verdict.cell).gets_there for verdict in verdicts)


def _grouped(
    title: str,
    names: Iterable[str],
    verdicts: Sequence[Verdict],
    group: Callable[[Verdict], str],
    last: Sequence[Sequence[str]] = (),
) -> str:
    rows = []
    for name in names:
        members = [verdict for verdict in verdicts if group(verdict) == name]
        if members:
            rows.append((name, *_counts(members)))
    return _markdown((title, *COLUMNS), [*rows, *last])


def _counts(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    finished = sum(verdict.finished for verdict in verdicts)
    return (
        str(len(verdicts)),
        str(sum(bool(verdict.kills) for verdict in verdicts)),
        str(sum(verdict.intended for verdict in verdicts)),
        str(sum(verdict.bought for verdict in verdicts)),
        str(sum(verdict.duplicates for verdict in verdicts)),
        str(sum(verdict.lost for verdict in verdicts)),
        "100 %" if finished == len(verdicts) else f"{finished} ({100 * finished // len(verdicts)} %)",
        str(sum(bool(verdict.quarantined) for verdict in verdicts)),
    )


def _reasons(verdicts: Sequence[Verdict]) -> str:
    reasons: Counter[tuple[str, str]] = Counter()
    for verdict in verdicts:
        if verdict.quarantined:
            reasons[Cell.parse(verdict.cell).operation, _without_names(verdict.quarantined)] += 1
    rows = [(operation, why, str(count)) for (operation, why), count in sorted(reasons.items())]
    return _markdown(("operation", "why a person was asked", "cells"), rows) if rows else ""


def _without_names(why: str) -> str:
    """A reason without the reference of its one order, so that equal reasons are counted together."""
    return " ".join("..." if word.strip("();,").startswith("af-") else word for word in why.split())


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in (head, *rows)]
    lines.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------- the page


def promised() -> str:
    """The page's first part, from the code."""
    settle = []
    for vendor in map(vendor_class, vendor_names()):
        offered = vendor.capabilities
        recognised = guarantees.RECOGNISED_BY["create"][offered.create_evidence]
        parts = f"{offered.edge_limit:g} s for the edge, {offered.settle:g} s until it shows"
        settle.append(f"| {vendor.title} | {offered.settle_time:g} s ({parts}) | {recognised} |")
    return f"""<!-- Made by: make crash ARGS="--write docs/guarantees.md" -->

# Guarantees

One order key buys at most once. Further guarantees depend on the vendor. They are derived from each vendor's declared
capabilities; `proxyorders guarantees` prints the same table.

{guarantees.table()}

## What this rests on

The ledger holds the intent and the SENT step of a purchase before the purchase leaves. After that only a proof allows
another sending:

- a refusal by the vendor, after the evidence was read once without a trace,
- a connection that was never made,
- two reads of the evidence, the vendor's settle time apart, both without the purchase.

Money can be missing from a wallet because of other purchases. They explain it only if they were surely taken, were surely
charged after the balance in the comparison, and account for it to the cent. If evidence cannot decide, a person does
(`proxyorders ledger resolve`). An extension paid by card leaves the balance alone; if its order does not show it, a person
decides.

| vendor | settle time | evidence of a lost purchase |
|---|---|---|
{chr(10).join(settle)}

## Assumptions

- **A taken order shows up within the settle time**: the vendor's default above, or `settle` in the connection. A vendor may
  take an order later than that, after two looks found nothing. Then it can be sent twice. *Set* `settle` higher if in doubt,
  also where a proxy of yours holds requests back.
- **While an answer is lost, the wallet gets no top-up of exactly the purchase price.** Such a top-up, or a refund of a
  delivered order, looks like a purchase without a charge. This matters if the balance is the evidence: at ProxyScrape, and
  at IPRoyal if the order or its extension shows too late as well; at PROXY6 if two keys extend one order.
- **Only this package buys from the wallet at that moment**, unless the vendor lists orders. Its purchases take turns. A
  purchase from the dashboard, of the same goods and while an answer is lost, can be mistaken for ours, or needs a person.
  A wallet that another buyer uses freezes at the next purchase after a charge that this ledger cannot explain.
  `ReconcileLedgerOperator` finds foreign orders.
- **A used reference stays used** at vendors that take one order per reference, also after a failed order.
- **The ledger is shared and durable.** SQLite serves one host (write-ahead log, full sync), PostgreSQL several. A confirmed
  step survives a crash. A ledger that is lost or set back forgets purchases. A retry that meets such a ledger, or another one,
  buys nothing: the state of its task in Airflow names the ledger and the key of the try before.
- **The ledger's clock runs on.** A try waits for another try's sending by it: three times the connection's `timeout` and
  5 s more. It is PostgreSQL's clock, whatever the hosts' own clocks say, or with SQLite the clock of its one host. If that
  clock jumps ahead between two looks, they seem further apart than they were.
- **A worker runs on between its last check of the clock and the first byte of the purchase.** The connection is open by
  then, and a few instructions remain. A worker that is frozen exactly there, for longer than the time limits and the settle
  time together, sends late. *Set* `settle` higher to cover longer freezes.
- **A balance or a list is cut at the same place once at most.** An answer without a length, chunks or a closing bracket is
  read twice; two that are cut alike agree.

## What is left, and what you can set

| what can still happen | what you can set or do |
|---|---|
| A purchase lands, a proxy of the vendor's sends it twice, the copy is refused, and reads are late: the task fails with \
"Nothing was bought as far as the vendor shows". The order exists once, and the next try, the next purchase or a comparison \
finds it | clear the task after `settle`, or run `ReconcileLedgerOperator` |
| An answer names a foreign order of the same goods that was bought after our evidence was read | give each buyer a \
wallet of its own |
| Two keys ask one wallet for the same within one settle time, and answers to them are lost or name false orders: they can \
hold each other's orders. Each key holds one order of what it asked for; the number, the goods and the money are right | ask \
for different requests or quantities, wait between purchases for `settle`, or give each buyer a wallet of its own |
| A vendor without a way to look an order up (Voodoo without its webhook) loses an answer: a person looks once | set up \
the webhook |
| A refused purchase is cleared after a charge that this ledger cannot explain (a renewal by the vendor, a purchase by hand): \
a person is asked | resolve it, or use a new order key |
| One wrong list of orders with a far too great id raises the wallet's mark (IPRoyal): lost answers after it wait for a person | \
look into the dashboard, `ledger resolve` |
| Two keys or two addresses of one balance look like two accounts, with two limits | the same `wallet` in both connections |
| Limits are compared with amounts in an unnamed currency | `currency` |
| A charge above the quote is seen at the next purchase or comparison, and in a busy line up to four purchases later | \
`max_order_price`, `daily_limit`, `min_balance` |
| A list that is empty for the one read right before the first purchase of a ledger: a person decides | run the comparison first |
| Two ProxyScrape purchases of one type land, one answer names a missing order and the other is refused: a person decides, until \
the refused task looks again | clear the refused task first |
| A top-up that the balance does not show yet pays for a purchase, a proxy of the vendor's sends it twice, and the copy is \
refused for too little money: "Nothing was bought." is wrong then | wait for `settle` between a top-up and Clear |
| The answer to an IPRoyal purchase is lost, and the money that is missing may be another purchase's. Then the list decides \
after five settle times and one sending. An order that the vendor lists later still is bought again | higher `settle` |
| Several equal ProxyScrape purchases with lost answers, of which fewer were taken: who was taken gets an order, and a person \
decides about the rest, since one may still be processed. Where an equal order with a known price was bought about then, the \
money decides | wait between purchases for `settle` |
| The price of a ProxyScrape order falls by a half, a third or so within minutes, while answers to several equal purchases are \
lost: the money can seem to pay for fewer of them, and one is bought again | wait between purchases for `settle` |
| A charge above its quote is hidden by a top-up of at least as much, where the order shows no price | check invoices |
| Where IPRoyal lists by product only, an order of a product that is neither in its catalogue nor in the ledger stays unseen by \
renewals and comparisons | name the order by its id |
| The retries of a task end before evidence can decide | more `retries`; the next purchase on the wallet, a comparison, \
or Clear goes on |
"""


def counted(verdicts: Sequence[Verdict], seconds: float, jobs: int, command: str, ledger: str) -> str:
    """The page's second part, from a run."""
    played, cells = {verdict.cell for verdict in verdicts}, product()
    which = f"all {len(cells)}"
    if len(played) < len(cells):
        which = f"{len(played)} of {len(cells)}"
        if all(str(cell) in played for cell in core()):
            which += f" (all {len(core())} for a task that waits in its worker and is retried, of the rest a choice of pairs)"
    today = datetime.now(timezone.utc).date().isoformat()
    return f"""{NUMBERS}

A real process runs the operator. It is killed (SIGKILL) or frozen (SIGSTOP) at one of {len(POINTS)} moments of a purchase's
life. The first purchase that reaches the vendor keeps its answer, or loses it in one of {len(LOSSES) - 2} ways: before or after
the order was taken, refused though it was taken, or naming another order. Reads show a purchase at once, or late: after half of
the settle time. A cell combines these with an operation that spends, one of both ways to wait, and one of {len(MODES)} ways
for the task to come back. Airflow's delays between tries are thirty times shorter than usual.
Played: {which}.

- *hit*: cells with a process that reached the moment of its kill. With its answer kept, a purchase is never UNKNOWN; one in
  need of a person returns no result.
- *bought*: counted in the vendor's own book.
- *lost*: orders in that book without a trace in the ledger, as an order or as an unresolved purchase.
- *unattended*: cells that returned the order without a person.

Run on {today} with version {__version__}, ledger on {ledger}: {summary(verdicts, seconds, jobs)}.
To count again: `{command}`. One cell with its log: `make crash ARGS="--only CELL"`.

{table(verdicts)}
"""


def write(page: Path, verdicts: Sequence[Verdict], seconds: float, jobs: int, command: str, ledger: str) -> None:
    """Write the whole page."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"{promised()}\n{counted(verdicts, seconds, jobs, command, ledger)}")


def renew(page: Path) -> None:
    """Write the page's first part anew and keep the numbers of the last run."""
    _, mark, numbers = page.read_text().partition(NUMBERS)
    page.write_text(f"{promised()}\n{mark}{numbers}")
