"""The demo: a sandbox with three vendors, a real Airflow, four orders, and a table of what was bought and what it cost.

Two rules: it believes nobody's word, so it succeeds only when the sandbox's own book shows exactly what the tasks
report; and however it ends, nothing of it is left running.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import AirflowDidNotStart, LocalAirflow, RestError

DAG_ID = "order_and_use"
VENDORS = ("proxyscrape", "iproyal", "voodoo")
#: seconds that the sandbox's vendors take for an order; at the real ones it can be a second or minutes
PROCESSING = {"proxyscrape": 3.0, "iproyal": 6.0, "voodoo": 4.0}
#: one more term for IPRoyal's order, in its own words
EXTENSION = {"iproyal": {"product_plan_id": 22}}
#: seconds that all runs together may take
PATIENCE = 150.0
#: task of the DAG -> what it buys
PURCHASES = {"order": "create", "extend": "extend"}


@dataclass
class Run:
    """One DAG run of the demo.

    :param states: task -> state, as last seen.
    """

    vendor: str
    run_id: str
    state: str = "queued"
    states: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        return [task for task, kind in PURCHASES.items() if kind == "create" or self.vendor in EXTENSION]


@dataclass(frozen=True)
class Bought:
    """One line of the table.

    :param result: what the task handed on.
    :param seconds: from sending the purchase to knowing that it can be used; None where the ledger does not know.
    """

    vendor: str
    kind: str
    result: dict[str, Any]
    seconds: float | None


def run(keep: bool, out: TextIO) -> int:
    """Run the demo.

    :param keep: keep Airflow and the sandbox up afterwards, until Ctrl-C.
    :param out: is told what happens while it happens.
    :returns: the exit status: 0 when everything was bought exactly once, 1 when not, 130 after Ctrl-C.
    """
    dags = Path(__file__).resolve().parent.parent / "dags"
    if not (dags / f"{DAG_ID}.py").exists():
        print(f"The demo runs from a checkout of the project: {dags} holds no {DAG_ID}.py.", file=out)
        return 1
    home = Path(tempfile.mkdtemp(prefix="proxyorders-demo-"))
    status = 1
    say = Narrator(out)
    try:
        with _signals_as_interrupt(), say:
            status = _run(home, dags, keep, say)
    except KeyboardInterrupt:
        say("stopped; everything is ended")
        status = 130
    except (AirflowDidNotStart, RestError, TimeoutError) as error:
        say(f"the demo failed: {error}")
    finally:
        if status in (0, 130):
            shutil.rmtree(home, ignore_errors=True)
        else:
            print(f"What Airflow said is in {home}", file=out)
    return status


def _run(home: Path, dags: Path, keep: bool, say: Narrator) -> int:
    with contextlib.ExitStack() as stack:
        say("starting the sandbox: three vendors on this machine")
        box = stack.enter_context(Sandbox.start(processing=PROCESSING))
        connections = {f"{vendor}_default": _connection(box, vendor) for vendor in VENDORS}
        airflow = stack.enter_context(LocalAirflow(home, dags_folder=dags, connections=connections, say=say))
        say(f"Airflow is up at {airflow.url}")
        before = {vendor: _balance(box, vendor) for vendor in VENDORS}
        runs = [_start(airflow, box, vendor, say) for vendor in VENDORS]
        ledger = open_ledger(f"sqlite:///{home / 'proxyorders.db'}")
        _watch(airflow, ledger, runs, say)
        bought = [line for run in runs for line in _bought(airflow, ledger, run)]
        say.end()
        print(_table(bought, before), file=say.out)
        wrong = _disagreements(box, runs, bought, before)
        for line in wrong:
            print(f"WRONG: {line}", file=say.out)
        if not wrong:
            print(f"The vendors' own books agree: {len(bought)} purchases, each exactly once.", file=say.out)
        if keep:
            _stay(airflow, say)
        else:
            print("To keep Airflow up and look at the runs: make demo KEEP=1", file=say.out, flush=True)
        return 1 if wrong else 0


# -- the parts, in the order in which they are used ---------------------------------------------------------------


def _connection(box: Sandbox, vendor: str) -> dict[str, Any]:
    return {
        "conn_type": vendor,
        "host": box.url(vendor),
        "password": box.token(vendor),
        "extra": {"max_order_price": "100.00", "currency": "USD"},
    }


def _balance(box: Sandbox, vendor: str) -> Decimal:
    balance: Decimal = box.world.shops[vendor].wallet("main").balance
    return balance


def _start(airflow: LocalAirflow, box: Sandbox, vendor: str, say: Narrator) -> Run:
    conf: dict[str, Any] = {"conn_id": f"{vendor}_default", "max_price": "100.00", "target": box.whoami}
    if vendor in EXTENSION:
        conf["extend"] = EXTENSION[vendor]
    run = Run(vendor, airflow.trigger(DAG_ID, conf, run_id=f"demo_{vendor}"))
    say(f"{vendor:<12} run {run.run_id} of {DAG_ID} is started")
    return run


def _watch(airflow: LocalAirflow, ledger: Ledger, runs: Sequence[Run], say: Narrator) -> None:
    """Tell every change of a task or of an order until all runs have ended.

    :raises TimeoutError: when they do not.
    """
    deadline = time.monotonic() + PATIENCE
    told: set[tuple[str, str]] = set()
    while any(run.state not in ("success", "failed") for run in runs):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done after {PATIENCE:g} s: {[(run.vendor, run.states) for run in runs]}")
        for order in reversed(ledger.purchases(limit=20)):
            words = [order.step.value, f"price {order.price}" if order.price else ""]
            if order.vendor_status not in (None, order.step.value):
                words.insert(1, f"the vendor says {order.vendor_status}")
            news = ", ".join(filter(None, words))
            if (order.order_key, news) not in told:
                told.add((order.order_key, news))
                name = f"order {order.order_id}" if order.order_id else f"order key {order.order_key}"
                say(f"{order.vendor:<12} {order.kind} {name}: {news}")
        for run in runs:
            run.state = airflow.api.state(DAG_ID, run.run_id)
            for task in airflow.tasks(DAG_ID, run.run_id):
                state = task["state"] or "none"
                if run.states.get(task["task_id"], "none") != state and state not in ("none", "scheduled", "queued"):
                    again = f", try {task['try_number']}" if task["try_number"] > 1 else ""
                    say(f"{run.vendor:<12} task {task['task_id']}: {state}{again}")
                run.states[task["task_id"]] = state
        waiting = [run.vendor for run in runs if run.state not in ("success", "failed")]
        say.doing(f"waiting for {', '.join(waiting)}")
        time.sleep(0.4)
    for run in runs:
        say(f"{run.vendor:<12} run ended: {run.state}")


def _bought(airflow: LocalAirflow, ledger: Ledger, run: Run) -> Iterator[Bought]:
    for task in run.tasks:
        result = airflow.xcom(DAG_ID, run.run_id, task)
        if isinstance(result, dict):
            yield Bought(run.vendor, PURCHASES[task], result, _seconds(ledger, str(result["order_key"])))


def _seconds(ledger: Ledger, order_key: str) -> float | None:
    moments: dict[Step, datetime] = {}
    for line in ledger.history(order_key):
        moments.setdefault(line.step, line.at)
    if Step.SENT not in moments or Step.DELIVERED not in moments:
        return None
    return (moments[Step.DELIVERED] - moments[Step.SENT]).total_seconds()


def _table(bought: Sequence[Bought], before: dict[str, Decimal]) -> str:
    rows = [("vendor", "purchase", "order id", "status", "price", "usable after", "wallet before", "wallet after")]
    wallet = dict(before)
    for line in bought:
        left = wallet[line.vendor] - _price(line)
        rows.append(
            (
                line.vendor,
                line.kind,
                str(line.result["order_id"]),
                f"{line.result['status']} ({line.result['vendor_status']})",
                f"{_cents(_price(line))} {line.result['currency'] or ''}".rstrip(),
                "-" if line.seconds is None else f"{line.seconds:.1f} s",
                _cents(wallet[line.vendor]),
                _cents(left),
            )
        )
        wallet[line.vendor] = left
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n" + "\n".join(lines) + "\n"


def _price(line: Bought) -> Decimal:
    return Decimal(line.result["price"] or "0")


def _cents(amount: Decimal) -> str:
    """With all its digits, and two behind the point at least."""
    return f"{amount:.2f}" if amount == amount.quantize(Decimal("0.01")) else f"{amount:f}"


def _disagreements(box: Sandbox, runs: Sequence[Run], bought: Sequence[Bought], before: dict[str, Decimal]) -> list[str]:
    """Where runs, results, the book and the wallets do not say the same; empty when they do."""
    wrong = [f"the run for {run.vendor} ended as {run.state}: {run.states}" for run in runs if run.state != "success"]
    for run in runs:
        ours = [line for line in bought if line.vendor == run.vendor]
        if [line.kind for line in ours] != [PURCHASES[task] for task in run.tasks]:
            wrong.append(f"{run.vendor}: wanted {run.tasks}, bought {[line.kind for line in ours]}")
        if any(line.seconds is None for line in ours):
            wrong.append(f"{run.vendor}: the ledger has not seen every order become usable")
        if any(line.result["status"] != "delivered" for line in ours):
            wrong.append(f"{run.vendor}: not usable: {[line.result['status'] for line in ours]}")
        reported = [(line.kind, str(line.result["order_id"]), _price(line)) for line in ours]
        booked = [(entry.kind, entry.order_id, Decimal(entry.amount)) for entry in box.book.charges(run.vendor)]
        if reported != booked:
            wrong.append(f"{run.vendor}: the tasks report {reported}, the vendor's book says {booked}")
        paid = before[run.vendor] - _balance(box, run.vendor)
        if paid != sum((_price(line) for line in ours), Decimal(0)):
            wrong.append(f"{run.vendor}: the tasks report {reported}, the wallet is {paid} poorer")
    return wrong


def _stay(airflow: LocalAirflow, say: Narrator) -> None:
    print(f"\nAirflow stays up: {airflow.url}/dags/{DAG_ID} (no log-in). Ctrl-C ends it.", file=say.out, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while all(part.exit_code() is None for part in airflow.parts.values()):
            time.sleep(1)
        ended = [name for name, part in airflow.parts.items() if part.exit_code() is not None]
        print(f"Airflow's {', '.join(ended)} ended by itself:\n{airflow.console(ended[0])}", file=say.out)


class Narrator:
    """Tells what happens, with the time since the start, and says that it is still at it when nothing happens for a while."""

    def __init__(self, out: TextIO, silence: float = 4.0):
        self.out = out
        self._silence = silence
        self._began = self._spoke = time.monotonic()
        self._activity: str | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_talking, name="narrator", daemon=True)

    def __enter__(self) -> Narrator:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def __call__(self, text: str) -> None:
        """Say it now; it counts as what is going on until something else is."""
        with self._lock:
            self._activity = text
            self._print(text)

    def doing(self, text: str) -> None:
        """What is going on, to be said only when it takes long."""
        with self._lock:
            self._activity = text

    def end(self) -> None:
        """Nothing is going on any more."""
        with self._lock:
            self._activity = None

    def _print(self, text: str) -> None:
        self._spoke = time.monotonic()
        print(f"[{self._spoke - self._began:5.1f} s] {text}", file=self.out, flush=True)

    def _keep_talking(self) -> None:
        while not self._over.wait(0.5):
            with self._lock:
                if self._activity and time.monotonic() - self._spoke > self._silence:
                    self._print(f"... {self._activity}")


@contextlib.contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end it as Ctrl-C does; while it ends, further ones change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        for one in signals:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {one: signal.signal(one, interrupt) for one in signals}
    try:
        yield
    finally:
        for one, handler in former.items():
            signal.signal(one, handler)
