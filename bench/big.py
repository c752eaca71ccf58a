"""Big ledgers and big vendors: searches for orders that end, wallet checks, comparisons, quotes, and the proxy check.

A ledger of the newest 60,000 purchases and one of 200,000 (with ``--full`` 1,000,000) hold one purchase a minute, half of them of
IPRoyal and two fifths of ProxyScrape. Each question runs in a process of its own. Its memory is the peak beyond that of the same
process before the question. ``--package FOLDER`` measures another state of the package in the same way.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import measuring
from measuring import Verdicts

HERE = Path(__file__).parent
SMALL = 60_000
MOST_MB, MOST_RATIO = 50.0, 2.0
DAYS = timedelta(days=3)
TERM = timedelta(days=30)
WALLETS = {"iproyal": "iproyal:main", "proxyscrape": "proxyscrape:main"}


# ---------------------------------------------------------------------------------------------- filling


def fill(url: str, many: int) -> None:
    """A ledger of the newest purchases, one a minute until now."""
    from sqlalchemy import text

    from airflow_provider_proxyorders.ledger import open_ledger

    with open_ledger(url).engine.begin() as connection:
        now, number = int(time.time()), "(5000000 - i)"
        stamp = f"strftime('%Y-%m-%dT%H:%M:%S', {now} - i * 60, 'unixepoch') || '.000000+00:00'"
        ends = f"strftime('%Y-%m-%dT%H:%M:%S', {now} - i * 60 + {int(TERM.total_seconds())}, 'unixepoch') || '.000000+00:00'"
        listed = "i % 10 < 5"
        vendor = f"CASE WHEN {listed} THEN 'iproyal' WHEN i % 10 < 9 THEN 'proxyscrape' ELSE 'voodoo' END"
        columns: Mapping[str, str] = {
            "order_key": "'history-' || i",
            "kind": "'create'",
            "vendor": vendor,
            "conn_id": "'bench'",
            "wallet": f"({vendor}) || ':main'",
            "step": "CASE WHEN i < 60 THEN 'placed' WHEN i % 50 = 7 THEN 'rejected' ELSE 'delivered' END",
            "fingerprint": "'" + "f" * 64 + "'",
            "request": """'{"product_plan_id":22,"type":"new_datacenter_shared","quantity":2}'""",
            "order_id": f"CASE WHEN i % 50 = 7 AND i >= 60 THEN NULL ELSE '' || {number} END",
            "vendor_status": "'confirmed'",
            "currency": "'USD'",
            "reserved": "'50.00'",
            "price": "'9.00'",
            "counted": "9000000",
            "counted_on": f"substr({stamp}, 1, 10)",
            "expires_at": f"CASE WHEN {listed} AND i >= 60 AND i % 50 <> 7 THEN {ends} END",
            "reason": "''",
            "evidence": "'{}'",
            "maybe_sent": "0",
            "confirmed": "1",
            "fence": "3",
            "sent_at": stamp,
            "created_at": stamp,
            "updated_at": stamp,
        }
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {many} - 1)"
        picked = ", ".join(columns.values()).replace(":", "\\:")
        connection.execute(text(f"INSERT INTO proxyorders_purchases ({', '.join(columns)}) {numbers} SELECT {picked} FROM n"))
        connection.execute(
            text(
                "INSERT INTO proxyorders_owned_ids (wallet, vendor_id, order_key) SELECT wallet, order_id, order_key "
                "FROM proxyorders_purchases WHERE order_id IS NOT NULL"
            )
        )


# ---------------------------------------------------------------------------------------------- what is asked


def ask(what: str, ledger_url: str, vendor_url: str) -> dict[str, Any]:
    """One question; its time, CPU, memory and answer."""
    from airflow_provider_proxyorders.domain.account import Account
    from airflow_provider_proxyorders.ledger import open_ledger
    from airflow_provider_proxyorders.purchase.buyer import Buyer
    from airflow_provider_proxyorders.renewal.search import find_due
    from airflow_provider_proxyorders.transport.worker import Http
    from airflow_provider_proxyorders.vendors import vendor_class
    from airflow_provider_proxyorders.wallet.check import check_wallet
    from airflow_provider_proxyorders.wallet.plan import plan_renewals
    from airflow_provider_proxyorders.wallet.reconcile import reconcile

    name, _, question = what.partition(" ")
    settings: dict[str, Any] = {"settle": 0.2}
    account = Account(name, "bench", WALLETS[name], vendor_url, "key", currency="USD", timeout=30.0, settings=settings)
    http, ledger = Http(account), open_ledger(ledger_url)
    buyer = Buyer(vendor_class(name)(account), http, ledger, say=lambda line: None)
    term = TERM if name == "proxyscrape" else None
    http.run(buyer.vendor.balance())

    def find() -> Any:
        return find_due(buyer, as_of=ledger.clock(), within=DAYS, term=term)

    def priced() -> Any:
        due = find().due
        return [renewal.source for _, renewal in plan_renewals(buyer, due, {"product_plan_id": 22}).renewals]

    def compared() -> Any:
        report = reconcile(buyer)
        return {
            "lines": len(report.lines()),
            "longest": max((len(line) for line in report.lines()), default=0),
            **getattr(report, "counts", {}),
        }

    questions: Mapping[str, Callable[[], Any]] = {
        "find": lambda: {"due": len((orders := find()).due), "left out": len(orders.left_out)},
        "check": lambda: {"due": check_wallet(buyer, horizon=DAYS, term=term).facts()["renewals_due"]},
        "quotes": lambda: {"quoted": priced().count("quote")},
        "reconcile": compared,
        "unresolved": lambda: {"unresolved": len([ledger.unresolved(wallet=account.wallet) for _ in range(20)])},
    }
    counts(vendor_url)
    before = resource.getrusage(resource.RUSAGE_SELF)
    began, cpu = time.perf_counter(), time.process_time()
    try:
        answer = questions[question]()
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"[:200]}
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss) / 1024,
        "calls": counts(vendor_url),
        "answer": answer,
    }


def counts(vendor_url: str) -> dict[str, int]:
    """The vendor's calls since the last time."""
    with urllib.request.urlopen(f"{vendor_url}/_counts", timeout=30) as answer:
        return dict(json.load(answer))


