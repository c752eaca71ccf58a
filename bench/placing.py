"""The time of one purchase beside one plain call, one at a time on the loopback.

A purchase is: look the key up, read the evidence at the vendor, three durable ledger steps, one POST. It is measured through the
hook, as operators use it, beside its parts by hand. The budget is for the POST and the three steps. The evidence reads are shown
on their own. The quickest tenth of the calls is judged, since the rest of the machine disturbs longer calls more often.
``--profile`` shows the distribution of our own time.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import socket
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import measuring
from measuring import REQUESTS, SandboxProcess, Series, Verdicts

measuring.private_airflow()

LIMIT = 1.5
HOOK = "HttpHook.run, new hook per call"
SESSION = "requests.Session, kept"
CAPS = {"max_order_price": "50.00", "daily_limit": "9000000.00", "monthly_limit": "9000000.00"}
_numbers = itertools.count(1)


class Plain:
    """The same order at Voodoo by hand: one POST with a token that is there already."""

    def __init__(self, box: SandboxProcess):
        self.base = urlsplit(box.url("voodoo"))
        self.path = f"{self.base.path}/api/v1/orders"
        self.box = box
        self.token = ""

    def renew(self) -> None:
        link = http.client.HTTPConnection(self.base.netloc, timeout=10)
        body = json.dumps({"api_key": self.box.token("voodoo")})
        link.request("POST", f"{self.base.path}/api/v1/auth/token/client", body, {"Content-Type": "application/json"})
        self.token = json.load(link.getresponse())["access_token"]
        link.close()

    def body(self) -> str:
        return json.dumps({**REQUESTS["voodoo"], "merchant_order_id": f"plain-{next(_numbers)}"})

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

    def raw_socket(self) -> Any:
        link = socket.create_connection((self.base.hostname, self.base.port))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def call() -> None:
            body = self.body().encode()
            head = f"POST {self.path} HTTP/1.1\r\nHost: {self.base.netloc}\r\nAuthorization: Bearer {self.token}\r\n"
            link.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += link.recv(65536)
            top, _, rest = answer.partition(b"\r\n\r\n")
            assert top.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), top
            length = int(top.lower().partition(b"content-length:")[2].split()[0])
            while len(rest) < length:
                rest += link.recv(65536)

        return call

    def http_client(self) -> Any:
        link = http.client.HTTPConnection(self.base.netloc, timeout=10)

        def call() -> None:
            link.request("POST", self.path, self.body(), self.headers())
            answer = link.getresponse()
            answer.read()
            assert answer.status in (200, 201), answer.status

        return call

    def session(self) -> Any:
        import requests

        session, url = requests.Session(), f"http://{self.base.netloc}{self.path}"
        return lambda: session.post(url, data=self.body(), headers=self.headers(), timeout=10).raise_for_status()

    def http_hook(self, *, keep: bool) -> Any:
        from airflow.providers.http.hooks.http import HttpHook

        os.environ["AIRFLOW_CONN_PLAIN"] = json.dumps({"conn_type": "http", "host": f"http://{self.base.netloc}"})
        kept = HttpHook(method="POST", http_conn_id="plain")

        def call() -> None:
            hook = kept if keep else HttpHook(method="POST", http_conn_id="plain")
            hook.run(self.path, data=self.body(), headers=self.headers(), extra_options={"timeout": 10})

        return call


def commit(url: str) -> Any:
    """One durable commit of one row, by hand, on a kept connection."""
    if url.startswith("sqlite"):
        import sqlite3

        lite = sqlite3.connect(url.partition("///")[2] + ".plain", isolation_level=None)
        lite.execute("PRAGMA journal_mode=WAL")
        lite.execute("PRAGMA synchronous=FULL")
        lite.execute("CREATE TABLE plain (word TEXT)")
        return lambda: lite.execute("INSERT INTO plain VALUES ('one')")
    import psycopg

    link = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
    link.execute("CREATE TABLE plain (word TEXT)")
    return lambda: link.execute("INSERT INTO plain VALUES ('one')")


def by_hand(post: Any, durable: Any) -> Any:
    """The least that the budget asks for: three durable commits around one POST, with nothing looked up or compared."""

    def call() -> None:
        durable()
        durable()
        post()
        durable()

    return call


class Ours:
    """``create_order`` of the hook, on one ledger."""

    def __init__(self, url: str):
        from airflow_provider_proxyorders.ledger import open_ledger

        self.url = url
        self.ledger = open_ledger(url)

    def hook(self, vendor: str) -> Any:
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

        os.environ["AIRFLOW__PROXYORDERS__LEDGER_URL"] = self.url
        return ProxyOrdersHook(f"bench_{vendor}")

    def buy(self, vendor: str, *, keep: bool) -> Any:
        kept = self.hook(vendor) if keep else None
        if kept is not None:
            assert kept.ledger.engine.url == self.ledger.engine.url

        def call() -> None:
            hook = kept if kept is not None else self.hook(vendor)
            hook.create_order(REQUESTS[vendor], order_key=f"{vendor}-{next(_numbers)}")
            if kept is None:
                hook.http.close()

        return call

    def evidence(self, vendor: str) -> Any:
        """What a purchase reads at the vendor before it is sent."""
        hook = self.hook(vendor)
        body = hook.vendor.prepare_create(REQUESTS[vendor], "reference").body

        def call() -> None:
            if hook.vendor.capabilities.quote_create:
                hook.http.run(hook.vendor.quote(body))
            hook.http.run(hook.vendor.snapshot("create", body, None))

        return call


def requests_of(box: SandboxProcess, vendor: str, call: Any) -> int:
    """How many requests one call takes, the login of a new token not counted."""
    call()

    def asked() -> int:
        return sum(box.ask(f"book?vendor={vendor}")["counts"].get(vendor, {}).values())

    before = asked()
    call()
    return asked() - before


def contenders(box: SandboxProcess, plain: Plain, ledgers: Mapping[str, str]) -> dict[str, Any]:
    calls = {
        "raw socket, kept": plain.raw_socket(),
        "http.client, kept": plain.http_client(),
        SESSION: plain.session(),
    }
    with contextlib.suppress(ImportError):
        calls |= {"HttpHook.run, hook kept": plain.http_hook(keep=True), HOOK: plain.http_hook(keep=False)}
    for name, url in ledgers.items():
        ours = Ours(url)
        calls[f"one durable commit, {name}"] = durable = commit(url)
        calls[f"by hand: a POST on a kept session and three commits, {name}"] = by_hand(calls[SESSION], durable)
        for vendor in REQUESTS:
            calls[ours_at(vendor, name)] = call = ours.buy(vendor, keep=True)
            print(f"{vendor} on {name}: {requests_of(box, vendor, call)} requests a purchase")
        calls[f"create_order at voodoo, {name}, new hook per call"] = ours.buy("voodoo", keep=False)
    for vendor in REQUESTS:
        calls[reads_of(vendor)] = ours.evidence(vendor)
    return calls


def ours_at(vendor: str, ledger: str) -> str:
    return f"**create_order at {vendor}, {ledger}**"


def reads_of(vendor: str) -> str:
    return f"of it the evidence reads at {vendor}"


def show(series: Mapping[str, Series], peer: str) -> None:
    base = series[peer].quick
    rows = [
        [name, *(f"{value * 1e3:.2f}" for value in (s.quick, s.median, s.late)), f"{s.quick / base:.2f}"]
        for name, s in sorted(series.items(), key=lambda item: item[1].quick)
    ]
    print("\n" + measuring.table(["one call", "10 % ms", "median ms", "99 % ms", f"10 % ÷ {peer}"], rows) + "\n")


def judge(verdicts: Verdicts, series: Mapping[str, Series], peer: str, ledgers: Mapping[str, str]) -> None:
    base = series[peer].quicks()
    for ledger in ledgers:
        for vendor in REQUESTS:
            whole, reads = series[ours_at(vendor, ledger)].quicks(), series[reads_of(vendor)].quicks()
            own = [(a - b) / c for a, b, c in zip(whole, reads, base, strict=True)]
            verdicts.at_most(f"{vendor}, {ledger}: POST and three durable steps ÷ {peer}", statistics.median(own), LIMIT, "", own)


def profile(ledgers: Mapping[str, str]) -> int:
    import cProfile
    import pstats

    for name, url in ledgers.items():
        ours = Ours(url)
        for vendor in REQUESTS:
            call = ours.buy(vendor, keep=True)
            call()
            watch = cProfile.Profile()
            watch.enable()
            for _ in range(100):
                call()
            watch.disable()
            print(f"{vendor}, {name}, 100 purchases")
            pstats.Stats(watch).sort_stats("cumulative").print_stats("proxyorders|requests|sqlalchemy|psycopg", 45)
    return 0


def main() -> int:
    chosen = measuring.options(__doc__ or "", lambda parser: parser.add_argument("--profile", action="store_true"))
    rounds, calls = (9, 120) if chosen.full else (5, 30)
    print(f"{measuring.machine()}\n")
    verdicts = Verdicts()
    with (
        measuring.sandbox() as box,
        measuring.postgres() as database,
        tempfile.TemporaryDirectory(prefix="proxyorders-bench-") as folder,
    ):
        for vendor in REQUESTS:
            os.environ[f"AIRFLOW_CONN_BENCH_{vendor.upper()}"] = box.connection(vendor, **CAPS)
        plain = Plain(box)

        def afresh() -> None:
            box.control({"reset": True}, {"wallet": {"balance": "9000000"}})
            plain.renew()

        afresh()
        ledgers = {"SQLite": f"sqlite:///{Path(folder) / 'ledger.db'}"}
        if database is not None:
            ledgers["PostgreSQL"] = database()
        if chosen.profile:
            return profile(ledgers)
        called = contenders(box, plain, ledgers)
        peer = HOOK if HOOK in called else SESSION
        if peer is SESSION:
            print("HttpHook is not installed (apache-airflow-providers-http); ratios are to requests.Session.")
        series = measuring.in_turns(called, rounds=rounds, calls=calls, before_round=afresh)
    show(series, peer)
    judge(verdicts, series, peer, ledgers)
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
