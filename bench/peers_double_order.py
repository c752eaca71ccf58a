"""The number of orders bought for one intended order when the answer of the first purchase is lost: the peers, and this package.

The vendor takes the order first and then fails its answer: it stays silent (time-out), answers 500, or resets the connection.
In the last column the worker is killed (SIGKILL) while the answer is under way. Then ``execute()`` is called again, in a new
process, as ``retries=2`` would. Rows marked "one call" are called once and repeat by themselves; only a killed worker leads to
another call.

Peers buy from ``local_vendor.py``, this package from the vendors of its sandbox. A missing peer is shown as missing; see
``requirements.txt`` beside this file. Exit status 1 when this package buys anything but one order.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import measuring
from measuring import REQUESTS, SandboxProcess

measuring.private_airflow()

import peers  # noqa: E402 - after Airflow got its environment
from peers import Try  # noqa: E402

RETRIES = 2
#: seconds after which a try that does not come back is ended, as Airflow's execution_timeout does
LIMIT = 20.0
FAULTS = ("time-out", "500", "reset", "worker killed")
#: seconds between two tries, where Airflow would let minutes pass
PAUSE = 1.0
#: what the vendor signs its webhooks with; invented
SECRET = "example-secret-of-the-benchmark"
#: errors of a try after which Airflow does not try again, because our retry policy says so
FINAL = "never"


@dataclass
class Row:
    name: str
    make: Callable[[str, Path], Try]
    tries: int = 1 + RETRIES
    faults: tuple[str, ...] = FAULTS


PEERS = (
    Row("`HttpOperator`, `retries=2`", peers.http_operator),
    Row("Airflow's `ResumableJobMixin`, `retries=2`", peers.resumable_job),
    Row("fivetran-async, one call", peers.fivetran, 1),
    Row("hightouch, one call", peers.hightouch, 1),
    Row("dbt-cloud `retry_limit=3`, one call", peers.dbt_cloud, 1),
    Row("proxy-seller SDK inside a task, `retries=2`", peers.proxy_seller),
    Row("stripe-python, automatic key, `retries=2`", peers.stripe_automatic),
    Row("stripe-python, key per logical order, `retries=2`", peers.stripe_keyed),
    Row("agent-once, no verify callback, `retries=2`", peers.agent_once),
)
ALSO = (
    ("`HttpOperator(deferrable=True)`, and the triggerer restarts", Row("", peers.http_operator_restarted, 1), "hold"),
    ("`ResumableJobMixin`, and the order ends as `blocked`", Row("", peers.resumable_job), "blocked"),
)


# ---------------------------------------------------------------------------------------------- one try in one process


def attempt(make: Callable[[], Try], *, kill_when: Callable[[], bool] | None = None) -> tuple[bool, str]:
    """Run one try in a process of its own.

    :param kill_when: called repeatedly; the process is killed as soon as it returns true.
    :returns: whether the try ended well, and the name of its error.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.write(writer, _in_child(make))
        os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + LIMIT
    why = ""
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        killed = kill_when is not None and kill_when()
        if killed or time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            why = "killed" if killed else "stuck"
            break
        time.sleep(0.01)
    with os.fdopen(reader) as pipe:
        outcome = pipe.read()
    return outcome == "done", why or outcome


def _in_child(make: Callable[[], Try]) -> bytes:
    """The try itself, quiet; says ``done``, or the name of the error and whether another try may follow."""
    if "PEERS_VERBOSE" not in os.environ:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
    try:
        make()()
        return b"done"
    except BaseException as error:
        if "PEERS_VERBOSE" in os.environ:
            traceback.print_exc()
        return f"{type(error).__name__}:{getattr(error, 'retry', '')}".encode()


def tries(make: Callable[[], Try], most: int, kill_when: Callable[[], bool] | None = None) -> tuple[bool, str]:
    """As Airflow would: again after an error, unless the error says that a retry cannot help."""
    done, why = attempt(make, kill_when=kill_when)
    for _ in range(most - 1):
        if done or why.endswith(f":{FINAL}"):
            break
        time.sleep(PAUSE)
        done, why = attempt(make)
    return done, why.partition(":")[0]


# ---------------------------------------------------------------------------------------------- peers


