"""A key in the path: it leaves percent-encoded, and no error, log and repr shows it in any form."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import quote, unquote

import pytest

from airflow_provider_proxyorders.domain.errors import ConfigError, NeverSent, OutcomeUnknown, ProxyOrdersError
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors import path_part
from airflow_provider_proxyorders.wire.messages import KEY_IN_PATH, Request

from .conftest import Naps, Side, account, ask, create, vendor_of
from .test_secrets import everything_about
from .wires import Talk, answer, free_port, wire

#: Signs that an address, a form and a page write in different ways.
KEY = "k+y:%2F&=;@,\u00fc'1"
FORMS = (KEY, quote(KEY, safe=""), quote(KEY, safe="").lower(), quote(KEY, safe="/:@&=+,;'"))


def shown(error: BaseException | None, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The forms of the key that an error or a log shows."""
    texts = [*(everything_about(error) if error else ()), caplog.text, *(repr(vars(record)) for record in caplog.records)]
    return [form for form in FORMS if any(form in text for text in texts)]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that any library says."""
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "requests", "aiohttp", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def test_it_arrives_as_it_is(side: Side, box: Sandbox, log: pytest.LogCaptureFixture) -> None:
    vendor = vendor_of(box, "proxy6", secret=KEY)
    box.control({"vendor": "proxy6", "token": {"name": "main", "token": KEY}})
    assert side(vendor.account, vendor.balance()).available.currency == "USD"
    assert box.book.count("proxy6", "balance") == 1
    assert shown(None, log) == []


def test_a_purchase_brings_it_too(box: Sandbox, naps: Naps, log: pytest.LogCaptureFixture) -> None:
    vendor = vendor_of(box, "proxy6", secret=KEY)
    box.control({"vendor": "proxy6", "token": {"name": "main", "token": KEY}})
    http, permitted = Http(vendor.account, naps), list[Request]()
    order = http.run(create(vendor), permitted.append)
    assert [entry.order_id for entry in box.book.orders("proxy6")] == [order.order_id]
    assert not [form for form in FORMS if form in repr(permitted)]
    assert shown(None, log) == []


def test_through_a_proxy_of_the_environment(
    side: Side, monkeypatch: pytest.MonkeyPatch, box: Sandbox, log: pytest.LogCaptureFixture
) -> None:
    """A plain proxy gets the whole address in the first line."""
    vendor = vendor_of(box, "proxy6", secret=KEY, base_url="http://vendor.example")

    def proxy(talk: Talk) -> None:
        talk.hear()
        talk.say(answer(b'{"status": "yes", "balance": "1", "currency": "USD"}'))

    with wire(proxy) as server:
        monkeypatch.setenv("http_proxy", server.url)
        side(vendor.account, vendor.balance())
    assert [unquote(asked.line) for asked in server.asked] == [f"GET http://vendor.example/api/{KEY} HTTP/1.1"]
    assert shown(None, log) == []


ANSWERS: dict[str, Callable[[str], bytes]] = {
    "location": lambda line: answer(status=301, headers=f"Location: http://elsewhere.example{line}/\r\n"),
    "long location": lambda line: answer(status=302, headers=f"Location: http://x.example/{'y' * (270 - len(line))}{line}\r\n"),
    "page": lambda line: answer(f"<html>Cannot GET {line}</html>".encode(), 404),
    "text": lambda line: answer(f"no route {line}".encode(), 404),
    "json": lambda line: answer(f'{{"status": "no", "error_id": 100, "error": "Error key {line}"}}'.encode()),
    "reason": lambda line: f"HTTP/1.1 500 {line}\r\nContent-Length: 0\r\n\r\n".encode(),
    "no http": lambda line: f"{line}\r\n\r\n".encode(),
}


class TestEchoes:
    @pytest.mark.parametrize("case", ANSWERS)
    def test_of_a_reading_call(self, side: Side, box: Sandbox, case: str) -> None:
        vendor = vendor_of(box, "proxy6", secret=KEY, timeout=0.5)

        def echo(talk: Talk) -> None:
            talk.say(ANSWERS[case](talk.hear().line.split()[1]))

        with wire(echo) as server:
            vendor.account.base_url = server.url
            with pytest.raises(ProxyOrdersError) as error:
                side(vendor.account, vendor.balance())
        texts = [*everything_about(error.value)]
        assert not [form for form in FORMS if any(form[:8] in text for text in texts)]

    @pytest.mark.parametrize("case", ANSWERS)
    def test_of_a_purchase(self, box: Sandbox, naps: Naps, case: str) -> None:
        """Also: it is sent once, and nobody goes where a redirect points to."""
        vendor = vendor_of(box, "proxy6", secret=KEY, timeout=0.5)

        def echo(talk: Talk) -> None:
            talk.say(ANSWERS[case](talk.hear().line.split()[1].partition("?")[0]))

        with wire(echo) as server:
            vendor.account.base_url = server.url
            with pytest.raises(ProxyOrdersError) as error:
                Http(vendor.account, naps).run(create(vendor), lambda request: None)
            assert len(server.asked) == server.connections == 1
        assert isinstance(error.value, OutcomeUnknown) is (case != "json")
        texts = [*everything_about(error.value)]
        assert not [form for form in FORMS if any(form[:8] in text for text in texts)]


def test_nobody_listens(side: Side, box: Sandbox, log: pytest.LogCaptureFixture) -> None:
    vendor = vendor_of(box, "proxy6", secret=KEY, base_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ProxyOrdersError) as error:
        side(vendor.account, vendor.balance())
    assert shown(error.value, log) == []


def test_a_purchase_stays_here(box: Sandbox, naps: Naps, log: pytest.LogCaptureFixture) -> None:
    vendor = vendor_of(box, "proxy6", secret=KEY, base_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(NeverSent) as error:
        Http(vendor.account, naps).run(create(vendor), lambda request: None)
    assert shown(error.value, log) == []


@pytest.mark.parametrize(
    "key", ["", "a/b-key", "a?b-key", "a#b-key", "a b-key", "a\nb-key", "a\\b-key", "..", ".", "a\x00b", "a\ud800b"]
)
class TestKeysThatAreNoPartOfAPath:
    def test_reading(self, side: Side, box: Sandbox, key: str) -> None:
        vendor = vendor_of(box, "proxy6", secret=key)
        with pytest.raises(ConfigError, match=r"'some_conn'.*copy the key.*Nothing was sent") as error:
            side(vendor.account, vendor.balance())
        assert len(key) < 3 or key not in " ".join(everything_about(error.value))
        assert box.book.connections == 0

    def test_spending(self, box: Sandbox, naps: Naps, key: str) -> None:
        vendor = vendor_of(box, "proxy6", secret=key)
        with pytest.raises(ConfigError) as error:
            Http(vendor.account, naps).run(create(vendor), lambda request: None)
        assert error.value.money == "untouched"
        assert box.book.connections == 0


def test_no_id_and_no_parameter_looks_like_its_place(side: Side) -> None:
    """A vendor could name an order like the place of the key, to have it sent to another address."""
    assert KEY_IN_PATH not in path_part(KEY_IN_PATH)
    request = Request("GET", f"/orders/{path_part(KEY_IN_PATH)}", "read", params=[("note", f"/{KEY_IN_PATH}/")])

    def reply(talk: Talk) -> None:
        talk.hear()
        talk.say(answer())

    with wire(reply) as server:
        side(account(server.url), ask(request))
    assert "key-that-nobody-may-see" not in server.asked[0].line
