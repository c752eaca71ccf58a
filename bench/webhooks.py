"""The cost of taking webhooks, beside apps with verification only and beside the limit of the same database.

Each server runs in a process of its own, under the same HTTP server. Another process sends distinct signed deliveries over kept
connections. A delivery counts when it is answered by 200; ours answers once its row is durable. The limit is written by hand:
the same rows into the same table, one commit a group, and only the signature checked.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import measuring
import psutil
from measuring import Verdicts

from airflow_provider_proxyorders.wire.signatures import Scheme

SECRET = "bench-webhook-secret"
CONNECTIONS = 64
HERE = Path(__file__).parent
VERIFY, FASTAPI, OURS, LIMIT = "verifies only, plain ASGI", "verifies only, FastAPI", "ours", "limit"
Figures = dict[str, float]


@dataclass
class Server:
    """A running receiver."""

    url: str
    process: psutil.Popen
    taken: dict[int, list[Figures]] = field(default_factory=dict)

    def load(self, connections: int, many: int, warm: int) -> Figures:
        """Have it sent deliveries by a process of its own."""
        words = [sys.executable, str(HERE / "webhook_load.py"), self.url, SECRET, str(connections), str(many), str(warm)]
        used = sum(self.process.cpu_times()[:2])
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise SystemExit(f"the load for {self.url} ended with {done.returncode}:\n{done.stderr}")
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        figures["cpu"] = (sum(self.process.cpu_times()[:2]) - used) / (many + warm)
        return figures

    def post(self, body: bytes) -> None:
        """Deliver one body, signed.

        :raises urllib.error.HTTPError: for any answer but 200.
        """
        asked = urllib.request.Request(self.url, body, {"Content-Type": "application/json", **Scheme().sign(body, SECRET)})
        with urllib.request.urlopen(asked, timeout=10):
            pass


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def server(name: str, database: str = "") -> Iterator[Server]:
    """One of the contenders; ends with the block."""
    port = free_port()
    if name == OURS:
        command = [sys.executable, "-m", "airflow_provider_proxyorders.cli.main", "webhooks", "serve", "--port", str(port)]
    else:
        word = "fastapi" if name == FASTAPI else "plain"
        command = [sys.executable, str(HERE / "webhook_servers.py"), word, str(port), SECRET, database]
    connection = {"conn_type": "voodoo", "password": "ak_key", "extra": {"webhook_secret": SECRET}}
    settings = {
        "AIRFLOW__PROXYORDERS__LEDGER_URL": database,
        "AIRFLOW__PROXYORDERS__WEBHOOK_RATE": "1000000",  # the flood is the point here
        "AIRFLOW_CONN_SHOP": json.dumps(connection),
    }
    process = psutil.Popen(command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{name} did not start") from None
                time.sleep(0.05)
        yield Server(f"http://127.0.0.1:{port}/shop", process)
    finally:
        process.terminate()
        process.wait(10)


def memory_of_refusals(receiver: Server, times: int) -> float:
    """Growth of the receiver in MB while it refuses large bodies: forged ones, and ones beyond the limit."""
    parts = receiver.url.removeprefix("http://").partition("/")
    host, _, port = parts[0].partition(":")
    forged = b"x" * 60_000
    head = f"POST /{parts[2]} HTTP/1.1\r\nHost: {parts[0]}\r\nX-Webhook-Signature: sha256={'0' * 64}\r\n"

    def refuse(count: int) -> None:
        for number in range(count):
            with socket.create_connection((host, int(port)), timeout=10) as sock:
                if number % 2:
                    sock.sendall(f"{head}Content-Length: {len(forged)}\r\n\r\n".encode() + forged)
                else:
                    sock.sendall(
                        f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + 2 * (b"8800\r\n" + b"x" * 0x8800 + b"\r\n")
                    )
                answer = sock.recv(100)
                assert answer.split()[1] == (b"401" if number % 2 else b"413"), answer

    def settled(count: int) -> int:
        refuse(count)
        time.sleep(6)  # the server keeps what it knows of a closed connection for its keep-alive time of 5 s
        return int(receiver.process.memory_info().rss)

    before = settled(times)  # what the memory needs to take that many in is no growth
    return (settled(times) - before) / 2**20


def row(name: str, many: list[Figures], alone: list[Figures]) -> list[str]:
    def middle(taken: list[Figures], key: str) -> float:
        return statistics.median(figures[key] for figures in taken)

    return [
        name,
        f"{middle(many, 'rate'):,.0f}",
        f"{middle(many, 'median') * 1e3:.1f}",
        f"{middle(many, 'late') * 1e3:.1f}",
        f"{middle(many, 'cpu') * 1e3:.2f}",
        f"{middle(many, 'client'):.0%}",
        f"{middle(alone, 'median') * 1e3:.2f}",
    ]


def judge(verdicts: Verdicts, store: str, ours: Server, limit: Server) -> None:
    least = 2200 if store == "SQLite" else 2400

    def each(server: Server, key: str, connections: int = CONNECTIONS) -> list[float]:
        return [figures[key] for figures in server.taken[connections]]

    rates = each(ours, "rate")
    verdicts.at_most(f"{store}: ms per delivery", 1e3 / statistics.median(rates), 1e3 / least, "", [1e3 / rate for rate in rates])
    shares = [mine / its for mine, its in zip(rates, each(limit, "rate"), strict=True)]
    verdicts.lines.append(f"       {store}: {statistics.median(shares):.0%} of the limit; the aim is 70 %")
    late = [value * 1e3 for value in each(ours, "late")]
    verdicts.at_most(f"{store}: 99 % of the answers", statistics.median(late), 90, " ms", late)
    alone = [value * 1e3 for value in each(ours, "median", 1)]
    slowest = max(1.5, statistics.median(each(limit, "median", 1)) * 1e3)  # no quicker than the limit where the disk is slow
    verdicts.at_most(f"{store}: one connection alone, median", statistics.median(alone), round(slowest, 2), " ms", alone)
    verdicts.true(f"{store}: all answered by 200", not sum(each(ours, "refused") + each(ours, "refused", 1)))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, help="how often each is measured (2; with --full 5)")
    parser.add_argument("--many", type=int, help="deliveries a round (6000; with --full 12000)")


def main() -> int:
    options = measuring.options(__doc__ or "", add)
    rounds, many = options.rounds or (5 if options.full else 2), options.many or (12000 if options.full else 6000)
    measuring.private_airflow()
    print(f"{measuring.machine()}; {CONNECTIONS} connections; {rounds} rounds of {many} deliveries\n", flush=True)
    verdicts = Verdicts()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="proxyorders-bench-"))
        new = stack.enter_context(measuring.postgres())
        stores: dict[str, Callable[[], str]] = {"SQLite": lambda: f"sqlite:///{folder}/{time.monotonic_ns()}.db"}
        if new is not None:
            stores["PostgreSQL"] = new
        servers = {name: stack.enter_context(server(name)) for name in (VERIFY, FASTAPI)}
        for store, database in stores.items():
            servers |= {f"{name}, {store}": stack.enter_context(server(name, database())) for name in (LIMIT, OURS)}
        for _ in range(rounds):
            for each in servers.values():
                each.taken.setdefault(CONNECTIONS, []).append(each.load(CONNECTIONS, many, many // 4))
                each.taken.setdefault(1, []).append(each.load(1, 400, 50))
        head = ["", "deliveries/s", "median ms", "99 % ms", "CPU ms each", "load's CPU", "one connection, median ms"]
        rows = [row(name, each.taken[CONNECTIONS], each.taken[1]) for name, each in servers.items()]
        print(measuring.table(head, rows), flush=True)
        for store in stores:
            judge(verdicts, store, servers[f"{OURS}, {store}"], servers[f"{LIMIT}, {store}"])
        grown = memory_of_refusals(servers[f"{OURS}, SQLite"], 4000 if options.full else 2000)
        verdicts.at_most("growth by refused bodies of 60 KB and more", grown, 4.0, " MB")
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