@contextmanager
def local_vendor() -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).with_name("local_vendor.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(10)


def orders_at(address: str) -> int:
    with urlopen(f"{address}/_orders", timeout=10) as answer:
        return int(json.load(answer)["orders"])


def peer_cell(row: Row, address: str, fault: str) -> str:
    folder = Path(tempfile.mkdtemp(prefix="peer-"))
    wanted = "hold" if fault == "worker killed" else fault
    urlopen(Request(f"{address}/_set", json.dumps({"fault": wanted}).encode()), timeout=10).close()
    try:
        row.make(address, folder)
        kill_when = (lambda: orders_at(address) > 0) if fault == "worker killed" else None
        most = 1 + RETRIES if kill_when else row.tries  # a killed worker is tried again whatever the row's own repeats
        done, why = tries(lambda: row.make(address, folder), most, kill_when)
    except ImportError:
        return "not installed"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return f"{orders_at(address)}, {'done' if done else 'stuck' if row.make is peers.agent_once else why or 'failed'}"


# ---------------------------------------------------------------------------------------------- this package


@contextmanager
def receiver(folder: Path) -> Iterator[str]:
    """The package's webhook receiver on the ledger in this folder; its address for the vendor."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "airflow_provider_proxyorders.cli.main", "webhooks", "serve", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **at(folder)})
    try:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/bench"
    finally:
        process.terminate()
        process.wait(10)


def at(folder: Path) -> dict[str, str]:
    return {"AIRFLOW__PROXYORDERS__LEDGER_URL": f"sqlite:///{folder / 'ledger.db'}"}


def our_operator(folder: Path, vendor: str, fault: str) -> Try:
    from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator

    os.environ.update(at(folder))
    body = dict(REQUESTS[vendor])
    task = CreateProxyOrderOperator(
        task_id="buy", conn_id="bench", request=body, order_key=f"bench.buy.{fault}", poll_interval=0.1, timeout=10
    )
    return lambda: task.execute(peers.context(folder))


def our_cell(box: SandboxProcess, vendor: str, fault: str, folder: Path, webhook: str | None) -> str:
    act = {
        "time-out": {"action": "hang", "seconds": 2.0},
        "500": {"action": "status", "status": 500},
        "reset": {"action": "reset"},
        "worker killed": {"action": "pause", "seconds": 60},
    }[fault]
    box.control({"reset": True}, {"processing": 0.2, "vendor": vendor})
    if webhook:
        box.control({"vendor": "voodoo", "webhook": {"url": webhook, "secret": SECRET, "gap": 0.2}})
    box.ask("faults", {"vendor": vendor, "operation": "create", "when": "after", "times": 1, **act})
    kill_when = (lambda: box.bought(vendor) > 0) if fault == "worker killed" else None
    done, why = tries(lambda: our_operator(folder, vendor, fault), 1 + RETRIES, kill_when)
    return f"{box.bought(vendor)}, {'done' if done else 'waits for a person' if why == 'Quarantined' else why}"


def our_row(box: SandboxProcess, vendor: str, *, webhooks: bool) -> list[str]:
    limits = {"max_order_price": "50.00", "timeout": str(peers.TIMEOUT), "settle": "0.5"}
    os.environ["AIRFLOW_CONN_BENCH"] = box.connection(vendor, **limits, **({"webhook_secret": SECRET} if webhooks else {}))
    with tempfile.TemporaryDirectory(prefix="ours-") as name, contextlib.ExitStack() as stack:
        webhook = stack.enter_context(receiver(Path(name))) if webhooks else None
        return [our_cell(box, vendor, fault, Path(name), webhook) for fault in FAULTS]


#: Without webhooks Voodoo tells nobody the id of an order whose answer was lost, so that it waits for a person.
OURS = {
    "proxyscrape": ("proxyscrape", False, ("1, done",)),
    "iproyal": ("iproyal", False, ("1, done",)),
    "voodoo with its webhook": ("voodoo", True, ("1, done",)),
    "voodoo without": ("voodoo", False, ("1, done", "1, waits for a person")),
}


def main() -> int:
    measuring.options(__doc__ or "")
    print(f"{measuring.machine()}\n\nOrders bought for **one** intended order, and how the task ended.\n")
    rows, wrong = [], 0
    with local_vendor() as address, measuring.sandbox(processing=0.2) as box:
        for row in PEERS:
            rows.append([row.name, *(peer_cell(row, address, fault) for fault in row.faults)])
        for name, (vendor, webhooks, promised) in OURS.items():
            cells = our_row(box, vendor, webhooks=webhooks)
            wrong += sum(cell not in promised for cell in cells)
            rows.append([f"**this package, {name}**", *cells])
        also = [f"- {what}: {peer_cell(row, address, fault)}" for what, row, fault in ALSO]
    print(measuring.table(["what a user would pick", *FAULTS], rows))
    print("\nAlso:\n\n" + "\n".join(also))
    if wrong:
        print(f"\nMISSED: {wrong} cells of this package are not what it promises.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
