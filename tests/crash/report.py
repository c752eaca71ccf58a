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

from .cells import FAULTS, MODES, OPERATIONS, POINTS, WAITS, Cell, core, product
from .verdict import Verdict

#: Between the part that follows from the code and the part that a run counted.
NUMBERS = "## What was counted: the crash matrix"

MODE_NAMES: Mapping[str, str] = {
    "retry": "Airflow retries the killed try",
    "clear": "the task fails, is cleared, and cleared again when done",
    "two": "two workers run it at the same time, one is killed",
    "frozen": "not killed but frozen, given up, and thawed when all is over",
}

#: The purchases that only a person can complete, since Voodoo tells an order's id in its answer and its webhook only.
LANDED = ", landed and the answer lost"

COLUMNS = ("cells", "hit", "intended", "bought", "duplicates", "lost", "unattended", "a person asked")


# ---------------------------------------------------------------------------------------------- tables


def table(verdicts: Sequence[Verdict]) -> str:
    """All counts: by operation, kill point, way back, way to wait, and why a person was asked."""
    by = {verdict.cell: Cell.parse(verdict.cell) for verdict in verdicts}

    def operation(verdict: Verdict) -> str:
        cell = by[verdict.cell]
        return f"{cell.operation}{LANDED}" if cell.operation == "voodoo-create" and cell.landed_unanswered else cell.operation

    operations = [name for operation in OPERATIONS for name in (operation, f"{operation}{LANDED}")]
    parts = [
        _grouped("operation", operations, verdicts, operation, [("**all**", *_counts(verdicts))] if verdicts else []),
        _grouped("process killed", POINTS.values(), verdicts, lambda verdict: POINTS[by[verdict.cell].point]),
        _grouped("how the task comes back", MODE_NAMES.values(), verdicts, lambda verdict: MODE_NAMES[by[verdict.cell].mode]),
        _grouped("waits in the", WAITS, verdicts, lambda verdict: by[verdict.cell].wait),
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
    told = ", ".join(f"{number} {what}" for what, number in parts.items())
    return f"{told}; {seconds / 60:.1f} minutes, {jobs} cells at a time"


def hit(verdicts: Sequence[Verdict]) -> float:
    """In which part of the cells that have their kill point a process was killed at it."""
    could = [verdict for verdict in verdicts if Cell.parse(verdict.cell).gets_there]
    return sum(bool(verdict.kills) for verdict in could) / len(could) if could else float(bool(verdicts))


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
    settle = [
        f"| {vendor.title} | {vendor.capabilities.settle:g} s | {_EVIDENCE[vendor.capabilities.evidence]} |"
        for vendor in map(vendor_class, vendor_names())
    ]
    return f"""<!-- Made by: make crash ARGS="--write docs/guarantees.md" -->

# Guarantees

One order key buys at most once. What else holds depends on what a vendor lets us see, so it is derived from the
capabilities that each vendor declares (the same table: `proxyorders guarantees`).

{guarantees.table()}

## What this rests on

Before a purchase leaves, its intent and its SENT step are committed to the ledger. After that only a proof allows another
sending: a refusal by the vendor, a connection that was never made, or evidence read twice, apart by the vendor's settle
time, that nothing is there. Money that is missing from a wallet is put down to other purchases only where these are known
to be taken, were surely charged after the balance it is compared with, and account for it to the cent. Where evidence
cannot decide, a person is asked (`proxyorders ledger resolve`).

| vendor | settle time | what a lost purchase is recognised by |
|---|---|---|
{chr(10).join(settle)}

What is assumed, and what happens where it does not hold:

- **An order that was taken shows up within the settle time**: the vendor's default above, or `settle` in the connection. A
  vendor that takes an order later than that, after two looks found nothing, can be sent it twice. Raise `settle` if in
  doubt.
- **No money of just the price comes in while an answer is lost**, where the balance is the evidence (ProxyScrape; at IPRoyal
  where the order or its extension shows too late as well): a top-up of that amount, or a refund of an order that had been
  delivered, looks like a purchase that was never charged.
- **Nobody else buys from the wallet at the same moment**, unless the vendor lists orders. Purchases of this package take
  turns. One by hand in the dashboard, of the same product and while an answer is lost, can be taken for ours, or leaves the
  question to a person. `ReconcileLedgerOperator` finds what nobody intended.
- **A reference of ours is never free again** at vendors that take one order per reference, also not after a failed order.
- **The ledger is shared and durable.** SQLite on one host (write-ahead log, full sync), PostgreSQL for several; what it
  confirmed is still there after a crash. A ledger that is lost or set back forgets what was bought.
- **The workers' clocks agree to a few seconds.** A try that may still be sending is waited for by the clock: three times the
  connection's `timeout` and 5 s more.
- **A worker is not frozen between its last look at the clock and the first byte of the purchase.** It looks after SENT is
  committed, and sends nothing when it was held up for longer than `timeout`; what is left is the moment after that.
"""


_EVIDENCE: Mapping[str, str] = {
    "reference": "our reference, which the vendor takes once; the balance supports it",
    "order": "the list of orders, the order's own expiry and extensions, and the balance",
    "wallet": "the sub-accounts of the wallet, and its balance",
}


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
life, and the first purchase that reaches the vendor loses its answer: not at all, or in one of {len(FAULTS)} ways, before or
after the order was taken. Combined with every operation that spends, both ways to wait and {len(MODES)} ways in which
the task comes back, each is a cell. Airflow's delays between tries are thirty times as short. Played were
{which}. In the tables

- *bought* is counted from the vendor's own book;
- *lost* are orders in that book that the ledger neither holds nor keeps open;
- *hit* are cells in which the process got as far as the moment at which it was to be killed (a purchase whose answer is not
  lost is never UNKNOWN, one that needs a person never returns a result);
- *unattended* ended with the order handed on and no person asked.

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
