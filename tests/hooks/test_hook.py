"""The hook's methods, each against the sandbox, for every vendor that offers them."""

from __future__ import annotations

import logging
import re
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from airflow.sdk import BaseHook
from airflow.sdk.log import redact

from airflow_provider_proxyorders.domain.errors import (
    CapExceeded,
    ConfigError,
    InvalidParameter,
    InvalidRequest,
    OrderKeyConflict,
    OrderNotFound,
    OrderNotUsable,
    OrderPending,
    ProxyOrdersError,
    UnsupportedOperation,
)
from airflow_provider_proxyorders.domain.model import Money, OrderStatus, Purchase, Step
from airflow_provider_proxyorders.hooks.proxyorders import IPRoyalHook, ProxyOrdersHook, ProxyScrapeHook, VoodooHook
from airflow_provider_proxyorders.wire.messages import KEY_IN_PATH
from tests.transport.wires import proper, wire
from tests.vendors import EXTENSIONS, ROWS

from .connections import PRICES, REQUESTS, VENDORS, Shops

PATHS = {name: row.balance_path for name, row in ROWS.items()}


def bought(hook: ProxyOrdersHook, vendor: str, key: str = "k") -> Purchase:
    """An order that is ready for use: the sandbox of these tests takes no time to process one."""
    order = hook.create_order(REQUESTS[vendor], order_key=key)
    buyer = hook.buyer()
    order = buyer.refresh(order)
    assert order.step is Step.DELIVERED
    return order


class TestClasses:
    @pytest.mark.parametrize(
        ("hook", "vendor"), [(ProxyScrapeHook, "proxyscrape"), (VoodooHook, "voodoo"), (IPRoyalHook, "iproyal")]
    )
    def test_one_for_each_connection_type(self, shops: Shops, hook: Any, vendor: str) -> None:
        shops.connect(vendor)
        assert hook.conn_type == vendor
        assert hook.default_conn_name == hook().conn_id == f"{vendor}_default"
        assert hook().get_balance() == ProxyOrdersHook(f"{vendor}_default").get_balance()
        other = next(name for name in VENDORS if name != vendor)
        with pytest.raises(ConfigError, match="this hook needs"):
            hook(shops.connect(other)).get_balance()

    def test_making_one_looks_nothing_up(self, shops: Shops) -> None:
        for hook in (ProxyOrdersHook("nowhere"), VoodooHook("nowhere")):
            assert isinstance(hook, BaseHook)
        assert shops.looked_up == []


