"""How a connection is read: every setting, and for everything that is wrong one clear error before anything is sent."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from typing import Any

import pytest
from airflow.sdk import Connection
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.domain.settings import CONNECTION_SETTING_NAMES, CONNECTION_SETTINGS, ConnectionSetting
from airflow_provider_proxyorders.hooks.connection import account_for, vendor_for
from airflow_provider_proxyorders.vendors import vendor_class

from .connections import VENDORS

CAPS = ("max_order_price", "daily_limit", "monthly_limit", "min_balance")


def read(vendor: str = "iproyal", extra: Any = None, **fields: Any) -> Account:
    """The account of a connection as Airflow would hand it over."""
    text = extra if isinstance(extra, str) or extra is None else json.dumps(extra)
    values = {"conn_id": "some_conn", "conn_type": vendor, "password": "some-key", "extra": text, **fields}
    return account_for(Connection(**values), vendor_class(vendor))


class TestDefaults:
    @pytest.mark.parametrize("vendor", VENDORS)
    def test_a_key_is_enough(self, vendor: str) -> None:
        account = read(vendor)
        assert (account.vendor, account.conn_id, account.secret) == (vendor, "some_conn", "some-key")
        assert account.base_url == vendor_class(vendor).base_url
        assert account.wallet == f"{vendor}:some_conn"
        assert (account.timeout, account.timezone, account.currency) == (30.0, "UTC", None)
        assert account.requests_per_second == vendor_class(vendor).capabilities.requests_per_second
        assert {getattr(account.caps, name) for name in CAPS} == {None}

    def test_empty_fields_of_the_form_are_no_settings(self) -> None:
        assert read(extra=dict.fromkeys(CONNECTION_SETTING_NAMES, "")) == read()
        assert read(extra=dict.fromkeys(CONNECTION_SETTING_NAMES)) == read()

    @pytest.mark.parametrize("setting", CONNECTION_SETTINGS, ids=lambda setting: setting.name)
    def test_every_setting_of_the_table_is_read(self, setting: ConnectionSetting) -> None:
        value = 31 if setting.name == "timeout" else setting.example or "whsec_invented"  # the example of timeout is its default
        assert read("voodoo", extra={setting.name: value}) != read("voodoo")

    @pytest.mark.parametrize("password", [None, "", "  ", "\n"])
    def test_no_key_is_said(self, password: str | None) -> None:
        with pytest.raises(ConfigError, match=r"'some_conn': password must hold the access token\. Nothing was sent"):
            read(password=password)

    def test_what_a_paste_brings_along_is_not_part_of_the_key(self) -> None:
        assert read(password=" some-key\r\n").secret == "some-key"


class TestSettings:
    def test_all_of_them(self) -> None:
        account = read(
            extra={
                "max_order_price": "50.00",
                "daily_limit": 200,
                "monthly_limit": 2000.5,
                "min_balance": "25",
                "currency": "usd",
                "webhook_secret": ["new-secret", "old-secret"],
                "requests_per_second": 5,
                "timeout": "12.5",
                "timezone": "Europe/Berlin",
                "wallet": "main",
                "settle": 90,
                "order_page": "https://dashboard.example.com/orders/{order_id}",
                "protocol": "socks5",
                "vendor_timezone": "Europe/Vilnius",
                "page_size": 25,
                "most_orders": "2000000",
                "short_delivery": "accept",
            }
        )
        caps = account.caps
        assert [caps.max_order_price, caps.daily_limit, caps.monthly_limit, caps.min_balance] == [
            Decimal("50.00"),
            Decimal(200),
            Decimal("2000.5"),
            Decimal(25),
        ]
        assert (account.currency, account.timezone, account.wallet) == ("USD", "Europe/Berlin", "iproyal:main")
        assert (account.requests_per_second, account.timeout) == (5.0, 12.5)
        assert account.settings == {
            "settle": Decimal(90),
            "order_page": "https://dashboard.example.com/orders/{order_id}",
            "webhook_secret": ["new-secret", "old-secret"],
            "protocol": "socks5",
            "vendor_timezone": "Europe/Vilnius",
            "short_delivery": "accept",
            "page_size": 25,
            "most_orders": 2_000_000,
        }

    @pytest.mark.parametrize("name", CAPS)
    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ('"0.1"', "0.1"),
            ("0.1", "0.1"),
            ("31.15", "31.15"),
            ("1e2", "100"),
            ("0", "0"),
            ('" 7.50 "', "7.50"),
            ("19.990000000000001", "19.990000000000001"),
            ("999999999999", "999999999999"),
        ],
    )
    def test_amounts_are_exact(self, name: str, written: str, meant: str) -> None:
        """P9: a JSON number is the digits that the user wrote, not the nearest float."""
        amount = getattr(read(extra=f'{{"{name}": {written}}}').caps, name)
        assert isinstance(amount, Decimal) and amount == Decimal(meant)

    @given(st.decimals(min_value=0, max_value=10**6, places=6))
    def test_any_amount_is_exact(self, amount: Decimal) -> None:
        for written in (f"{amount:f}", f'"{amount:f}"'):
            assert read(extra=f'{{"daily_limit": {written}}}').caps.daily_limit == amount


class TestFirstLimit:
    """The form shows the extra on request only, so the price cap has the place of the login there."""

    def test_in_the_place_of_the_login(self) -> None:
        assert read(login="12.50", extra={}).caps.max_order_price == Decimal("12.50")
        assert read(login=" 12.5 ", extra={"max_order_price": "12.50"}).caps.max_order_price == Decimal("12.50")
        assert read(login="", extra={"max_order_price": "7"}).caps.max_order_price == Decimal(7)

    @pytest.mark.parametrize("login", ["ada", "-1", "NaN", "1,50", "$5", "1e99"])
    def test_anything_else_is_refused(self, login: str) -> None:
        with pytest.raises(ConfigError, match=r"'some_conn': login is the most one order may cost.*50\.00.*Nothing was sent"):
            read(login=login, extra={})

    def test_two_of_them_contradict_each_other(self) -> None:
        with pytest.raises(ConfigError, match=r"login 5 and max_order_price 6 in the extra are the same limit"):
            read(login="5", extra={"max_order_price": "6"})


WRONG: list[tuple[str, Any, str]] = [
    *[
        (name, value, "number of at least 0")
        for name in CAPS
        for value in ("fifty", "-1", -0.01, True, [], {}, "NaN", "1,50", "$5")
    ],
    *[(name, 10**13, "at most") for name in CAPS],
    ("timeout", 0, "at least 0.05"),
    ("timeout", "soon", "number"),
    ("timeout", 1e9, "at most 86400"),
    ("requests_per_second", 0, "at least 0.001"),
    ("requests_per_second", "fast", "number"),
    ("settle", -1, "at least 0"),
    ("settle", "1e300", "number"),
    ("currency", "dollars", "three letters"),
    ("currency", "$", "three letters"),
    ("currency", 840, "three letters"),
    ("timezone", "Mars/Olympus", "IANA zone"),
    ("timezone", "../../etc/passwd", "IANA zone"),
    ("timezone", 1, "text"),
    ("wallet", 7, "text"),
    ("wallet", ["main"], "text"),
    ("order_page", "dashboard", "web address"),
    ("order_page", "javascript:alert(1)", "web address"),
    ("webhook_secret", 12345, "non-empty text, or a list"),
    ("webhook_secret", [], "non-empty text, or a list"),
    ("webhook_secret", "whsec_", "non-empty text, or a list"),
    ("webhook_secret", ["good", ""], "non-empty text, or a list"),
    ("webhook_secret", {"a": "b"}, "non-empty text, or a list"),
    ("webhook_secret", "whsec_AA==", "non-empty text, or a list"),
    ("webhook_scheme", {"kind": "hmac"}, "kind of body, timestamp, stripe, standard"),
    ("webhook_scheme", {"encoding": "Base64"}, "encoding of hex, base64"),
    ("webhook_scheme", {"tolerance": "soon"}, "seconds in tolerance"),
    ("webhook_scheme", {"heeder": "X-Sig"}, "unknown field 'heeder'"),
    ("webhook_scheme", "stripe", "must be an object"),
    ("protocol", "ftp", "one of http, socks5"),
    ("allow_http", "maybe", "true or false"),
    ("page_size", "many", "integer"),
    ("page_size", 10.5, "integer"),
    ("page_size", 0, "integer"),
    ("page_size", -5, "integer"),
    ("page_size", True, "integer"),
    ("page_size", [10], "integer"),
    ("vendor_timezone", ["UTC"], "string"),
    ("vendor_timezone", True, "string"),
]


class TestWrongValues:
    @pytest.mark.parametrize(("name", "value", "rule"), WRONG, ids=lambda part: str(part)[:30])
    def test_each_gives_one_clear_error(self, name: str, value: Any, rule: str) -> None:
        with pytest.raises(ConfigError) as error:
            read(extra={name: value, "max_order_price": "10"} if name != "max_order_price" else {name: value})
        text = str(error.value)
        assert "'some_conn'" in text and name in text and rule in text and "Nothing was sent." in text
        assert (error.value.money, error.value.retry) == ("untouched", "never")

    @pytest.mark.parametrize(
        "name", [*CAPS, "timeout", "requests_per_second", "settle", "currency", "timezone", "order_page", "page_size", "protocol"]
    )
    def test_an_error_has_an_example_that_passes(self, name: str) -> None:
        with pytest.raises(ConfigError, match="for example") as error:
            read(extra={name: "~"})
        example = str(error.value).partition("for example ")[2].removesuffix(". Nothing was sent.").strip('"')
        read(extra={name: example})

    @pytest.mark.parametrize("secret", ["hook-secret\r\n", ["hook-secret ", " other"]])
    def test_what_a_paste_brings_along_is_not_part_of_a_secret(self, secret: Any) -> None:
        expected = ["hook-secret", "other"] if isinstance(secret, list) else "hook-secret"
        assert read("voodoo", extra={"webhook_secret": secret}).webhook_secret == expected

    def test_a_wrong_secret_is_not_shown(self) -> None:
        with pytest.raises(ConfigError) as error:
            read(extra={"webhook_secret": {"value": "hook-secret"}})
        assert "hook-secret" not in str(error.value)

    @pytest.mark.parametrize(
        "extra", ["{", "[1]", '"text"', "5", "max_order_price=5", '{"daily_limit": NaN}', '{"settle": 1e999}']
    )
    def test_an_extra_that_is_no_object(self, extra: str) -> None:
        with pytest.raises(ConfigError, match=r"'some_conn': the extra .*JSON"):
            read(extra=extra)


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            *("max_order_prize", "max_order_prices", "maxorderprice", "MAX_ORDER_PRICE", "Max-Order-Price", "maxOrderPrice"),
            *("max_price", "order_max_price", "extra__iproyal__max_order_price", "dailylimit", "daily_limits", "day_limit"),
            *("DailyLimit", "monthly-limit", "month_limit", "monthlyLimit", "min_ballance", "minbalance", "minimum_balance"),
            *("limit", "budget", "price cap", "spending", "max_spend", "balance", "order_cap"),
        ],
    )
    def test_a_misspelt_limit_would_be_no_limit(self, name: str) -> None:
        with pytest.raises(ConfigError) as error:
            read(extra={name: "5.00"})
        text = str(error.value)
        assert repr(name).strip("'") in text and "is not a setting" in text
        assert "did you mean" in text or all(cap in text for cap in CAPS)

    @pytest.mark.parametrize(
        ("name", "meant"),
        [("time_out", "timeout"), ("timezones", "timezone"), ("Currency", "currency"), ("webhooksecret", "webhook_secret")],
    )
    def test_every_lookalike_is_asked_about(self, name: str, meant: str) -> None:
        with pytest.raises(ConfigError, match=f"{name} is not a setting; did you mean '{meant}'"):
            read(extra={name: "5"})

    @pytest.mark.parametrize("vendor", VENDORS)
    def test_every_letter_that_is_lost_from_a_limit_is_noticed(self, vendor: str) -> None:
        for cap in CAPS:
            for place in range(len(cap)):
                with pytest.raises(ConfigError, match=f"did you mean '{cap}'"):
                    read(vendor, extra={cap[:place] + cap[place + 1 :]: "5"})

    def test_what_has_nothing_to_do_with_us_is_ignored_and_said(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            assert read(extra={"owner": "data team", "max_order_price": "5"}).caps.max_order_price == 5
        assert "some_conn" in caplog.text and "'owner' is ignored" in caplog.text

    def test_a_setting_of_another_vendor_is_unknown(self, caplog: pytest.LogCaptureFixture) -> None:
        read("voodoo", extra={"protocol": "socks5"})
        assert "'protocol' is ignored" in caplog.text


class TestHost:
    @pytest.mark.parametrize(
        ("fields", "url"),
        [
            ({"host": "https://api.example.com"}, "https://api.example.com"),
            ({"host": "https://api.example.com/v1/"}, "https://api.example.com/v1"),
            ({"host": " http://127.0.0.1:8090/iproyal "}, "http://127.0.0.1:8090/iproyal"),
            ({"host": "api.example.com"}, "https://api.example.com"),
            ({"host": "api.example.com", "port": 8443}, "https://api.example.com:8443"),
            ({"host": "api.example.com:8443"}, "https://api.example.com:8443"),
            ({"host": "api.example.com:8443", "port": 9}, "https://api.example.com:8443"),
            ({"host": "127.0.0.1", "port": 8090, "schema": "http"}, "http://127.0.0.1:8090"),
            ({"host": "127.0.0.1/iproyal", "port": 8090, "schema": "http"}, "http://127.0.0.1:8090/iproyal"),
            ({"host": "http://127.0.0.1", "port": 8090}, "http://127.0.0.1:8090"),
            ({"host": "http://127.0.0.1/iproyal", "port": 8090}, "http://127.0.0.1:8090/iproyal"),
            ({"host": "[::1]", "port": 8090}, "https://[::1]:8090"),
            ({"host": ""}, "https://apid.iproyal.com/v1/reseller"),
            ({"host": None, "port": 8090}, "https://apid.iproyal.com/v1/reseller"),
        ],
    )
    def test_forms(self, fields: dict[str, Any], url: str) -> None:
        assert read(**fields).base_url == url

    @pytest.mark.parametrize(
        "fields",
        [
            {"host": "http://api.example.com"},
            {"host": "HTTP://api.example.com/v1"},
            {"host": "api.example.com", "schema": "http"},
            {"host": "10.1.2.3", "port": 8090, "schema": "http"},
            {"host": "http://localhost.example.com"},
            {"host": "http://127.0.0.1.example.com"},
        ],
    )
    def test_a_key_in_clear_text_needs_a_permission(self, fields: dict[str, Any]) -> None:
        for no in ({}, {"allow_http": False}, {"allow_http": "false"}, {"allow_http": ""}):
            with pytest.raises(ConfigError, match=r"host must begin with https://.*allow_http.*Nothing was sent") as error:
                read(extra=no, **fields)
            assert (error.value.money, error.value.retry) == ("untouched", "never")
        for yes in (True, "true", "True"):
            assert read(extra={"allow_http": yes}, **fields).base_url.lower().startswith("http://")

    @pytest.mark.parametrize("host", ["http://127.0.0.1:1", "http://localhost", "http://[::1]:8090", "http://box.localhost"])
    def test_this_machine_needs_none(self, host: str) -> None:
        assert read(host=host).base_url == host

    @pytest.mark.parametrize("path", ["v1/reseller", "v1", "ftp", "https/v1"])
    def test_the_path_of_a_uri_is_not_dropped(self, path: str) -> None:
        connection = Connection.from_uri(f"iproyal://:some-key@api.example.com/{path}", conn_id="some_conn")
        with pytest.raises(ConfigError, match=r"schema must be http or https; write the path of an address into host"):
            account_for(connection, vendor_class("iproyal"))

    @pytest.mark.parametrize("vendor", VENDORS)
    def test_a_text_of_a_uri_means_what_it_writes(self, vendor: str) -> None:
        """The query of a URI holds text only."""
        values: dict[str, Any] = {
            "timeout": 12.5,
            "requests_per_second": 3,
            "settle": 90,
            "max_order_price": 12,
            "daily_limit": 7.5,
        }
        for setting in vendor_class(vendor).settings:
            values |= {"integer": {setting.name: 25}, "number": {setting.name: 2.5}, "boolean": {setting.name: False}}.get(
                setting.kind, {}
            )
        query = "&".join(f"{name}={json.dumps(value)}" for name, value in values.items())
        connection = Connection.from_uri(f"{vendor}://:some-key@/?{query}", conn_id="some_conn")
        assert account_for(connection, vendor_class(vendor)) == read(vendor, extra=values)

    def test_a_connection_written_as_a_uri(self) -> None:
        connection = Connection.from_uri("iproyal://:some-key@127.0.0.1:8090/http?max_order_price=12.50", conn_id="some_conn")
        account = account_for(connection, vendor_class("iproyal"))
        assert (account.base_url, account.secret) == ("http://127.0.0.1:8090", "some-key")
        assert account.caps.max_order_price == Decimal("12.50")


class TestWallets:
    def test_connections_with_the_same_name_share_one(self) -> None:
        each, other = read(extra={"wallet": "main"}, conn_id="a"), read(extra={"wallet": "main"}, conn_id="b")
        assert each.wallet == other.wallet == "iproyal:main"

    def test_connections_without_a_name_have_one_each(self) -> None:
        assert read(conn_id="a").wallet != read(conn_id="b").wallet

    def test_wallets_of_two_vendors_are_never_one(self) -> None:
        assert read("iproyal", extra={"wallet": "main"}).wallet != read("voodoo", extra={"wallet": "main"}).wallet


class TestVendor:
    @pytest.mark.parametrize("vendor", VENDORS)
    def test_it_is_that_of_the_connection_type(self, vendor: str) -> None:
        connection = Connection(conn_id="c", conn_type=vendor, password="some-key")
        assert type(vendor_for(connection)) is type(vendor_for(connection, vendor)) is vendor_class(vendor)

    def test_another_than_the_hook_is_for_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"'c' is of type 'voodoo', this hook needs 'iproyal'"):
            vendor_for(Connection(conn_id="c", conn_type="voodoo", password="k"), "iproyal")

    @pytest.mark.parametrize("kind", ["http", ""])
    def test_a_type_without_a_vendor_is_said(self, kind: str) -> None:
        with pytest.raises(ConfigError, match="iproyal, proxy6, proxyscrape, voodoo"):
            vendor_for(Connection(conn_id="c", conn_type=kind, password="k"))
