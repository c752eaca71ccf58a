"""The demo: a sandbox with four vendors, a real Airflow, six purchases, and a table of what each cost.

Two rules: it succeeds only when the sandbox's own book shows exactly the purchases of the tasks; and when it ends, for whatever
reason, all its processes end too.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from airflow_provider_proxyorders.cli.narrator import Narrator, signals_as_interrupt
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import ENDED, AirflowDidNotStart, LocalAirflow, RestError

DAG_ID = "order_and_use"
VENDORS = ("proxyscrape", "iproyal", "voodoo", "proxy6")
#: seconds until the sandbox's vendors deliver an order; the real ones need a second or minutes
PROCESSING = {"proxyscrape": 3.0, "iproyal": 6.0, "voodoo": 4.0, "proxy6": 2.0}
#: one more term for an order, as its vendor names the fields
EXTENSION = {"iproyal": {"product_plan_id": 22}, "proxy6": {"period": 30}}
#: seconds for all runs together
PATIENCE = 150.0
#: task of the DAG -> what it buys
PURCHASES = {"order": "create", "extend": "extend"}


@dataclass
class Run:
    """One DAG run of the demo.

    :param states: task -> its latest state.
    """

    vendor: str
    run_id: str
    state: str = "queued"
    states: dict[str, str] = field(default_factory=dict)

    @property
    def buying_tasks(self) -> list[str]:
        return [task for task, kind in PURCHASES.items() if kind == "create" or self.vendor in EXTENSION]


@dataclass(frozen=True)
class TableLine:
    """One purchase in the table.

    :param result: the XCom of the task.
    :param seconds: from sending the purchase to its delivery; None before the delivery.
    """

    vendor: str
    kind: str
    result: dict[str, Any]
    seconds: float | None

    @property
    def price(self) -> Decimal:
        return Decimal(self.result["price"] or "0")


def run(keep: bool, out: TextIO) -> int:
    """Run the demo.

    :param keep: keep Airflow and the sandbox up afterwards, until Ctrl-C.
    :param out: receives the progress and the table.
    :returns: the exit status: 0 after exactly one purchase for each task, 130 after Ctrl-C, else 1.
    """
    try:
        dags = dags_folder()
    except FileNotFoundError as error:
        print(error, file=out)
        return 1
    home = Path(tempfile.mkdtemp(prefix="proxyorders-demo-"))
    status = 1
    say = Narrator(out)
    try:
        with signals_as_interrupt(), say:
            status = _run(home, dags, keep, say)
    except KeyboardInterrupt:
        say("stopped; all processes have ended")
        status = 130
    except (AirflowDidNotStart, RestError, TimeoutError) as error:
        say(f"the demo failed: {error}")
    finally:
        if status in (0, 130):
            shutil.rmtree(home, ignore_errors=True)
        else:
            print(f"Airflow's logs are in {home}", file=out)
    return status


def dags_folder() -> Path:
    """The folder with the demo's DAG: ``example_dags`` of an installed package, ``dags`` in a checkout.

    :raises FileNotFoundError: when neither has it.
    """
    folders = (Path(__file__).resolve().parents[1] / "example_dags", Path(__file__).resolve().parents[2] / "dags")
    for folder in folders:
        if (folder / f"{DAG_ID}.py").is_file():
            return folder
    raise FileNotFoundError(f"The demo needs {DAG_ID}.py in {folders[0]}. Reinstall the package. Nothing was bought.")


def _run(home: Path, dags: Path, keep: bool, say: Narrator) -> int:
    with contextlib.ExitStack() as stack:
        say("starting the sandbox: four vendors on this machine")
        box = stack.enter_context(Sandbox.start(processing=PROCESSING))
        connections = {f"{vendor}_default": box.connection(vendor) for vendor in VENDORS}
        airflow = stack.enter_context(LocalAirflow(home, dags_folder=dags, connections=connections, say=say))
        say(f"Airflow is up at {airflow.url}")
        before = {vendor: box.balance(vendor) for vendor in VENDORS}
        runs = [_start_run(airflow, box, vendor, say) for vendor in VENDORS]
        ledger = open_ledger(f"sqlite:///{home / 'proxyorders.db'}")
        _report_until_ended(airflow, ledger, runs, say)
        lines = [line for run in runs for line in _read_lines(airflow, ledger, run)]
        say.end()
        print(_table(lines, before), file=say.out)
        differences = _differences(box, runs, lines, before)
        for difference in differences:
            print(f"WRONG: {difference}", file=say.out)
        if not differences:
            print(f"The vendors' own books agree: {len(lines)} purchases, each exactly once.", file=say.out)
        if keep:
            _wait_for_interrupt(airflow, say)
        else:
            print(
                "To keep Airflow up and look at the runs: make demo KEEP=1, or proxyorders demo --keep", file=say.out, flush=True
            )
        return 1 if differences else 0


# -- the parts, in order of use ---------------------------------------------------------------


def _start_run(airflow: LocalAirflow, box: Sandbox, vendor: str, say: Narrator) -> Run:
    conf: dict[str, Any] = {"conn_id": f"{vendor}_default", "max_price": "100.00", "target": box.whoami}
    if vendor in EXTENSION:
        conf["extend"] = EXTENSION[vendor]
    run = Run(vendor, airflow.trigger(DAG_ID, conf, run_id=f"demo_{vendor}"))
    say(f"{vendor:<12} run {run.run_id} of {DAG_ID} is started")
    return run


def _report_until_ended(airflow: LocalAirflow, ledger: Ledger, runs: Sequence[Run], say: Narrator) -> None:
    """Print every change of a task or of a purchase until all runs have ended.

    :raises TimeoutError: after ``PATIENCE`` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    printed: set[str] = set()
    while running := [run for run in runs if run.state not in ENDED]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done after {PATIENCE:g} s: {[(run.vendor, run.states) for run in runs]}")
        for purchase in reversed(ledger.purchases(limit=20)):
            change = _describe(purchase)
            if change not in printed:
                printed.add(change)
                say(change)
        for run in runs:
            _report_tasks(airflow, run, say)
        say.doing(f"waiting for {', '.join(run.vendor for run in running)}")
        time.sleep(0.4)
    for run in runs:
        say(f"{run.vendor:<12} run ended: {run.state}")


