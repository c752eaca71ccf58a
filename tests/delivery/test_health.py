"""The check of delivered proxies: numbers that are right, and an end in time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from airflow_provider_proxyorders.delivery.proxy_check import check
from airflow_provider_proxyorders.domain.delivered import Proxy
from airflow_provider_proxyorders.transport.probe import aprobe
from tests.hooks.connections import Shops

from .test_operator import bought


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def test_each_kind_is_counted_once(shops: Shops, mute: int, caplog: pytest.LogCaptureFixture) -> None:
    _, goods = bought(shops, "iproyal")
    good = goods.proxies[0]
    proxies = [
        *goods.proxies,
        replace(good, password="wrong-one"),
        replace(good, username=None, password=None),
        replace(good, port=mute),
        replace(good, port=1),
        replace(good, scheme="socks4"),
    ]
    health = check(proxies, shops.box.whoami, timeout=1.0)
    assert health.as_dict() | {"median_ms": None} == {
        "checked": 6,
        "healthy": 2,
        "login_refused": 2,
        "failed": 0,
        "silent": 2,
        "unchecked": 1,
        "median_ms": None,
    }
    assert str(health) == "2 of 6 answer, 2 refuse the login, 2 are silent, 1 of another kind not checked"
    shown = str(health) + repr(health) + caplog.text
    assert not [proxy.password for proxy in proxies if proxy.password and proxy.password in shown]


def test_a_page_that_says_no_is_not_healthy(shops: Shops) -> None:
    _, goods = bought(shops, "iproyal")
    health = check(goods.proxies, f"http://127.0.0.1:{shops.box.port}/no-such-page")
    assert (health.healthy, health.failed, health.median_ms) == (0, 2, None)


def test_https_goes_through_a_tunnel_that_wants_the_login_too(shops: Shops) -> None:
    _, goods = bought(shops, "iproyal")
    page = f"https://127.0.0.1:{shops.box.port}/"
    wrong = check([replace(proxy, password="wrong-one") for proxy in goods.proxies], page)
    assert (wrong.healthy, wrong.login_refused) == (0, 2)
    assert shops.box.book.count("forward", "connect") == 2


def test_the_environment_cannot_lead_round_the_proxy(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    _, goods = bought(shops, "iproyal")
    assert check(goods.proxies, shops.box.whoami).healthy == 2
    assert check([replace(goods.proxies[0], password="wrong-one")], shops.box.whoami).healthy == 0


def test_nothing_to_check() -> None:
    health = check([], "http://127.0.0.1:1/")
    assert (health.checked, health.healthy, health.median_ms) == (0, 0, None)


def test_many_that_hang_end_in_time(mute: int) -> None:
    proxies = [Proxy("127.0.0.1", mute, "u", f"password-{number}") for number in range(40)]
    began = time.monotonic()
    health = check(proxies, "http://127.0.0.1:1/", timeout=0.2, at_once=20)
    assert health.silent == 40
    assert time.monotonic() - began < 7.0  # one by one it would be eight


@pytest.fixture
def full() -> Iterator[int]:
    """A port that takes no further connection, as a host that is gone."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        port = listener.getsockname()[1]
        for _ in range(8):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_who_takes_no_connection_is_silent_sooner(full: int, scheme: str) -> None:
    began = time.monotonic()
    health = check([Proxy("127.0.0.1", full, scheme=scheme) for _ in range(5)], "http://127.0.0.1:1/", timeout=20.0)
    assert health.silent == 5
    assert 6.0 <= time.monotonic() - began < 18.0, "three tenths of the time for one fetch"


def test_who_took_the_connection_has_the_whole_time() -> None:
    async def slow() -> list[tuple[int | None, float]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(2.0)
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await aprobe(
                "http://example.com/", [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"], timeout=5, at_once=4
            )

    assert [status for status, _ in asyncio.run(slow())] == [204]


def test_a_trickle_ends_in_time() -> None:
    """A time limit for each byte would never end this one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            talk, _ = listener.accept()
            with talk:
                for letter in "HTTP/1.1 200 OK and so on" * 20:
                    try:
                        talk.sendall(letter.encode())
                    except OSError:
                        return
                    time.sleep(0.05)

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        began = time.monotonic()
        health = check([Proxy("127.0.0.1", listener.getsockname()[1])], "http://127.0.0.1:1/", timeout=0.4)
        assert (health.silent, health.healthy) == (1, 0)
        assert time.monotonic() - began < 15.0  # it trickles for 25
        thread.join(5)


def test_no_more_at_a_time_than_asked_for() -> None:
    open_now, most = 0, 0

    async def watched() -> list[tuple[int | None, float]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.05)
            open_now -= 1
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await aprobe("http://example.com/", [f"http://127.0.0.1:{port}"] * 12, timeout=5, at_once=4)

    assert [status for status, _ in asyncio.run(watched())] == [204] * 12
    assert most == 4
