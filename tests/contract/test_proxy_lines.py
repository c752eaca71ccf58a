"""A proxy as a vendor may write it on one line."""

from __future__ import annotations

import pytest

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.vendors.proxies import proxy_from_line
from airflow_provider_proxyorders.vendors.proxyscrape.answers import read_proxies
from airflow_provider_proxyorders.wire.messages import Response

LINES = {
    "203.0.113.7:8080:user:pa:ss@w": "http://user:pa%3Ass%40w@203.0.113.7:8080",
    "203.0.113.7:8080": "http://203.0.113.7:8080",
    "user:pass@203.0.113.7:8080": "http://user:pass@203.0.113.7:8080",
    "user:p:a@ss@proxy.example.com:8080": "http://user:p%3Aa%40ss@proxy.example.com:8080",
    "user.name:pa:ss@203.0.113.7:80": "http://user.name:pa%3Ass@203.0.113.7:80",
    "[2001:db8::7]:8080:user:pass": "http://user:pass@[2001:db8::7]:8080",
    "[2001:db8::7]:8080": "http://[2001:db8::7]:8080",
    "user:pass@[2001:db8::7]:8080": "http://user:pass@[2001:db8::7]:8080",
    "\ufeff203.0.113.7:8080:user:pass\r": "http://user:pass@203.0.113.7:8080",
    " socks5h://user:pass@203.0.113.7:1080 ": "socks5://user:pass@203.0.113.7:1080",
    "HTTP://203.0.113.7:8080:user:pass": "http://user:pass@203.0.113.7:8080",
}


@pytest.mark.parametrize("line", LINES)
def test_is_read(line: str) -> None:
    proxy = proxy_from_line(line, scheme="http")
    assert proxy is not None and proxy.url == LINES[line]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\ufeff",
        "203.0.113.7",
        "203.0.113.7:8080:user",
        "203.0.113.7:0:user:pass",
        "user@203.0.113.7:8080",
        "user:@203.0.113.7:8080",
        ":pass@203.0.113.7:8080",
        "user:pass@203.0.113.7",
        "user:pass@host:8080",
        "[203.0.113.7]:8080",
        "[2001:db8::7:8080",
        "[fe80::1%eth0]:8080:user:pass",
        "2001:db8::7:8080",
        "ftp://user:pass@203.0.113.7:21",
        "user:pa ss@203.0.113.7:8080",
    ],
)
def test_anything_else_is_no_proxy(line: str) -> None:
    assert proxy_from_line(line, scheme="http") is None


def test_a_list_with_a_byte_order_mark_or_an_address_in_brackets_is_no_json() -> None:
    for text in ("\ufeff203.0.113.7:8080:u:p\n203.0.113.8:8080:u:p\n", "[2001:db8::7]:8080:u:p\nuser:pass@203.0.113.8:1\n"):
        delivery = read_proxies(Response(200, {"content-type": "text/plain"}, text.encode()), "7001", "http")
        assert (len(delivery.proxies), delivery.skipped) == (2, 0)
    for text in ('["203.0.113.7:8080:u:p"]', "[]", '\ufeff{"error": "no"}'):
        with pytest.raises(UnreadableBody, match="HTML or JSON"):
            read_proxies(Response(200, {"content-type": "text/plain"}, text.encode()), "7001", "http")
