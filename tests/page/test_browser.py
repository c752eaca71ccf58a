"""The page in a real browser, in a real API server under a path prefix.

One server and one browser serve all tests of this file, in their order: the ledger is unreachable, then missing, then full. The
tests need a Chromium; ``make`` installs Debian's where it may.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from airflow_provider_proxyorders._compat import tabs_of_operators
from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.model import Actor, Step
from airflow_provider_proxyorders.ledger import Ledger, facts, open_ledger
from airflow_provider_proxyorders.ledger.accounts import Accounts
from airflow_provider_proxyorders.sandbox import Sandbox
from docs.screenshots.browser import NAMES, Browser
from tests.ledgers import ready_file

from .conftest import buy
from .many import fill
from .server import ROLES, api_server, token

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not any(map(shutil.which, NAMES)), reason="needs a Chromium, as in: apt-get install chromium"),
]

MANY = 100_000
EVIL = "<img src=x onerror=\"document.title='run'\">\x1b[31mred {{ 1 + 1 }}"
LOST = "buying/order/lost & found"


#: The brightness of a field's ground and of its letters, 0 to 765, however the theme writes a colour.
_SHADES = """(() => {
  const brush = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
  const style = getComputedStyle(document.querySelector("[aria-label=State]"));
  return [style.backgroundColor, style.color].map((colour) => {
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    return brush.getImageData(0, 0, 1, 1).data.slice(0, 3).reduce((sum, part) => sum + part, 0);
  });
})()"""

#: An Airflow whose UI has no tables.
_WITHOUT_TABLES = """(() => {
  let parts;
  const without = (all) => { parts = { ...all, Table: undefined }; };
  Object.defineProperty(globalThis, "ChakraUI", { get: () => parts, set: without, configurable: true });
})()"""

#: How far the page, or a text of a card, reaches over its right edge, in pixels.
_TOO_WIDE = """(() => {
  const page = document.querySelector("main"), right = page.getBoundingClientRect().right;
  const texts = [...page.querySelectorAll("section b, section p, section a")].filter((e) => !e.closest("table"));
  return Math.max(page.scrollWidth - page.clientWidth, ...texts.map((e) => e.getBoundingClientRect().right - right));
})()"""


#: A DAG whose tasks buy, and do not.
_WITH_TABS = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_proxyorders.operators import CreateProxyOrderOperator

with DAG("with_tabs", schedule=None):
    CreateProxyOrderOperator(task_id="order", conn_id="voodoo_default", request={"item_id": 5120, "quantity": 2})
    EmptyOperator(task_id="other")
"""