class TestReading:
    def test_balance(self, shops: Shops, vendor: str) -> None:
        balance = shops.hook(vendor).get_balance()
        assert balance.available == Money(Decimal(1000), "USD")
        assert isinstance(balance.available.amount, Decimal)

    def test_get_conn_is_a_session_that_is_logged_in(self, shops: Shops, vendor: str) -> None:
        hook = shops.hook(vendor)
        session = hook.get_conn()
        assert isinstance(session, requests.Session)
        answer = session.get(shops.box.url(vendor) + PATHS[vendor], timeout=5)
        assert answer.status_code == 200 and "1000" in answer.text
        assert hook.get_conn() is session
        assert hook.get_balance().available.amount == 1000

    @pytest.mark.parametrize("path", ["/thing", f"/api/{KEY_IN_PATH}/getprice"])
    @pytest.mark.parametrize("looks_own", [True, False])
    def test_get_conn_shows_the_key_to_no_other_host(self, shops: Shops, vendor: str, path: str, looks_own: bool) -> None:
        """Another port is another host, and an address may begin like the account's."""
        hook = shops.hook(vendor)
        session, own = hook.get_conn(), urlsplit(hook.vendor.account.base_url)
        with wire(proper) as elsewhere:
            url = f"{own.scheme}://{own.netloc}@127.0.0.1:{elsewhere.port}" if looks_own else elsewhere.url
            assert session.get(url + path, timeout=5).json() == {"fine": True}
        (asked,) = elsewhere.asked
        secrets = [hook.vendor.account.secret, *hook.vendor.auth_headers().values()]
        assert hook.get_balance().available.amount == 1000
        assert not [secret for secret in secrets if secret in asked.line or secret in str(asked.headers)]

    def test_a_session_whose_login_ran_out_is_renewed(self, shops: Shops) -> None:
        hook = shops.hook("voodoo")
        hook.get_conn()
        shops.box.control({"vendor": "voodoo", "revoke_jwt": True})
        assert hook.get_balance().available.amount == 1000
        answer = hook.get_conn().get(shops.box.url("voodoo") + PATHS["voodoo"], timeout=5)
        assert answer.status_code == 200

    def test_quote(self, shops: Shops, vendor: str) -> None:
        hook = shops.hook(vendor)
        if not hook.capabilities.quote_create:
            with pytest.raises(UnsupportedOperation, match="Nothing was sent"):
                hook.quote(REQUESTS[vendor])
            assert shops.box.book.count(vendor) == 0
            return
        quote = hook.quote(REQUESTS[vendor])
        assert quote.price.amount == Decimal(PRICES[vendor])
        assert shops.box.book.charges() == []

    def test_quote_of_an_extension(self, shops: Shops, vendor: str) -> None:
        hook = shops.hook(vendor)
        order = bought(hook, vendor)
        assert order.order_id is not None
        charged = shops.box.book.charges()
        extension = ROWS[vendor].extension
        if not hook.capabilities.quote_extend:
            with pytest.raises(UnsupportedOperation, match="Nothing was sent"):
                hook.quote_extension(order.order_id, dict(extension.body) if extension else {"days": 30})
        else:
            assert hook.quote_extension(order.order_id, {"product_plan_id": 22}).price.amount == Decimal(6)
            with pytest.raises(InvalidRequest, match="product_plan_id"):
                hook.quote_extension(order.order_id, {})
        assert shops.box.book.charges() == charged

    def test_a_quote_of_a_bad_request_is_refused_before_it_is_sent(self, shops: Shops) -> None:
        with pytest.raises(InvalidRequest, match=r"quantity.*For example"):
            shops.hook("iproyal").quote({**REQUESTS["iproyal"], "quantity": 0})
        assert shops.box.book.count("iproyal") == 0

    def test_get_order(self, shops: Shops, vendor: str) -> None:
        hook = shops.hook(vendor)
        order = bought(hook, vendor)
        assert order.order_id is not None
        vendor_order = hook.get_order(order.order_id)
        assert (vendor_order.order_id, vendor_order.status) == (order.order_id, OrderStatus.DELIVERED)

    def test_a_number_is_an_order_id_too(self, shops: Shops) -> None:
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed"}})
        number: Any = 7001
        assert shops.hook("iproyal").get_order(number).order_id == "7001"

    @pytest.mark.parametrize("order_id", ["999999", "no-such-order"])
    def test_an_order_that_is_not_there(self, shops: Shops, vendor: str, order_id: str) -> None:
        with pytest.raises((OrderNotFound, InvalidRequest)):
            shops.hook(vendor).get_order(order_id)

    @pytest.mark.parametrize("order_id", ["../../balance", "a/b", "a b?c=d#e", "\u00fc", ""])
    def test_an_order_id_stays_one_part_of_the_path(self, shops: Shops, vendor: str, order_id: str) -> None:
        with pytest.raises((OrderNotFound, InvalidRequest)):
            shops.hook(vendor).get_order(order_id)
        assert shops.box.book.count(vendor, "balance") == 0

    def test_list_orders(self, shops: Shops) -> None:
        shops.box.control([{"vendor": "iproyal", "order": {"id": number, "status": "confirmed"}} for number in range(7001, 7006)])
        hook = shops.hook("iproyal", extra={"page_size": 2})
        assert {order.order_id for order in hook.list_orders()} == {str(number) for number in range(7001, 7006)}
        assert shops.box.book.count("iproyal", "list") == 3
        assert {order.order_id for order in hook.list_orders(order_ids=["7002", "7004"])} == {"7002", "7004"}
        assert len(hook.list_orders(status="confirmed")) == 5

    @pytest.mark.parametrize("vendor", ["proxyscrape", "voodoo"])
    def test_a_list_that_no_page_describes(self, shops: Shops, vendor: str) -> None:
        hook = shops.hook(vendor)
        assert not hook.capabilities.list_orders
        with pytest.raises(UnsupportedOperation, match="Nothing was sent"):
            hook.list_orders()
        assert shops.box.book.count(vendor) == 0

    def test_a_catalogue_that_no_page_describes(self, shops: Shops) -> None:
        hook = shops.hook("proxyscrape")
        for call in (hook.get_products, lambda: list(hook.iter_products())):
            with pytest.raises(UnsupportedOperation, match="Nothing was sent"):
                call()
        assert shops.box.book.count("proxyscrape") == 0

    def test_get_products(self, shops: Shops) -> None:
        products = shops.hook("iproyal").get_products()
        assert REQUESTS["iproyal"]["product_id"] in [product["id"] for product in products]
        assert list(shops.hook("iproyal").iter_products()) == products

    def test_capabilities_need_no_call(self, shops: Shops) -> None:
        vendors = {vendor: shops.hook(vendor).vendor for vendor in VENDORS}
        assert [vendor for vendor in VENDORS if vendors[vendor].capabilities.extend] == [*EXTENSIONS]
        assert [vendor for vendor in VENDORS if vendors[vendor].webhook] == ["voodoo"]
        assert shops.box.book.connections == 0


