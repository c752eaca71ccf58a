"""SOCKS5 proxies are checked like HTTP ones: through the proxy, with its login, over TLS too."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from airflow_provider_proxyorders.delivery.proxy_check import check
from airflow_provider_proxyorders.domain.delivered import Proxy

from .socks import SocksServer, socks_server


class Page(BaseHTTPRequestHandler):
    paths: list[str] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(403 if "closed" in self.path else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[ThreadingHTTPServer]:
    Page.paths.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def socks() -> Iterator[SocksServer]:
    with socks_server() as server:
        yield server


def test_each_kind_of_answer_is_counted(page: ThreadingHTTPServer, socks: SocksServer, caplog: pytest.LogCaptureFixture) -> None:
    good = Proxy("127.0.0.1", socks.port, "user", "p:w@1", scheme="socks5")
    proxies = [good, replace(good, password="wrong-one"), replace(good, username=None, password=None), replace(good, port=1)]
    proxies.append(replace(good, port=page.server_port))  # it speaks HTTP
    health = check(proxies, f"http://localhost:{page.server_port}/a?b=c", timeout=5.0)
    assert (health.checked, health.unchecked, health.healthy, health.login_refused) == (5, 0, 1, 2)
    assert (health.failed, health.silent) == (0, 2)
    assert socks.asked == [("localhost", page.server_port)] and Page.paths == ["/a?b=c"]
    shown = str(health) + json.dumps(health.as_dict()) + caplog.text
    assert "wrong-one" not in shown and "p:w@1" not in shown


def test_a_page_that_refuses_or_is_out_of_reach(page: ThreadingHTTPServer, socks: SocksServer) -> None:
    proxy = Proxy("127.0.0.1", socks.port, "user", "p:w@1", scheme="socks5")
    for address in (f"http://localhost:{page.server_port}/closed", "http://127.0.0.1:1/"):
        assert (check([proxy], address).healthy, check([proxy], address).failed) == (0, 1)


def test_a_proxy_that_hangs_ends_in_time(socks: SocksServer) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as mute:  # takes connections and never answers
        proxy = Proxy("127.0.0.1", mute.server_port, scheme="socks5")
        assert check([proxy] * 4, "http://localhost/", timeout=0.2).silent == 4


def test_tls_is_checked_through_the_proxy(
    page: ThreadingHTTPServer, socks: SocksServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    subprocess.run([*made, *files], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    page.socket = context.wrap_socket(page.socket, server_side=True)
    proxy = Proxy("127.0.0.1", socks.port, "user", "p:w@1", scheme="socks5")
    address = f"https://localhost:{page.server_port}/"
    assert check([proxy], address).silent == 1  # a certificate of its own
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
    assert check([proxy], address).healthy == 1