class Tab:
    """The browser's one tab, with calls that wait."""

    def __init__(self, url: str):
        self.url, self._loop = url, asyncio.new_event_loop()
        self._browser = Browser(1280, 900)
        self.run(self._browser.__aenter__())
        self.run(self._browser.call("Network.enable", {}))
        self.tokens = {role: token(url, role) for role in ROLES}

    def close(self) -> None:
        self.run(self._browser.__aexit__())
        self._loop.close()

    def run(self, call: Any) -> Any:
        return self._loop.run_until_complete(call)

    def log_in(self, role: str) -> None:
        self.run(self._browser.call("Network.clearBrowserCookies", {}))
        cookie = {"name": "_token", "value": self.tokens[role], "url": f"{self.url}/", "path": "/"}
        self.run(self._browser.call("Network.setCookie", cookie))

    def open(self, query: str, *texts: str) -> str:
        """Go to the page; returns its text once it shows all the texts."""
        self.go(f"/plugin/proxyorders{query}", *texts)
        return self.text()

    def go(self, path: str, *texts: str) -> None:
        """Go to any page of Airflow, until it shows all the texts."""
        self.run(self._browser.open(f"{self.url}{path}", *texts))

    def text(self) -> str:
        return str(self.value("document.body.innerText"))

    def value(self, expression: str) -> Any:
        return self.run(self._browser.value(expression))

    def wait(self, *texts: str) -> str:
        for text in texts:
            self.run(self._browser.wait(f"document.body.innerText.includes({json.dumps(text)})"))
        return self.text()

    def click(self, text: str, elements: str = "button") -> None:
        self.run(self._browser.click(text, elements))

    def choose(self, label: str, value: str) -> None:
        """Put a value into a field, as React hears it."""
        self.value(f"""(() => {{
          const field = document.querySelector('[aria-label={json.dumps(label)}]');
          const kind = field.tagName === "SELECT" ? HTMLSelectElement : HTMLInputElement;
          Object.getOwnPropertyDescriptor(kind.prototype, "value").set.call(field, {json.dumps(value)});
          field.dispatchEvent(new Event(field.tagName === "SELECT" ? "change" : "input", {{ bubbles: true }}));
        }})()""")

    def type(self, selector: str, text: str) -> None:
        """Type a text into a field, as a person does."""
        self.run(self._browser.wait(f"!!document.querySelector({json.dumps(selector)})"))
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.run(self._browser.call(method, params))
        return answer

    def media(self, scheme: str) -> None:
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def key(self, name: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox.start(processing=0) as box:
        yield box


@pytest.fixture(scope="module")
def site(home: Path, box: Sandbox) -> Iterator[str]:
    """The server. Its ledger is a broken file so far."""
    (home / "ledger.db").write_bytes(b"this is no database" * 300)
    extra = {"max_order_price": "100.00", "daily_limit": "14.00", "currency": "USD", "timeout": 5, "settle": 0.3}
    connection = {"conn_type": "voodoo", "host": box.url("voodoo"), "password": box.token("voodoo"), "extra": extra}
    env = {"AIRFLOW_CONN_VOODOO_DEFAULT": json.dumps(connection)}
    dags = {"with_tabs.py": _WITH_TABS} if tabs_of_operators() else None
    with api_server(home / "airflow", f"sqlite:///{home / 'ledger.db'}", env, dags) as url:
        yield url


@pytest.fixture(scope="module")
def tab(site: str) -> Iterator[Tab]:
    made = Tab(site)
    yield made
    made.close()


@pytest.fixture(scope="module")
def ledger(home: Path, tab: Tab) -> Ledger:
    """A full ledger in the place of the missing one."""
    (home / "ledger.db").write_bytes(ready_file())
    ledger = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    fill(ledger.engine, MANY)
    buy(ledger, LOST, Step.QUARANTINED, reason="the balance fits two orders")
    buy(ledger, "buying/order/evil", Step.FAILED, vendor_status=EVIL, reason="=HYPERLINK(1)")
    buy(ledger, "buying/order/good", Step.DELIVERED, order_id="v-77")
    buy(ledger, "buying/order/far", Step.DELIVERED, conn_id="iproyal_0", wallet=f"iproyal:{'a_long_name_' * 6}")
    return ledger


def test_an_unreachable_ledger_is_said(tab: Tab) -> None:
    tab.log_in("admin")
    assert "Nothing was changed" in tab.open("", "The ledger is out of reach")


def test_an_empty_ledger_is_said(tab: Tab, home: Path) -> None:
    (home / "ledger.db").unlink()
    assert "None." in tab.open("", "The ledger is empty: nothing was bought so far.", "Waits for a person (0)")
    assert not (home / "ledger.db").exists(), "reading makes no ledger"


@pytest.mark.parametrize(("role", "sees"), [("admin", True), ("op", True), ("user", False), ("viewer", False)])
def test_each_role_sees_what_its_connections_allow(tab: Tab, ledger: Ledger, role: str, sees: bool) -> None:
    tab.log_in(role)
    text = tab.open("", "Waits for a person (1)" if sees else "You may read no connection with purchases")
    assert (LOST in text) is sees
    if not sees:
        assert "Waits for a person (0)" in tab.wait("Waits for a person")
        assert "missing" in tab.open(f"?purchase={quote(LOST)}", "The purchase is missing")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes(tab: Tab, ledger: Ledger, scheme: str) -> None:
    tab.log_in("admin")
    tab.media(scheme)
    tab.open("?tab=purchases", "CSV of what is filtered")
    ground, ink = tab.value(_SHADES)
    assert (ground > ink) is (scheme == "light") and abs(ground - ink) > 300, (ground, ink)
    tab.media("light")


def test_filters_and_paging_among_100_000_purchases(tab: Tab, ledger: Ledger) -> None:
    tab.open("?tab=purchases", "50 and more purchases")
    tab.click("Go on")
    tab.wait("100 and more purchases")
    tab.choose("State", "quarantined")
    assert LOST in tab.wait("1 purchases")
    tab.choose("State", "")
    tab.choose("DAG", "rare")
    assert "bulk/order/99001" in tab.wait("50 and more purchases", "bulk/order/99001")
    tab.click("All")
    tab.choose("Text", "v-77")
    assert "buying/order/good" in tab.wait("buying/order/good")


def test_the_csv_has_what_is_filtered_and_no_formula(tab: Tab, ledger: Ledger) -> None:
    tab.open("?tab=purchases", "50 and more purchases")
    tab.choose("Vendor", "voodoo")
    tab.wait("3 purchases")
    lines = list(
        csv.DictReader(io.StringIO(tab.value("fetch(document.querySelector('a[download]').href).then((a) => a.text())")))
    )
    assert {line["order_key"] for line in lines} == {LOST, "buying/order/evil", "buying/order/good"}
    assert [line["reason"] for line in lines if line["order_key"].endswith("evil")] == ["'=HYPERLINK(1)"]


def test_a_vendors_text_is_text(tab: Tab, ledger: Ledger) -> None:
    text = tab.open("?purchase=buying/order/evil", "History")
    assert '<img src=x onerror="document.title=' in text and "\x1b" not in text
    assert tab.value("document.title") != "run" and not tab.value("document.querySelector('img[src=x]')")


def test_keyboard_labels_and_a_narrow_screen(tab: Tab, ledger: Ledger) -> None:
    tab.open("", "Waits for a person (1)")
    tab.value("document.getElementById('po-tab-attention').focus()")
    tab.key("ArrowRight")
    tab.wait("Runway")
    assert tab.value("document.activeElement.id") == "po-tab-wallets"
    nameless = """[...document.querySelectorAll("main button, main select, main input, main [role=img]")].filter(
      (e) => !(e.innerText || e.getAttribute("aria-label") || e.labels?.length)).length"""
    assert tab.value(nameless) == 0
    tab.call("Emulation.setDeviceMetricsOverride", width=375, height=700, deviceScaleFactor=1, mobile=True)
    for name in ("attention", "wallets", "purchases", "guarantees"):
        tab.open(f"?tab={name}", "Proxy orders")
        tab.wait("Runway" if name == "wallets" else "Proxy orders")
        assert tab.value(_TOO_WIDE) <= 1, name
    tab.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)


