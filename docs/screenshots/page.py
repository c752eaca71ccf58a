"""The pictures of the page *Browse -> Proxy orders*: an API server, sandbox vendors, and a ledger of thirty days.

Two rules. The newest purchases and the lost answer are real ones at the sandbox; older ones go through the ledger with an older
clock. The pictures stay small.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow_provider_proxyorders.domain.model import Actor, Step
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from tests.page.conftest import buy
from tests.page.server import api_server, token
from tests.vendors import REQUESTS

from .browser import Browser

MOST_BYTES = 150_000
WIDTH, WIDE, HEIGHT, PHONE = 1040, 1420, 720, (390, 844)
#: The keys of today; the older purchases have those of earlier days.
TODAY = datetime.now(timezone.utc).date()
LOST = f"buy_and_scrape/order/{TODAY}"
#: An order id in the first field of the dialog, as React hears it.
_TYPED = """(() => {
  const field = document.querySelector("dialog input");
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, %s);
  field.dispatchEvent(new Event("input", { bubbles: true }));
})()"""
_BUY = """
import json, sys
from airflow_provider_proxyorders.domain.errors import OutcomeUnknown
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
try:
    ProxyOrdersHook(sys.argv[1]).create_order(json.loads(sys.argv[2]), order_key=sys.argv[3])
except OutcomeUnknown as error:
    print(error)
"""


async def pictures_of_the_page(home: Path, images: Path, say: Callable[[str], None]) -> None:
    """Take them."""
    home.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{home / 'ledger.db'}"
    with Sandbox.start(processing=0) as box:
        for vendor in ("proxyscrape", "voodoo"):
            box.control({"vendor": vendor, "wallet": {"balance": "120.00"}})
        env = {f"AIRFLOW_CONN_{vendor.upper()}_DEFAULT": _connection(box, vendor) for vendor in ("proxyscrape", "voodoo")}
        env |= {"AIRFLOW__PROXYORDERS__LEDGER_URL": url, "AIRFLOW_HOME": str(home / "airflow")}
        ledger = open_ledger(url)
        _month(ledger)
        _bought(env, "proxyscrape_default", f"keep_paid/order/{TODAY}/0")
        box.fault("voodoo", "create", when="after", action="reset", times=1)
        _bought(env, "voodoo_default", LOST)
        missing = f"5.00 USD are missing since {TODAY - timedelta(days=1)}, and no purchase explains them"
        ledger.freeze("proxyscrape:proxyscrape_default", missing)
        with api_server(home / "airflow", url, env) as address:
            await _pictures(address, box.book.orders("voodoo")[0].order_id, images, say)


def _connection(box: Sandbox, vendor: str) -> str:
    limits = {"max_order_price": "30.00", "daily_limit": "36.00", "monthly_limit": "400.00", "min_balance": "5.00"}
    extra = {**limits, "currency": "USD", "settle": 0.3, "timeout": 5}
    return json.dumps({"conn_type": vendor, "host": box.url(vendor), "password": box.token(vendor), "extra": extra})


def _bought(env: dict[str, str], conn_id: str, order_key: str) -> None:
    request = json.dumps(dict(REQUESTS[conn_id.partition("_")[0]]))
    subprocess.run([sys.executable, "-c", _BUY, conn_id, request, order_key], env={**os.environ, **env}, check=True, timeout=180)


def _month(ledger: Ledger) -> None:
    """A purchase on most days, and some orders that end soon."""
    now = datetime.now(timezone.utc)
    for ago in (27, 25, 24, 21, 20, 18, 17, 14, 12, 11, 9, 7, 6, 4, 3, 2, 1):
        moment = now - timedelta(days=ago)
        past = Ledger(ledger.engine, clock=lambda moment=moment: moment)  # type: ignore[misc]
        for number in range(1 + ago % 2):
            conn_id = ("voodoo_default", "proxyscrape_default")[(ago + number) % 2]
            more: dict[str, Any] = {"order_id": f"{7000 + 10 * ago + number}", "expires_at": moment + timedelta(days=30)}
            actor = Actor("keep_paid", f"scheduled__{moment:%Y-%m-%d}", "order", number, 1, "worker-1")
            buy(past, f"keep_paid/order/{moment:%Y-%m-%d}/{number}", Step.DELIVERED, conn_id=conn_id, actor=actor, **more)
    past = Ledger(ledger.engine, clock=lambda: now - timedelta(days=2))
    failed = f"scrape_shop/order/{TODAY - timedelta(days=2)}"
    buy(past, failed, Step.FAILED, vendor_status="blocked", reason="blocked; it was charged")


async def _pictures(address: str, order_id: str, images: Path, say: Callable[[str], None]) -> None:
    page = f"{address}/plugin/proxyorders"
    async with Browser(WIDTH, HEIGHT) as browser:
        await browser.call("Network.enable", {})
        cookie = {"name": "_token", "value": token(address, "admin"), "url": f"{address}/", "path": "/"}
        await browser.call("Network.setCookie", cookie)

        async def shot(name: str) -> None:
            file = images / f"page_{name}.png"
            await browser.shot(file)
            if file.stat().st_size > MOST_BYTES:
                raise RuntimeError(f"{file.name} has {file.stat().st_size} bytes, at most {MOST_BYTES} are wanted")
            say(f"{file.name}: {file.stat().st_size // 1000} kB")

        await browser.open(page, LOST)
        await shot("attention")
        await browser.click("It was taken …", "button")
        await browser.value(_TYPED % json.dumps(order_id))
        await browser.click("Look first", "button")
        await browser.wait("document.querySelector('dialog')?.innerText.includes('Record for good')")
        await shot("decision")
        await _scheme(browser, "dark")
        await browser.open(f"{page}?tab=wallets", "Runway")
        await shot("wallets")
        browser.size["width"] = WIDE
        await browser.resize()
        await browser.open(f"{page}?tab=purchases", "CSV of what is filtered", "keep_paid/order")
        await shot("purchases")
        await _scheme(browser, "light")
        browser.size = dict(zip(("width", "height"), PHONE, strict=True))
        await browser.resize()
        await browser.open(f"{page}?tab=wallets", "Runway")
        await shot("phone")


async def _scheme(browser: Browser, name: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": name}, {"name": "prefers-reduced-motion", "value": "reduce"}]
    await browser.call("Emulation.setEmulatedMedia", {"features": features})