class TestDelivery:
    def test_what_was_bought_is_handed_over_and_masked(self, shops: Shops, vendor: str) -> None:
        """P8: every password and code is known to Airflow's masker before anybody can log it."""
        hook = shops.hook(vendor)
        order = bought(hook, vendor)
        assert order.order_id is not None
        delivery = hook.get_delivery(order.order_id)
        assert delivery.count >= 2 and delivery.order_id == order.order_id
        secrets = list(delivery.secrets())
        assert secrets
        for secret in secrets:
            assert secret not in str(redact(f"a log line with {secret} in it"))
            assert secret not in repr(delivery)
        assert redact(hook.vendor.account.secret) == "***"

    def test_a_delivered_proxy_works(self, shops: Shops) -> None:
        hook = shops.hook("iproyal")
        order = bought(hook, "iproyal")
        assert order.order_id is not None
        proxy = hook.get_delivery(order.order_id).proxies[0]
        said = requests.get(shops.box.whoami, proxies=proxy.requests, timeout=5).json()
        assert (said["via"], str(said["order_id"])) == ("proxy", order.order_id)

    def test_nothing_yet_is_no_empty_delivery(self, shops: Shops, vendor: str) -> None:
        """A task that fans out over it would do nothing, and be green."""
        shops.box.control([{"vendor": name, "processing": 3600} for name in VENDORS])
        hook = shops.hook(vendor)
        order = hook.create_order(REQUESTS[vendor], order_key="k")
        with pytest.raises(
            OrderPending, match=r"is still .* It is paid and yields nothing yet\. .*reading it again buys nothing"
        ):
            hook.get_delivery(order)
        with pytest.raises(OrderPending, match="waits for the same order and buys nothing"):
            hook.wait_for_order(order, timeout=0)

    def test_a_call_waits_for_it(self, shops: Shops, vendor: str) -> None:
        shops.box.control([{"vendor": name, "processing": 0.3} for name in VENDORS])
        hook = shops.hook(vendor)
        order = hook.wait_for_order(hook.create_order(REQUESTS[vendor], order_key="k"), timeout="PT20S", poll_interval=0.1)
        assert hook.get_delivery(order).count >= 2 and len(shops.bought(vendor)) == 1

    @pytest.mark.parametrize("purchase", ["7001", {"order_id": "7001"}, None])
    def test_it_waits_for_purchases_only(self, shops: Shops, purchase: Any) -> None:
        with pytest.raises(InvalidParameter, match="'?purchase'? must be what create_order or extend_order returned"):
            shops.hook("iproyal").wait_for_order(purchase)

    def test_a_bad_end_is_said_by_both(self, shops: Shops) -> None:
        shops.box.control({"vendor": "voodoo", "next_outcome": "failed"})
        hook = shops.hook("voodoo")
        order = hook.create_order(REQUESTS["voodoo"], order_key="k")
        with pytest.raises(OrderNotUsable, match="Nothing is bought in its place"):
            hook.wait_for_order(order)
        with pytest.raises(OrderNotUsable, match="Nothing is bought in its place"):
            hook.get_delivery(order)

    def test_entries_that_cannot_be_read_are_said(self, shops: Shops, caplog: pytest.LogCaptureFixture) -> None:
        proxies = [{"ip": "203.0.113.21", "username": "u", "password": "pass-word"}, "nonsense"]
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed", "proxies": proxies, "quantity": 2}})
        with caplog.at_level(logging.WARNING):
            delivery = shops.hook("iproyal").get_delivery("7001")
        assert (len(delivery.proxies), delivery.skipped) == (1, 1)


def test_a_key_is_masked_as_it_is_sent(shops: Shops) -> None:
    """Airflow masks what stands in the password, and what was pasted there may have brought a line break along."""
    assert shops.hook("iproyal", password="pasted-with-a-break\n").vendor.account.secret == "pasted-with-a-break"
    assert redact("pasted-with-a-break in a log") == "*** in a log"