def test_a_part_that_airflow_lacks_is_replaced_and_said(tab: Tab, ledger: Ledger) -> None:
    tab.call("Page.enable")
    added = tab.call("Page.addScriptToEvaluateOnNewDocument", source=_WITHOUT_TABLES)
    try:
        text = tab.open("?tab=purchases", "Airflow's UI lacks Table.", "50 and more purchases")
        assert (
            "plain lists" in text
            and "bulk/order/" in text
            and tab.value("document.querySelectorAll('main tbody tr').length") == 50
        )
    finally:
        tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])


def test_a_wallet_near_its_limit(tab: Tab, ledger: Ledger) -> None:
    text = tab.open("?tab=wallets", "Runway")
    assert "of 14.00 USD" in text and "limit reached" in text  # 12.50 reserved, and two purchases of 11.00
    assert tab.value("document.querySelectorAll('[aria-label^=\"Spending of wallet voodoo\"] rect').length") == 30


def test_a_decision_with_its_dialog(tab: Tab, ledger: Ledger) -> None:
    tab.open("", LOST)
    tab.click("It was not taken …")
    dialog = "document.querySelector('dialog').innerText"
    shown = tab.value(dialog)
    assert "up to 12.50 USD" in shown and "voodoo:voodoo_default" in shown and "may buy it again" in shown
    tab.click("Look first")
    tab.wait("NOT taken")
    tab.click("Record for good")
    tab.wait("Recorded.", "Clear its task")
    purchase = ledger.find(LOST)
    assert purchase is not None and (purchase.step, purchase.unresolved) == (Step.INTENDED, False)
    assert "admin (Airflow user)" in str(ledger.history(LOST)[-1].actor)
    tab.click("Clear its task")
    # the purchase's DAG is made up: Airflow has read the call, and knows no such DAG
    assert "not found" in tab.wait("Airflow did not clear the task: ").partition("did not clear the task: ")[2].splitlines()[0]
    tab.click("Close")
    tab.wait("Waits for a person (0)")


