"""The machine's environment sets proxies and certificate authorities; its logins and redirects have no effect."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError, VendorUnavailable
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Request

from .conftest import SECRET, Naps, Side, account, ask, create, vendor_of
from .test_never_left import tunnel
from .wires import Talk, answer, free_port, proper, wire

Tls = tuple[ssl.SSLContext, Path]


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_purchase_does_not_follow(self, box: Sandbox, naps: Naps, status: int) -> None:
        """Followed, a 307 would buy where it points to, and a 302 would read an answer to another question."""
        vendor = vendor_of(box, "iproyal")
        to = {"Location": f"{box.url('iproyal')}/orders"}
        rule = box.fault("iproyal", "create", action="status", status=status, headers=to, times=1)
        with pytest.raises(ProxyOrdersError) as error:
            Http(vendor.account, naps).run(create(vendor), lambda request: None)
        assert error.value.money == "unknown"
        assert (rule.hits, box.book.count("iproyal"), box.book.orders()) == (1, 1, [])

    @pytest.mark.parametrize("status", [301, 302, 307])
    def test_a_reading_call_does_not_carry_the_key_elsewhere(self, side: Side, status: int) -> None:
        with wire(proper) as elsewhere:

            def moved(talk: Talk) -> None:
                talk.hear()
                talk.say(answer(status=status, headers=f"Location: {elsewhere.url}/thing\r\n"))

            with wire(moved) as server:
                request = Request("GET", "/thing", headers={"Authorization": f"Bearer {SECRET}"})
                assert side(account(server.url), ask(request)).status == status
        assert elsewhere.connections == 0

    def test_nor_does_the_session_of_the_hook(self) -> None:
        """requests follows by itself, and takes only Authorization away on the way, not the headers that vendors use."""
        with wire(proper) as elsewhere:

            def moved(talk: Talk) -> None:
                talk.hear()
                talk.say(answer(status=302, headers=f"Location: {elsewhere.url}/thing\r\n"))

            with wire(moved) as server:
                http = Http(account(server.url))
                assert http.session.get(server.url, headers={"X-Access-Token": SECRET}).status_code == 302
                http.close()
        assert elsewhere.connections == 0


class TestNetrc:
    @pytest.mark.parametrize("where", ["home", "NETRC"])
    @pytest.mark.parametrize("own", [True, False])
    def test_a_login_of_the_machine_is_not_sent(
        self, side: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, own: bool
    ) -> None:
        netrc = tmp_path / (".netrc" if where == "home" else "elsewhere")
        netrc.write_text("default login somebody password machine-password\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("HOME", str(tmp_path))
        if where == "NETRC":
            monkeypatch.setenv("NETRC", str(netrc))
        headers = {"Authorization": "Bearer ours"} if own else {}
        with wire(proper) as server:
            side(account(server.url), ask(Request("GET", "/thing", headers=headers)))
        assert server.asked[0].headers.get("authorization") == ("Bearer ours" if own else None)


class TestProxies:
    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
    @pytest.mark.parametrize("scheme", ["http://", ""])
    def test_a_proxy_of_the_environment_is_used(
        self, side: Side, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
    ) -> None:
        with wire(proper) as proxy:
            monkeypatch.setenv(name, f"{scheme}127.0.0.1:{proxy.port}")
            assert side(account("http://vendor.invalid/v1"), ask(), ask()).data() == {"fine": True}
        assert [asked.line for asked in proxy.asked] == ["GET http://vendor.invalid/v1/thing HTTP/1.1"] * 2
        assert proxy.connections == 1

    def test_all_proxy_is_for_every_scheme_without_one_of_its_own(self, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
        with wire(proper) as proxy, wire(proper) as own:
            monkeypatch.setenv("ALL_PROXY", proxy.url)
            assert side(account("http://vendor.invalid"), ask()).ok
            monkeypatch.setenv("HTTP_PROXY", own.url)
            assert side(account("http://vendor.invalid"), ask()).ok
        assert (len(proxy.asked), len(own.asked)) == (1, 1)

    @pytest.mark.parametrize("excepted", ["127.0.0.1", "*", "example.com,127.0.0.1", "10.0.0.0/8, 127.0.0.0/8"])
    def test_what_needs_no_proxy_is_called_directly(self, side: Side, monkeypatch: pytest.MonkeyPatch, excepted: str) -> None:
        with wire(proper) as server:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
            monkeypatch.setenv("NO_PROXY", excepted)
            assert side(account(server.url), ask()).ok

    def test_tls_goes_through_a_tunnel(self, side: Side, monkeypatch: pytest.MonkeyPatch, self_signed: Tls) -> None:
        """The proxy sees the target only; the request and its key stay hidden."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed[1]))
        request = Request("GET", "/thing", headers={"Authorization": f"Bearer {SECRET}"})
        with wire(proper, self_signed[0]) as vendor, wire(tunnel) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            assert side(account(vendor.url), ask(request), ask(request)).ok
        assert [asked.line.split()[1] for asked in proxy.asked] == [f"127.0.0.1:{vendor.port}"]
        assert SECRET not in str(proxy.asked)
        assert len(vendor.asked) == 2

    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("trouble", ["refuses", "hangs up", "is away"])
    def test_the_password_of_a_proxy_stays_out_of_errors(
        self, side: Side, monkeypatch: pytest.MonkeyPatch, scheme: str, trouble: str
    ) -> None:
        def troubled(talk: Talk) -> None:
            talk.hear()
            if trouble == "refuses" and scheme == "https":
                talk.say(answer(status=407))

        with wire(troubled) as proxy:
            port = free_port() if trouble == "is away" else proxy.port
            monkeypatch.setenv(f"{scheme}_proxy", f"http://me:proxy-pass-word@127.0.0.1:{port}")
            with pytest.raises(VendorUnavailable) as error:
                side(account(f"{scheme}://vendor.invalid"), ask())
        if trouble != "is away":
            assert proxy.asked[0].headers["proxy-authorization"].startswith("Basic ")
        assert "proxy-pass-word" not in str(error.value)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("sign", ["#", "/", "?", "[", "@["])
    def test_one_that_is_no_address_is_refused_and_not_shown(
        self, side: Side, monkeypatch: pytest.MonkeyPatch, scheme: str, sign: str
    ) -> None:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://somebody:hush{sign}quiet@proxy.invalid:8080")
        with pytest.raises(
            ConfigError, match=rf"'some_conn': the proxy .*{scheme.upper()}_PROXY.*%23.*Nothing was sent"
        ) as error:
            side(account(f"{scheme}://vendor.invalid"), ask())
        assert not any(part in str(error.value) for part in ("somebody", "hush", "quiet"))