class TestSpending:
    def test_create_order(self, shops: Shops, vendor: str) -> None:
        order = shops.hook(vendor).create_order(REQUESTS[vendor], order_key="k")
        assert [(entry.order_id, entry.amount) for entry in shops.bought(vendor)] == [(order.order_id, PRICES[vendor])]
        again = shops.hook(vendor).create_order(REQUESTS[vendor], order_key="k")
        assert (again.order_id, len(shops.bought(vendor))) == (order.order_id, 1)

    @pytest.mark.parametrize("key", [None, "None", "null", "", "  ", 1.5, ["k"]])
    def test_a_key_that_is_none_buys_nothing(self, shops: Shops, key: Any) -> None:
        with pytest.raises(InvalidRequest, match=r"order_key (must be text|is needed and empty).*Nothing was bought"):
            shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key=key)
        assert shops.bought("iproyal") == []

    def test_a_key_of_digits_is_its_text(self, shops: Shops) -> None:
        number: Any = 20261231
        for key in (number, "20261231", " 20261231 "):
            assert shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key=key).order_key == "20261231"
        assert len(shops.bought("iproyal")) == 1

    def test_another_request_under_the_same_key(self, shops: Shops) -> None:
        shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="k")
        with pytest.raises(OrderKeyConflict):
            shops.hook("iproyal").create_order({**REQUESTS["iproyal"], "quantity": 1}, order_key="k")
        assert len(shops.bought("iproyal")) == 1

    @pytest.mark.parametrize("price", ["5.99", Decimal("0.01"), 5, 5.99])
    def test_max_price(self, shops: Shops, price: Any) -> None:
        with pytest.raises(CapExceeded, match="6"):
            shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="k", max_price=price)
        assert shops.bought("iproyal") == []

    @pytest.mark.parametrize("price", ["cheap", "0", 0, "-1", True, "NaN", "1e40", [5], 10**20])
    def test_a_max_price_that_is_none(self, shops: Shops, price: Any) -> None:
        with pytest.raises(InvalidRequest, match=r"max_price must be a positive amount.*'12\.50'\. Nothing was bought"):
            shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="k", max_price=price)
        assert shops.box.book.count("iproyal") == 0

    def test_without_any_cap_nothing_is_bought(self, shops: Shops, vendor: str) -> None:
        hook = shops.hook(vendor, extra={"max_order_price": ""})
        with pytest.raises(CapExceeded, match=r'max_price=.*"max_order_price": "50\.00"'):
            hook.create_order(REQUESTS[vendor], order_key="k")
        assert shops.bought(vendor) == []
        assert hook.create_order(REQUESTS[vendor], order_key="k", max_price="10").order_id

    def test_extend_order(self, shops: Shops) -> None:
        hook = shops.hook("iproyal")
        order = bought(hook, "iproyal")
        assert order.order_id is not None and order.expires_at is not None
        extension = hook.extend_order(order.order_id, {"product_plan_id": 22}, order_key="e")
        assert [entry.kind for entry in shops.bought("iproyal")] == ["create", "extend"]
        assert extension.expires_at is not None and extension.expires_at > order.expires_at
        hook.extend_order(order.order_id, {"product_plan_id": 22}, order_key="e")
        assert len(shops.bought("iproyal")) == 2

    @pytest.mark.parametrize("vendor", ["proxyscrape", "voodoo"])
    def test_an_extension_that_is_not_offered(self, shops: Shops, vendor: str) -> None:
        with pytest.raises(UnsupportedOperation, match="Nothing was"):
            shops.hook(vendor).extend_order("1", {}, order_key="e")
        assert shops.box.book.count(vendor) == 0

    def test_set_auto_extend(self, shops: Shops) -> None:
        hook = shops.hook("iproyal")
        order = bought(hook, "iproyal")
        assert order.order_id is not None
        hook.set_auto_extend(order.order_id, True, product_plan_id=22, payment_type="balance")
        assert hook.get_order(order.order_id).auto_extends is True
        hook.set_auto_extend(order.order_id, False)
        assert hook.get_order(order.order_id).auto_extends is False
        assert len(shops.bought("iproyal")) == 1
        with pytest.raises(UnsupportedOperation):
            shops.hook("voodoo").set_auto_extend("1", False)

    def test_outside_a_task_the_history_says_so(self, shops: Shops) -> None:
        hook = shops.hook("iproyal")
        hook.create_order(REQUESTS["iproyal"], order_key="k")
        assert all("outside a task" in str(row.actor) for row in hook.ledger.history("k"))


class TestThrift:
    def test_many_calls_are_one_look_up_and_one_connection(self, shops: Shops, vendor: str) -> None:
        hook = shops.hook(vendor)
        order = bought(hook, vendor)
        assert order.order_id is not None
        for _ in range(5):
            hook.get_balance()
            hook.get_order(order.order_id)
            hook.buyer()
        hook.get_delivery(order.order_id)
        assert shops.looked_up == [f"{vendor}_default"]
        assert shops.box.book.connections == 1
        if ROWS[vendor].login_path:
            assert shops.box.book.count("voodoo", "token") == 1