def test_after_a_restore_a_connection_that_is_gone_is_named(tab: Tab, ledger: Ledger) -> None:
    """Nothing can be reconciled through it, so its wallet would stay frozen for good."""
    wallet = "voodoo:voodoo_gone"
    account = Account(vendor="voodoo", conn_id="voodoo_gone", wallet=wallet, base_url="https://gone.example", secret="a key")
    assert Accounts(ledger.engine).resolve(account).name == wallet
    buy(ledger, "buying/order/old", Step.DELIVERED, conn_id="voodoo_gone", wallet=wallet)
    ledger.freeze(wallet, "restored from a backup")
    facts.restored_from(ledger).put("2026-11-01T00:00:00+00:00")
    tab.open("", "restored from a backup")
    tab.click("Unfreeze …")
    tab.click("Look first")
    tab.wait("Reconcile it first through voodoo_gone", "Connections that are gone for good")
    tab.type("dialog input[maxlength='2000']", "voodoo_gone")
    tab.click("Look first")
    tab.wait("it is frozen for this reason now")
    tab.click("Record for good")
    tab.wait("Recorded.")
    assert ledger.freeze_reason(wallet) is None
    tab.click("Close")


def test_a_task_that_buys_has_a_tab_with_its_purchase(tab: Tab, ledger: Ledger) -> None:
    if not tabs_of_operators():
        pytest.skip("this Airflow would show the tab on every task")
    tab.log_in("admin")
    headers = {"Authorization": f"Bearer {tab.tokens['admin']}"}
    run = {"dag_run_id": "first", "logical_date": None}
    answer = requests.post(f"{tab.url}/api/v2/dags/with_tabs/dagRuns", json=run, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    buy(
        ledger,
        "with_tabs/order/first",
        Step.DELIVERED,
        order_id="v-88",
        actor=Actor("with_tabs", "first", "order", -1, 1, "host"),
    )
    tab.go("/dags/with_tabs/runs/first/tasks/order", "Purchase")
    tab.click("Purchase", "a")
    tab.wait("with_tabs/order/first", "v-88", "delivered")
    tab.go("/dags/with_tabs/runs/first/tasks/other", "XCom")
    assert not tab.value("[...document.querySelectorAll('a')].some((link) => link.innerText.trim() === 'Purchase')")


def test_a_connection_made_in_the_form_passes_its_test_at_the_first_press(tab: Tab, box: Sandbox) -> None:
    tab.log_in("admin")
    tab.go("/connections", "Add Connection")
    tab.click("Add Connection")
    tab.type("[role=dialog] input[name=connection_id]", "made_in_the_form")
    tab.type("[role=dialog] [role=combobox]", "Voodoo")
    tab.key("Enter")
    shown = tab.wait("Most one order may cost")
    assert "start typing to see options" not in shown.lower()
    tab.type("[role=dialog] input[name=host]", box.url("voodoo"))
    tab.type("[role=dialog] input[name=password]", box.token("voodoo"))
    tab.type("[role=dialog] input[name=login]", "50.00")
    tab.click("Save")
    tab.wait("made_in_the_form", box.url("voodoo"))
    tab.run(tab._browser.wait("!document.querySelector('[role=dialog]')"))
    tab.click("Test Connection")
    shown = tab.wait("Test Connection ")
    assert "Test Connection Successful" in shown and "Voodoo: key accepted" in shown, shown
