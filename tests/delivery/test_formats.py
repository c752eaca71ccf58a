"""A delivery as text: what a reader gets is what was delivered, or an error that shows nothing of it."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timezone
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_proxyorders.delivery.formats import READABLE, WRITERS, dump, load
from airflow_provider_proxyorders.domain.delivered import Delivery, Proxy
from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.operators.delivery import Format
from tests.contract.replay import Exchange, exchanges, play

UNTIL = datetime(2030, 2, 1, 9, 15, tzinfo=timezone.utc)
HARD = Proxy("203.0.113.7", 12323, "us er@x", 'p:a/s"s,%', location="Netherlands", expires_at=UNTIL)
SIX = Proxy("2001:db8::7", 1080, "u", "pw-of-six", scheme="socks5")
UNRESOLVED = Proxy("proxy.example.com", 8080)
GOODS = Delivery("7001", (HARD, SIX, UNRESOLVED))
CODES = Delivery("7002", codes=("AAAA-BBBB", "CCCC,DDDD"))


def test_the_operator_offers_exactly_these_formats() -> None:
    assert tuple(WRITERS) == get_args(Format)
    assert set(READABLE) <= set(WRITERS)


EXPECTED = {
    "url": "http://us%20er%40x:p%3Aa%2Fs%22s%2C%25@203.0.113.7:12323\n"
    "socks5://u:pw-of-six@[2001:db8::7]:1080\n"
    "http://proxy.example.com:8080\n",
    "host:port:user:pass": '203.0.113.7:12323:us er@x:p:a/s"s,%\n[2001:db8::7]:1080:u:pw-of-six\nproxy.example.com:8080\n',
    "csv": "scheme,host,port,username,password,location,expires_at\n"
    'http,203.0.113.7,12323,us er@x,"p:a/s""s,%",Netherlands,2030-02-01T09:15:00+00:00\n'
    "socks5,2001:db8::7,1080,u,pw-of-six,,\n"
    "http,proxy.example.com,8080,,,,\n",
}


@pytest.mark.parametrize("format", EXPECTED)
def test_the_text(format: str) -> None:
    assert dump(GOODS, format) == EXPECTED[format]


def test_the_json_formats() -> None:
    urls = [proxy.url for proxy in GOODS.proxies]
    assert json.loads(dump(GOODS, "list")) == urls
    assert json.loads(dump(GOODS, "requests")) == [{"http": url, "https": url} for url in urls]
    first = json.loads(dump(GOODS, "jsonl").splitlines()[0])
    assert first == {
        "scheme": "http",
        "host": "203.0.113.7",
        "port": 12323,
        "username": "us er@x",
        "password": 'p:a/s"s,%',
        "location": "Netherlands",
        "expires_at": "2030-02-01T09:15:00+00:00",
    }


def test_codes() -> None:
    assert dump(CODES, "url") == dump(CODES, "host:port:user:pass") == "AAAA-BBBB\nCCCC,DDDD\n"
    assert json.loads(dump(CODES, "list")) == ["AAAA-BBBB", "CCCC,DDDD"]
    assert list(csv.DictReader(io.StringIO(dump(CODES, "csv")))) == [{"code": "AAAA-BBBB"}, {"code": "CCCC,DDDD"}]
    assert load(dump(CODES, "url"), "url", "7002") == load(dump(CODES, "jsonl"), "jsonl", "7002") == CODES


@pytest.mark.parametrize(
    ("delivery", "format", "says"),
    [
        (Delivery("1", (Proxy("h.example.com", 1, "us:er", "hidden-one"),)), "host:port:user:pass", "colon"),
        (Delivery("1", codes=("hidden\none",)), "url", "line break"),
        (Delivery("1", codes=("hidden\u2028one",)), "host:port:user:pass", "line break"),
        (Delivery("1", codes=("https://hidden.example.com/one",)), "url", "looks like an address"),
        (Delivery("1", codes=("hidden-one",)), "requests", "yielded codes"),
        (GOODS, "xml", "must be one of url, host:port"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_without_being_shown(delivery: Delivery, format: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        dump(delivery, format)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("http://u:hidden@nowhere\n", "url"),
        ("http://u:hidden@h.example.com:port\n", "url"),
        ("hidden", "jsonl"),
        ('{"host": "hidden"}', "jsonl"),
        ("[]\n", "jsonl"),
        ("hidden", "csv"),
        ("hidden", "xml"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_without_being_shown(text: str, format: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(text, format)
    assert "hidden" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None


WORDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)
PROXIES = st.builds(
    lambda host, port, login, scheme, location, until: Proxy(host, port, *(login or (None, None)), scheme, location, until),
    st.sampled_from(["203.0.113.9", "2001:db8::9", "p.example.com"]),
    st.integers(1, 65535),
    st.none() | st.tuples(WORDS, WORDS),
    st.sampled_from(["http", "socks5"]),
    st.none() | WORDS,
    st.none() | st.datetimes(timezones=st.just(timezone.utc)),
)


@given(st.lists(PROXIES, max_size=3), st.lists(WORDS.filter(lambda word: "://" not in word), max_size=3))
def test_what_was_written_is_read_again(proxies: list[Proxy], codes: list[str]) -> None:
    delivery = Delivery("1", tuple(proxies), tuple(codes))
    assert load(dump(delivery, "jsonl"), "jsonl", "1") == delivery
    bare = Delivery("1", tuple(Proxy(p.host, p.port, p.username, p.password, p.scheme) for p in proxies), tuple(codes))
    assert load(dump(delivery, "url"), "url", "1") == bare


GOOD = [e for e in exchanges() if e.operation == "delivery" and "returns" in e.data["expect"]]


@pytest.mark.parametrize("exchange", GOOD, ids=lambda exchange: exchange.name)
def test_every_delivery_form_of_every_vendor_can_be_handed_on(exchange: Exchange) -> None:
    delivery: Delivery = play(exchange).result
    for format in WRITERS:
        if format == "requests" and delivery.codes:
            continue
        text = dump(delivery, format)
        assert all(secret in text or "%" in text for secret in delivery.secrets())
    again = load(dump(delivery, "jsonl"), "jsonl", delivery.order_id)
    assert (again.proxies, again.codes) == (delivery.proxies, delivery.codes)


class TestTable:
    """No cell is a formula: a place gets an apostrophe, and a login or code that a spreadsheet would run is refused."""

    @pytest.mark.parametrize("place", ['=HYPERLINK("http://x")', "+1", "@SUM(1)", "\t=1", "Paris;=1"])
    def test_a_place_that_looks_like_a_formula_is_shown(self, place: str) -> None:
        (row,) = csv.DictReader(io.StringIO(dump(Delivery("1", (Proxy("h.example", 1, "u", "p", location=place),)), "csv")))
        assert row["location"] != place and row["location"].replace("'", "", 1) == place

    @pytest.mark.parametrize("secret", ["=1+1", "@x", '-1+cmd|" /C calc"!A0', "+HYPERLINK(1)", "\t=1"])
    def test_a_secret_that_a_spreadsheet_would_run_is_refused_and_hidden(self, secret: str) -> None:
        for delivery in (Delivery("1", (Proxy("h.example", 1, "u", secret),)), Delivery("1", codes=(secret,))):
            with pytest.raises(ConfigError, match="begins like a formula.*choose 'jsonl'") as error:
                dump(delivery, "csv")
            assert secret not in str(error.value)

    @pytest.mark.parametrize("secret", ["-abc_12", "+7.5", "a=b", "x-y+z@w", "--", "p;=a,%"])
    def test_any_other_secret_stays_as_it_is(self, secret: str) -> None:
        (row,) = csv.DictReader(io.StringIO(dump(Delivery("1", (Proxy("h.example", 1, "u", secret),)), "csv")))
        assert row["password"] == secret