def _describe(purchase: Purchase) -> str:
    name = f"order {purchase.order_id}" if purchase.order_id else f"order key {purchase.order_key}"
    parts = [purchase.step.value]
    if purchase.vendor_status and purchase.vendor_status != purchase.step.value:
        parts.append(f"the vendor says {purchase.vendor_status}")
    if purchase.price:
        parts.append(f"price {purchase.price}")
    return f"{purchase.vendor:<12} {purchase.kind} {name}: {', '.join(parts)}"


def _report_tasks(airflow: LocalAirflow, run: Run, say: Narrator) -> None:
    """Read the state of a run and of its tasks, and print each new state of a task. A busy Airflow is asked again later."""
    try:
        state, tasks = airflow.api.state(DAG_ID, run.run_id), airflow.tasks(DAG_ID, run.run_id)
    except RestError as error:
        if error.status is None:
            return
        raise
    run.state = state
    for task in tasks:
        state = task["state"] or "none"
        if run.states.get(task["task_id"], "none") != state and state not in ("none", "scheduled", "queued"):
            again = f", try {task['try_number']}" if task["try_number"] > 1 else ""
            say(f"{run.vendor:<12} task {task['task_id']}: {state}{again}")
        run.states[task["task_id"]] = state


def _read_lines(airflow: LocalAirflow, ledger: Ledger, run: Run) -> Iterator[TableLine]:
    for task in run.buying_tasks:
        result = airflow.xcom(DAG_ID, run.run_id, task)
        if isinstance(result, dict):
            yield TableLine(run.vendor, PURCHASES[task], result, _seconds_to_delivery(ledger, str(result["order_key"])))


def _seconds_to_delivery(ledger: Ledger, order_key: str) -> float | None:
    moments: dict[Step, datetime] = {}
    for line in ledger.history(order_key):
        moments.setdefault(line.step, line.at)
    if Step.SENT not in moments or Step.DELIVERED not in moments:
        return None
    return (moments[Step.DELIVERED] - moments[Step.SENT]).total_seconds()


def _table(lines: Sequence[TableLine], before: dict[str, Decimal]) -> str:
    rows = [("vendor", "purchase", "order id", "status", "price", "usable after", "wallet before", "wallet after")]
    wallet = dict(before)
    for line in lines:
        left = wallet[line.vendor] - line.price
        rows.append(
            (
                line.vendor,
                line.kind,
                str(line.result["order_id"]),
                f"{line.result['status']} ({line.result['vendor_status']})",
                f"{_cents(line.price)} {line.result['currency'] or ''}".rstrip(),
                "-" if line.seconds is None else f"{line.seconds:.1f} s",
                _cents(wallet[line.vendor]),
                _cents(left),
            )
        )
        wallet[line.vendor] = left
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    printed = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    printed.insert(1, "  ".join("-" * width for width in widths))
    return "\n" + "\n".join(printed) + "\n"


def _cents(amount: Decimal) -> str:
    """All digits, at least two of them behind the point."""
    return f"{amount:.2f}" if amount == amount.quantize(Decimal("0.01")) else f"{amount:f}"


def _differences(box: Sandbox, runs: Sequence[Run], lines: Sequence[TableLine], before: dict[str, Decimal]) -> list[str]:
    """Every difference between runs, results, the vendors' book and the wallets."""
    differences = [f"the run for {run.vendor} ended as {run.state}: {run.states}" for run in runs if run.state != "success"]
    for run in runs:
        own = [line for line in lines if line.vendor == run.vendor]
        if [line.kind for line in own] != [PURCHASES[task] for task in run.buying_tasks]:
            differences.append(f"{run.vendor}: wanted {run.buying_tasks}, bought {[line.kind for line in own]}")
        if any(line.seconds is None for line in own):
            differences.append(f"{run.vendor}: the ledger misses the delivery of an order")
        if any(line.result["status"] != "delivered" for line in own):
            differences.append(f"{run.vendor}: not delivered: {[line.result['status'] for line in own]}")
        reported = [(line.kind, str(line.result["order_id"]), line.price) for line in own]
        booked = [(entry.kind, entry.order_id, Decimal(entry.amount)) for entry in box.book.charges(run.vendor)]
        if reported != booked:
            differences.append(f"{run.vendor}: the tasks report {reported}, the vendor's book says {booked}")
        paid = before[run.vendor] - box.balance(run.vendor)
        if paid != sum((line.price for line in own), Decimal(0)):
            differences.append(f"{run.vendor}: the tasks report {reported}, the wallet paid {paid}")
    return differences


def _wait_for_interrupt(airflow: LocalAirflow, say: Narrator) -> None:
    print(f"\nAirflow stays up: {airflow.url}/dags/{DAG_ID} (without log-in). Ctrl-C ends it.", file=say.out, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while all(part.exit_code() is None for part in airflow.parts.values()):
            time.sleep(1)
        ended = [name for name, part in airflow.parts.items() if part.exit_code() is not None]
        print(f"Airflow's {', '.join(ended)} ended by itself:\n{airflow.console(ended[0])}", file=say.out)
