"""A newcomer's way, timed: the wheel alone, ``airflow standalone``, the connection in the form, README's first DAG, the page.

The environment holds the wheel and borrows Airflow by path, as in ``tests/package/test_wheel.py``. The DAG is README's block as
it is. It begins paused, as Airflow's own default is.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import RestApi, RestError
from airflow_provider_proxyorders.testing.local_airflow.airflow import _clean_environment, _free_port, _settings
from airflow_provider_proxyorders.testing.local_airflow.process import Process
from docs.screenshots.browser import NAMES, Browser
from tests.house.blocks import blocks
from tests.package.test_wheel import installed, wheel

__all__ = ["installed", "wheel"]  # fixtures

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not any(map(shutil.which, NAMES)), reason="needs a Chromium, as in: apt-get install chromium"),
]


@pytest.fixture
def standalone(installed: Path, project: Path, tmp_path: Path) -> Iterator[str]:
    """The address of ``airflow standalone`` in the environment of the wheel, with README's first DAG."""
    (block,) = [block for block in blocks(project, "python") if block.page == "README.md"]
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / f"{block.dag_file}.py").write_text(block.text, encoding="utf-8")
    program = installed / "bin" / "airflow"  # ``standalone`` starts its parts by this name
    program.write_text(f"#!{installed / 'bin' / 'python'}\nfrom airflow.__main__ import main\nmain()\n")
    program.chmod(0o755)
    port = _free_port()
    env = {**_clean_environment(), **_settings(tmp_path, tmp_path / "dags", "sqlite", port)}
    env |= {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    env.pop("AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION")
    process = Process([str(program), "standalone"], env, tmp_path, tmp_path / "standalone.log")
    process.start()
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 200
        while not is_healthy(RestApi(url)):
            assert process.exit_code() is None and time.monotonic() < deadline, process.log.read_text()[-3000:]
            time.sleep(0.5)
        yield url
    finally:
        process.stop(grace=3)


def is_healthy(api: RestApi) -> bool:
    try:
        health = api.health()
    except RestError:
        return False
    return all((health.get(part) or {}).get("status") == "healthy" for part in ("scheduler", "dag_processor", "triggerer"))


async def connect(page: Browser, url: str, box: Sandbox) -> None:
    """Make the connection in the form, as a person does."""

    async def fill(selector: str, text: str) -> None:
        await page.wait(f"!!document.querySelector({json.dumps(selector)})")
        await page.value(f"document.querySelector({json.dumps(selector)}).focus()")
        await page.call("Input.insertText", {"text": text})

    await page.open(f"{url}/connections", "Add Connection")
    await page.click("Add Connection", "button")
    await fill("[role=dialog] input[name=connection_id]", "iproyal_default")
    await fill("[role=dialog] [role=combobox]", "IPRoyal")
    for kind in ("keyDown", "keyUp"):
        await page.call("Input.dispatchKeyEvent", {"type": kind, "key": "Enter", "code": "Enter"})
    await page.wait('document.body.innerText.includes("Most one order may cost")')
    await fill("[role=dialog] input[name=host]", box.url("iproyal"))
    await fill("[role=dialog] input[name=password]", box.token("iproyal"))
    await fill("[role=dialog] input[name=login]", "50.00")
    await page.click("Save", "button")
    await page.wait("!document.querySelector('[role=dialog]') && document.body.innerText.includes('iproyal_default')")


@pytest.mark.timeout(600)
def test_from_the_form_to_the_order_on_the_page(standalone: str, record_property: Any) -> None:
    began = time.monotonic()
    api = RestApi(standalone)

    async def way(box: Sandbox) -> None:
        async with Browser(1280, 900) as page:
            await connect(page, standalone, box)
            api.wake_tasks_api()
            run = api.trigger("buy_and_count")
            api.call("PATCH", "/dags/buy_and_count", {"is_paused": False})
            while (state := api.state("buy_and_count", run)) not in ("success", "failed"):
                assert time.monotonic() - began < 300, api.tasks("buy_and_count", run)
                await asyncio.sleep(0.5)
            assert state == "success"
            assert api.xcom("buy_and_count", run, "count", "return_value", -1) == 2
            await page.open(f"{standalone}/plugin/proxyorders?tab=purchases", "buy_and_count")

    with Sandbox.start(processing=1) as box:
        asyncio.run(way(box))
        (order,) = box.book.orders()
    assert (order.vendor, order.amount, order.request["quantity"]) == ("iproyal", "6.00", 2)
    record_property("seconds from the form to the order on the page", round(time.monotonic() - began))