class TestConnectionTest:
    def test_a_good_key(self, shops: Shops, vendor: str) -> None:
        good, text = shops.hook(vendor).test_connection()
        assert good and "key accepted" in text and re.search(r"\b1000(\.00)? USD", text)
        assert shops.box.book.charges() == []

    def test_a_bad_key(self, shops: Shops, vendor: str) -> None:
        good, text = shops.hook(vendor, password="sk-bad-secret").test_connection()
        assert not good and "does not accept the key" in text and f"'{vendor}_default'" in text
        assert "sk-bad-secret" not in text

    def test_a_key_that_may_not_order(self, shops: Shops) -> None:
        shops.box.control({"vendor": "proxyscrape", "permission": "none"})
        good, text = shops.hook("proxyscrape").test_connection()
        assert not good
        assert "ask ProxyScrape support for account:api_ordering:read and account:api_ordering:write" in text
        assert "Contact support to request access." in text

    def test_a_key_whose_login_is_not_enabled(self, shops: Shops) -> None:
        shops.box.control({"vendor": "voodoo", "permission": "none"})
        good, text = shops.hook("voodoo").test_connection()
        assert not good and "Login by API key has to be enabled" in text

    def test_a_host_that_is_not_there(self, shops: Shops, vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
        hook = shops.hook(vendor, host="http://127.0.0.1:1")
        hook.http._sleep = lambda seconds: None
        good, text = hook.test_connection()
        assert not good and "127.0.0.1:1" in text and "refused" in text.lower()
        assert hook.vendor.account.secret not in text

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"password": ""}, "password must hold"),
            ({"extra": {"daily_limits": "5"}}, "did you mean 'daily_limit'"),
            ({"extra": {"max_order_price": "cheap"}}, "max_order_price must be a number"),
            ({"host": "https://user:pass-word@127.0.0.1"}, "host must not hold a login"),
            ({"host": "ftp://127.0.0.1"}, "host must be an address"),
            ({"host": "http://example.com\\@127.0.0.1"}, "host must not hold a login"),
            ({"host": "http://example.com\\.localhost"}, "host must be an address"),
            ({"conn_type": "http"}, "no vendor named 'http'"),
        ],
    )
    def test_a_connection_that_is_wrong(self, shops: Shops, fields: dict[str, Any], said: str) -> None:
        good, text = shops.hook("iproyal", **fields).test_connection()
        assert not good and said in text
        assert "pass-word" not in text

    def test_an_answer_that_is_none(self, shops: Shops, vendor: str) -> None:
        shops.box.fault(vendor, action="body", body="<html>maintenance</html>")
        good, text = shops.hook(vendor).test_connection()
        assert not good and "not what its documentation describes" in text

    def test_it_leaves_no_connection_open(self, shops: Shops) -> None:
        hook = shops.hook("iproyal")
        hook.test_connection()
        hook.get_balance()
        assert shops.box.book.connections == 2


class TestOrderPage:
    def test_without_a_setting_there_is_none(self, shops: Shops, vendor: str) -> None:
        assert shops.hook(vendor).order_page("7001") is None

    def test_with_one(self, shops: Shops, vendor: str) -> None:
        hook = shops.hook(vendor, extra={"order_page": "https://dashboard.example.com/o/{order_id}?tab=1"})
        assert hook.order_page("7001") == "https://dashboard.example.com/o/7001?tab=1"
        assert hook.order_page("a/b c?&#") == "https://dashboard.example.com/o/a%2Fb%20c%3F%26%23?tab=1"


def test_secrets_are_in_no_message(shops: Shops, vendor: str, caplog: pytest.LogCaptureFixture) -> None:
    """P8: a whole life of a hook with everything logged."""
    caplog.set_level(logging.DEBUG)
    hook = shops.hook(vendor)
    order = bought(hook, vendor)
    assert order.order_id is not None
    delivery = hook.get_delivery(order.order_id)
    errors = []
    for wrong in ("999999", "../x"):
        with pytest.raises(ProxyOrdersError) as error:
            hook.get_order(wrong)
        errors.append(str(error.value))
    shown = caplog.text + repr(hook.vendor.account) + str(vars(order)) + " ".join(errors)
    shown += " ".join(str(row) for row in hook.ledger.history("k"))
    secrets = {hook.vendor.account.secret, *delivery.secrets(), hook.vendor.account.session.get("token", "no-such-text")}
    assert not [secret for secret in secrets if secret in shown]
