"""P8 at the wire: no key, token or answer reaches an error or a log, whatever goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor

from .conftest import Naps, Side, account, create, vendor_of
from .wires import Talk, answer, free_port, wire

FAULTS: dict[str, dict[str, Any]] = {
    "reset": {"action": "reset"},
    "hang": {"action": "hang"},
    "truncate": {"action": "truncate"},
    "401": {"action": "status", "status": 401},
    "429": {"action": "status", "status": 429},
    "500": {"action": "status", "status": 500},
    "empty": {"action": "empty"},
}


def everything_about(error: BaseException) -> Iterator[str]:
    """All parts of an error that a log could show: its text, its fields, and the errors behind it."""
    while True:
        yield from (str(error), repr(error), repr(vars(error)))
        behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if behind is None:
            return
        error = behind


class TestErrors:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_reading(self, side: Side, vendor: Vendor, box: Sandbox, fault: str, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        vendor.account.timeout = 0.1
        box.fault(vendor.name, "balance", **FAULTS[fault])
        with pytest.raises(ProxyOrdersError) as error:
            side(vendor.account, vendor.balance())
        self.check(vendor, [*everything_about(error.value), caplog.text])

    @pytest.mark.parametrize("fault", FAULTS)
    def test_spending(self, vendor: Vendor, box: Sandbox, naps: Naps, fault: str, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        vendor.account.timeout = 0.2
        box.fault(vendor.name, "create", when="after", **FAULTS[fault])
        with pytest.raises(ProxyOrdersError) as error:
            Http(vendor.account, naps).run(create(vendor), lambda request: None)
        self.check(vendor, [*everything_about(error.value), caplog.text])

    def check(self, vendor: Vendor, texts: list[str]) -> None:
        secrets = {vendor.account.secret, vendor.account.session.get("token", vendor.account.secret)}
        assert not [text for text in texts for secret in secrets if secret in text]

    def test_a_login_without_an_answer(self, side: Side, box: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
        """The key is in the body of this one."""
        caplog.set_level(logging.DEBUG)
        vendor = vendor_of(box, "voodoo", base_url=f"http://127.0.0.1:{free_port()}")
        with pytest.raises(ProxyOrdersError) as error:
            side(vendor.account, vendor.balance())
        self.check(vendor, [*everything_about(error.value), caplog.text])


ECHOES: dict[str, Callable[[str], bytes]] = {
    "json": lambda key: answer(f'{{"error": "no such key: {key}"}}'.encode(), 401),
    "text": lambda key: answer(f"bad key {key}".encode(), 400),
    "reason": lambda key: f"HTTP/1.1 500 {key}\r\nContent-Length: 0\r\n\r\n".encode(),
    "location": lambda key: answer(status=302, headers=f"Location: http://example.com/?key={key}\r\n"),
    "no http": lambda key: f"{key}\r\n\r\n".encode(),
    "header without name": lambda key: f"HTTP/1.1 200 OK\r\n: {key}\r\nContent-Length: 2\r\n\r\n".encode(),
    "chunk": lambda key: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{key}\r\n".encode(),
    "length": lambda key: f"HTTP/1.1 200 OK\r\nContent-Length: {key}\r\n\r\n".encode(),
}


@pytest.mark.parametrize("case", ECHOES)
def test_a_vendor_that_says_the_key_aloud(side: Side, box: Sandbox, case: str) -> None:
    vendor = vendor_of(box, "iproyal", secret="key-that-nobody-may-see")

    def echo(talk: Talk) -> None:
        talk.hear()
        talk.say(ECHOES[case](vendor.account.secret))

    with wire(echo) as server:
        vendor.account.base_url = server.url
        vendor.account.timeout = 0.2
        with pytest.raises(ProxyOrdersError) as error:
            side(vendor.account, vendor.balance())
    assert not [text for text in everything_about(error.value) if vendor.account.secret in text]


@pytest.mark.parametrize("name", ["proxyscrape", "iproyal"])
@pytest.mark.parametrize(
    "key", ["first1\nbreak2key", "key-with-return\r", " key-after-space", "key-before-space ", "k\u00e9y\u20ac-letters"]
)
class TestKeysThatCannotBeSent:
    """The HTTP libraries would show them in what they say."""

    def test_reading(self, side: Side, box: Sandbox, name: str, key: str) -> None:
        vendor = vendor_of(box, name, secret=key)
        with pytest.raises(ConfigError, match=r"'some_conn'.*copy the key.*Nothing was sent") as error:
            side(vendor.account, vendor.balance())
        shown = " ".join(everything_about(error.value))
        assert not [part for part in key.split() if part in shown]
        assert box.book.connections == 0

    def test_spending(self, box: Sandbox, naps: Naps, name: str, key: str) -> None:
        vendor = vendor_of(box, name, secret=key)
        with pytest.raises(ConfigError) as error:
            Http(vendor.account, naps).run(create(vendor), lambda request: None)
        assert error.value.money == "untouched"
        assert box.book.connections == 0


def test_an_account_does_not_show_its_secrets() -> None:
    shown = account("http://example.com", settings={"webhook_secret": "hook-secret"}, session={"token": "jwt-secret"})
    assert not [secret for secret in (shown.secret, "hook-secret", "jwt-secret") if secret in repr(shown)]