# ---------------------------------------------------------------------------------------------- the proxy check


def proxy_check(many: int, silent: int) -> dict[str, Any]:
    """Check proxies of which some are silent: half of those take no connection, half take it and say nothing."""
    from airflow_provider_proxyorders.delivery.proxy_check import check
    from airflow_provider_proxyorders.domain.delivered import Proxy

    with full_port() as gone, mute_port() as mute, good_port() as good:
        ports = {"take no connection": [gone] * silent, "half say nothing": [gone, mute] * (silent // 2)}
        outcome: dict[str, Any] = {}
        for kind, dead in ports.items():
            proxies = [Proxy("127.0.0.1", port) for port in (dead + [good] * (many - silent))]
            proxies = [proxies[(number * 7919) % many] for number in range(many)]
            began, cpu = time.perf_counter(), time.process_time()
            health = check(proxies, "http://example.com/")
            outcome[kind] = {
                "seconds": time.perf_counter() - began,
                "cpu": time.process_time() - cpu,
                "healthy": health.healthy,
                "silent": health.silent,
            }
    return outcome


@contextmanager
def full_port() -> Iterator[int]:
    """A port that takes no connection and refuses none, as a host that is gone."""
    clients: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port: int = listener.getsockname()[1]
        for _ in range(8):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            clients.append(client)
        yield port
        for client in clients:
            client.close()


@contextmanager
def mute_port() -> Iterator[int]:
    """A port that takes each connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield listener.getsockname()[1]


@contextmanager
def good_port() -> Iterator[int]:
    """Proxies that answer, in a process of their own."""
    script = (
        "import asyncio\n"
        "async def serve(reader, writer):\n"
        "    await reader.readuntil(b'\\r\\n\\r\\n')\n"
        "    writer.write(b'HTTP/1.1 204 No Content\\r\\n\\r\\n')\n"
        "    await writer.drain()\n"
        "    writer.close()\n"
        "async def main():\n"
        "    server = await asyncio.start_server(serve, '127.0.0.1', 0, backlog=1024)\n"
        "    print(server.sockets[0].getsockname()[1], flush=True)\n"
        "    await server.serve_forever()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.terminate()


# ---------------------------------------------------------------------------------------------- the run


@contextmanager
def vendor(orders: int, delay: float = 0.0) -> Iterator[str]:
    """The vendor with so many orders; yields its address."""
    command = [sys.executable, str(HERE / "big_vendor.py"), str(orders), str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def child(package: Path, *arguments: str) -> Any:
    """Run a part of this script with a state of the package."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None


def asked(package: Path, urls: Mapping[str, str], full: bool) -> tuple[list[list[str]], dict[str, dict[str, Any]]]:
    """Every question on both ledgers; rows for people, and the figures by question."""
    plan: list[tuple[str, int, float, str]] = [
        ("proxyscrape find", 10_000, 0.0, "small"),
        ("proxyscrape find", 10_000, 0.0, "large"),
        ("proxyscrape check", 10_000, 0.0, "small"),
        ("proxyscrape check", 10_000, 0.0, "large"),
        ("iproyal find", 10_000, 0.0, "large"),
        ("iproyal quotes", 10_000, 0.02, "large"),
        ("iproyal reconcile", 10_000, 0.0, "small"),
        ("iproyal reconcile", 10_000, 0.0, "large"),
        ("iproyal find", 100_100, 0.0, "large"),
        ("iproyal reconcile", 100_100, 0.0, "large"),
        ("iproyal unresolved", 10_000, 0.0, "small"),
        ("iproyal unresolved", 10_000, 0.0, "large"),
    ]
    rows: list[list[str]] = []
    figures: dict[str, dict[str, Any]] = {}
    for what, orders, delay, size in plan:
        with vendor(orders, delay) as address:
            told = child(package, "--ask", what, urls[size], address)
        figures[f"{what} {orders} {size}"] = told
        calls = ", ".join(f"{kind} {many}" for kind, many in told["calls"].items())
        answer = ", ".join(f"{name} {value}" for name, value in told["answer"].items() if value)
        rows.append(
            [
                f"{what}, {orders:,} orders, {size} ledger",
                f"{told['seconds']:.2f}",
                f"{told['cpu']:.2f}",
                f"{told['mb']:.0f}",
                calls,
                answer,
            ]
        )
        print(" | ".join(rows[-1]), flush=True)
    return rows, figures


def judge(figures: Mapping[str, Mapping[str, Any]], verdicts: Verdicts) -> None:
    for name, told in figures.items():
        verdicts.at_most(f"{name}: memory", told["mb"], MOST_MB, " MB")
        verdicts.true(f"{name}: has an answer", "error" not in told["answer"])
    for what in ("proxyscrape find 10000", "proxyscrape check 10000", "iproyal reconcile 10000", "iproyal unresolved 10000"):
        small, large = figures[f"{what} small"], figures[f"{what} large"]
        verdicts.at_most(f"{what}: large ÷ small, CPU", large["cpu"] / max(small["cpu"], 0.01), MOST_RATIO)
    verdicts.true("quotes are asked for eight at a time", figures["iproyal quotes 10000 large"]["calls"]["at once"] == 8)


def main() -> int:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--package", type=Path, default=HERE.parent, help="the folder of the package to measure")
        parser.add_argument("--fill", nargs=2, help=argparse.SUPPRESS)
        parser.add_argument("--ask", nargs=3, help=argparse.SUPPRESS)
        parser.add_argument("--proxies", action="store_true", help=argparse.SUPPRESS)

    chosen = measuring.options(__doc__ or "", add)
    if chosen.fill:
        fill(chosen.fill[0], int(chosen.fill[1]))
    elif chosen.ask:
        print(json.dumps(ask(*chosen.ask)))
    elif chosen.proxies:
        print(json.dumps(proxy_check(1000, 500)))
    else:
        return run(chosen)
    return 0


def run(chosen: argparse.Namespace) -> int:
    many = 1_000_000 if chosen.full else 200_000
    print(measuring.machine(), flush=True)
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory(prefix="proxyorders-bench-") as folder:
        urls = {size: f"sqlite:///{Path(folder) / size}.db" for size in ("small", "large")}
        for size, rows in (("small", SMALL), ("large", many)):
            child(chosen.package, "--fill", urls[size], str(rows))
        rows, figures = asked(chosen.package, urls, chosen.full)
    print("\n" + measuring.table([f"{many:,} purchases beside {SMALL:,}", "s", "CPU s", "MB", "calls", "answer"], rows))
    health = child(chosen.package, "--proxies")
    print(f"\nproxy check, 1,000 proxies of which 500 are silent: {json.dumps(health)}")
    judge(figures, verdicts)
    verdicts.at_most("proxy check, silent proxies take no connection", health["take no connection"]["seconds"], 12.0, " s")
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
