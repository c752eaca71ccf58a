"""``python -m docs.screenshots [--page] [--keep]``: takes the pictures of the page, and runs the example DAGs for theirs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow

from .browser import Browser, NoBrowser
from .page import pictures_of_the_page
from .story import ALERT, ENVIRONMENT, REFILL, RENEWAL, Story, connections

PROJECT = Path(__file__).resolve().parents[2]
IMAGES = PROJECT / "docs" / "images"
#: so that the pages of the documentation stay light
MOST_BYTES = 300_000
#: the form of a connection is long; in pixels
CONNECTION_HEIGHT = 1250
#: the edge that makes the grid wider
GRID_EDGE = """
(() => {
  const edge = document.querySelector("[data-resize-handle], [data-panel-resize-handle-id]")?.getBoundingClientRect();
  return edge && [edge.x + edge.width / 2, edge.y + edge.height * 0.75];
})()
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.screenshots", description="Write the pictures of the documentation.")
    parser.add_argument("--keep", action="store_true", help="keep Airflow up afterwards, until Ctrl-C")
    parser.add_argument("--page", action="store_true", help="take the pictures of the page alone")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="proxyorders-pictures-"))
    try:
        asyncio.run(pictures_of_the_page(home / "page", IMAGES, say))
        if options.page:
            return 0
        with Sandbox.start(processing=2.0) as box:
            dags, wallets = PROJECT / "dags", connections(box)
            with LocalAirflow(home, dags_folder=dags, connections=wallets, env=ENVIRONMENT, say=say) as airflow:
                asyncio.run(pictures(airflow, Story(airflow, box)))
                if options.keep:
                    say(f"Airflow stays up: {airflow.url} without a log-in. Ctrl-C ends it.")
                    with contextlib.suppress(KeyboardInterrupt):
                        time.sleep(86400)
    except NoBrowser as error:
        say(f"no pictures: {error}")
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return 0


async def pictures(airflow: LocalAirflow, story: Story) -> None:
    """Tell the story and take the pictures on the way."""
    IMAGES.mkdir(exist_ok=True)
    async with Browser() as page:

        async def shot(name: str, path: str, *texts: str) -> None:
            await page.open(airflow.url + path, *texts)
            await save(name)

        async def save(name: str) -> None:
            file = IMAGES / f"{name}.png"
            await page.shot(file)
            if file.stat().st_size > MOST_BYTES:
                raise RuntimeError(f"{file.name} has {file.stat().st_size} bytes, at most {MOST_BYTES} are wanted")
            say(f"{file.name}: {file.stat().st_size // 1000} kB")

        await page.open(f"{airflow.url}/connections", "iproyal_default")
        await page.click("Edit Connection")
        await page.wait("document.body.innerText.includes('Base URL')")
        await page.resize(CONNECTION_HEIGHT)
        await page.click("Extra Fields")
        await save("connection_form")
        await page.resize()

        story.orders_that_end()
        for within in ("P3D", "P3D", "P5D"):
            story.renewed(within=within, approve_above=None)
        asking = story.renewal_that_asks()
        renewal = _run(RENEWAL, asking)
        await page.open(airflow.url + renewal, "approve")
        x, y = await page.wait(GRID_EDGE)
        await asyncio.sleep(1)
        await page.drag((x, y), (x + 90, y))
        await asyncio.sleep(1)  # the page remembers it a moment later
        await shot("renewal_approval", f"{renewal}/tasks/approve/required_actions", "Approve")
        await page.click("Approve")
        story.ended(RENEWAL, asking)
        await shot("renewal_grid", renewal, "report")
        await shot("renewal_mapped", f"{renewal}/tasks/extend/mapped", "extend")
        await shot("order_link", f"{renewal}/tasks/extend/mapped/0/details", "Extra Links")

        story.orders_told_by_webhook()
        await shot("webhook_event", f"/assets/{_asset(airflow, 'proxyorders-finished')}", "order_finished", "Triggered Dag Run")

        story.more_orders()
        checked = story.wallet_runs_low()
        await page.open(f"{airflow.url}{_run(ALERT, checked)}/tasks/check", "ALERT")
        await page.press("w")  # wrap long lines
        await save("wallet_alert")
        refill = story.wallet_is_filled()
        await shot("wallet_event", f"/assets/{_asset(airflow, 'proxyorders-wallet-low')}", REFILL, "Triggered Dag Run")
        await shot("refill_run", _run(REFILL, refill), "topped_up")


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/runs/{quote(run_id, safe='')}"


def _asset(airflow: LocalAirflow, name: str) -> int:
    assets = airflow.api.call("GET", "/assets", name_pattern=name)["assets"]
    return next(int(asset["id"]) for asset in assets if asset["name"] == name)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
