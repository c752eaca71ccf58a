"""ProxyScrape beside orders: words of new products, the ends of sub-accounts, the handles, and a short list of proxies."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InvalidRequest, RequestRefused
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.purchase.outcome import result_of
from airflow_provider_proxyorders.renewal.search import find_due

from .connections import REQUESTS, Shops


@pytest.fixture
def hook(shops: Shops) -> ProxyOrdersHook:
    return shops.hook("proxyscrape")


def bought(hook: ProxyOrdersHook) -> Any:
    buyer = hook.buyer()
    order = buyer.place(REQUESTS["proxyscrape"], order_key="k")
    return buyer.wait(order, deadline=datetime.now(timezone.utc) + timedelta(seconds=5), poll_interval=0.05)


def test_a_product_of_later_date_is_sent_with_a_warning(shops: Shops, hook: ProxyOrdersHook) -> None:
    request = {"type": "new_mobile", "country": "Malta", "proxies[zz]": 5, "location": 4, "gigabytes": 3}
    prepared = hook.vendor.prepare_create(request, "af-1")
    assert prepared.body == {**request, "is_subscription": False}
    assert any("type 'new_mobile' is not in the documentation" in warning for warning in prepared.warnings)
    with pytest.raises(RequestRefused, match="pricing configuration"):
        hook.create_order(request, order_key="k")
    assert shops.bought("proxyscrape") == []


@pytest.mark.parametrize("word", ["new_residental", "new_datacentre_shared", "New_Residential", "new-residential-unlimited"])
def test_a_misspelt_product_is_refused(hook: ProxyOrdersHook, word: str) -> None:
    with pytest.raises(InvalidRequest, match=r"type.*did you mean 'new_.*Nothing was bought"):
        hook.create_order({"type": word, "country": "Malta"}, order_key="k")


def test_the_sub_account_is_handed_on_with_a_template_of_its_calls(hook: ProxyOrdersHook) -> None:
    handles: Any = result_of(bought(hook), "proxyscrape")["handles"]
    account = hook.get_order(str(hook.ledger.find("k").order_id)).handle  # type: ignore[union-attr]
    assert handles == {"subaccount": account, "path": f"/v4/account/{account}/datacenter_shared/{{call}}"}
    url = f"{hook.vendor.account.base_url}{handles['path'].format(call='proxy-list')}"
    assert hook.get_conn().get(url, timeout=5).text.count("\n") == 99


@pytest.mark.parametrize("tells", [True, False])
def test_the_overview_dates_a_service_where_it_answers(shops: Shops, hook: ProxyOrdersHook, tells: bool) -> None:
    shops.box.control({"vendor": "proxyscrape", "overview": tells})
    order, now = bought(hook), datetime.now(timezone.utc)
    ends = order.expires_at
    assert (ends is not None) is tells
    search = find_due(hook.buyer(), as_of=now, within=timedelta(days=40), term=timedelta(days=35))
    (due,) = search.due
    assert due.expires_from == ("vendor" if tells else "term")
    assert abs(due.expires_at - now - timedelta(days=30 if tells else 35)) < timedelta(minutes=5)


@pytest.mark.parametrize("fault", [{"action": "status", "status": 403}, {"action": "html"}, {"action": "body", "body": "[7]"}])
def test_an_overview_that_cannot_be_used_keeps_the_order(shops: Shops, hook: ProxyOrdersHook, fault: dict[str, Any]) -> None:
    shops.box.fault("proxyscrape", "overview", **fault)
    assert bought(hook).expires_at is None


def test_a_vendor_without_the_overview_is_asked_a_few_times_only(shops: Shops, hook: ProxyOrdersHook) -> None:
    order = bought(hook)
    for _ in range(9):
        hook.get_order(order.order_id)
    assert shops.box.book.count("proxyscrape", "overview") == 3


@pytest.mark.parametrize("end", [0, 1, None, "", "soon", -5, 1735690107])
def test_a_date_before_the_order_is_no_end(shops: Shops, hook: ProxyOrdersHook, end: Any) -> None:
    body = json.dumps({"data": {"services": {"datacenter_shared": {"expiration_time": end}}}})
    shops.box.fault("proxyscrape", "overview", action="body", body=body)
    assert bought(hook).expires_at is None


def test_a_short_list_is_told(shops: Shops, hook: ProxyOrdersHook, capfd: pytest.CaptureFixture[str]) -> None:
    order = bought(hook)
    assert hook.get_delivery(order.order_id).count == 100
    assert "ordered entries" not in capfd.readouterr().out
    shops.box.control({"vendor": "proxyscrape", "deliver_less": {"order_id": order.order_id, "units": 97}})
    assert shops.hook("proxyscrape").get_delivery(order.order_id).count == 97
    assert f"Order {order.order_id}: 97 of 100 ordered entries are there" in capfd.readouterr().out