class TestCertificates:
    @pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_an_authority_of_the_environment_is_trusted(
        self, side: Side, monkeypatch: pytest.MonkeyPatch, self_signed: Tls, name: str
    ) -> None:
        monkeypatch.setenv(name, str(self_signed[1]))
        with wire(proper, self_signed[0]) as server:
            assert side(account(server.url), ask()).data() == {"fine": True}

    def test_a_file_that_is_not_there_is_said_before_anything_is_sent(self, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/at/all.pem")
        with pytest.raises(ConfigError, match=r"'some_conn'.*REQUESTS_CA_BUNDLE.*/nowhere/at/all\.pem.*Nothing was sent"):
            side(account("https://vendor.invalid"), ask())

    def test_a_purchase_is_not_doubtful_for_it(self, monkeypatch: pytest.MonkeyPatch, naps: Naps) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/at/all.pem")
        with pytest.raises(ConfigError) as error:
            Http(account("https://vendor.invalid"), naps).send(Request("POST", "/buy", json={}, spends=True))
        assert error.value.money == "untouched"


WRONG: dict[str, str] = {
    "no scheme": "api.example.com",
    "another scheme": "ftp://api.example.com",
    "no host": "https://",
    "brackets": "https://[::1",
    "port": "https://api.example.com:99999",
    "query": "https://api.example.com/?key=1",
    "fragment": "https://api.example.com/#v1",
    "empty": "",
}


class TestBaseUrl:
    @pytest.mark.parametrize("case", WRONG)
    def test_what_is_no_address_is_refused(self, side: Side, case: str) -> None:
        with pytest.raises(ConfigError, match=r"'some_conn': host must be .*https://api\.example\.com.*Nothing was sent"):
            side(account(WRONG[case]), ask())

    def test_a_login_in_it_is_refused_and_not_shown(self, side: Side) -> None:
        with pytest.raises(ConfigError, match="host must not hold a login") as error:
            side(account("https://me:pass-word@api.example.com"), ask())
        assert "pass-word" not in str(error.value)

    @pytest.mark.parametrize("host", ["http://exa mple.invalid", "http://" + "a" * 70 + ".invalid", "http://a..b.invalid"])
    def test_what_cannot_be_called_is_said_the_same_way_on_both_sides(self, side: Side, host: str) -> None:
        with pytest.raises(ProxyOrdersError) as error:
            side(account(host), ask())
        assert error.value.money == "untouched"

    @pytest.mark.parametrize("base", ["", "/", "/v1/reseller", "/v1/reseller/"])
    def test_paths_are_put_below_it(self, side: Side, base: str) -> None:
        with wire(proper) as server:
            side(account(server.url + base), ask())
        assert server.asked[0].line == f"GET {base.rstrip('/')}/thing HTTP/1.1"


def test_what_is_sent_is_the_same_on_both_sides() -> None:
    params = [("ids[]", "1,2"), ("ids[]", "3"), ("q", "a b&c=d+e/\u00fc%25#"), ("empty", "")]
    requests = [
        Request("GET", "/orders/a%2Fb%20c", params=params, headers={"X-Access-Token": "t"}),
        Request("POST", "/quote", json={"n": 1, "word": "\u00fc\u20ac", "list": [1, None, True]}),
        Request("GET", "/orders"),
    ]
    sent: dict[str, list[Any]] = {}
    for name in ("run", "arun"):
        with wire(proper) as server:
            Side(name)(account(server.url), *[ask(request) for request in requests])
        sent[name] = [
            (*taken_apart(asked.line), asked.body, {name: asked.headers.get(name) for name in HEADERS}) for asked in server.asked
        ]
    assert sent["run"] == sent["arun"]
    assert sent["run"][0][2] == sorted(params)
    assert sent["run"][0][1] == "/orders/a%2Fb%20c"
    assert sent["run"][1][4]["content-type"] == "application/json"
    assert sent["run"][2][4]["content-type"] is None


HEADERS = ("accept", "user-agent", "x-access-token", "content-type", "content-length", "authorization", "cookie")


def taken_apart(line: str) -> tuple[str, str, list[tuple[str, str]]]:
    from urllib.parse import parse_qsl

    method, target, _ = line.split()
    path, _, query = target.partition("?")
    return method, path, sorted(parse_qsl(query, keep_blank_values=True))


def test_cookies_are_not_kept(side: Side) -> None:
    """Answers are independent of earlier requests."""

    def with_cookie(talk: Talk) -> None:
        while True:
            talk.hear()
            talk.say(answer(headers="Set-Cookie: session=abc\r\n"))

    with wire(with_cookie) as server:
        side(account(server.url), ask(), ask())
    assert [asked.headers.get("cookie") for asked in server.asked] == [None, None]


def test_naps_are_real_by_default() -> None:
    import inspect
    import time

    assert inspect.signature(Http).parameters["sleep"].default is time.sleep
    assert Naps() == []
