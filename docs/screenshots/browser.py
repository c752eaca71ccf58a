"""Drives a Chromium without a window through its DevTools connection, as far as taking pictures takes.

Two rules: the browser has a profile of its own and deletes it at the end, and it loads this machine's Airflow only.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
#: the target of a click: the middle of the smallest visible element with a text or a label
_FIND = """
(() => {
  const wanted = %s;
  const says = (e) => [e.getAttribute("aria-label"), e.title, e.innerText].some((t) => (t || "").trim() === wanted);
  const seen = [...document.querySelectorAll(%s)].map((e) => [e, e.getBoundingClientRect()]);
  const fits = seen.filter(([e, box]) => box.width && box.height && says(e)).sort((a, b) => a[1].width - b[1].width);
  if (!fits.length) return null;
  fits[0][0].scrollIntoView({block: "center"});
  const box = fits[0][0].getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()
"""
#: the grey place-holders are gone, and texts have arrived in the user's language
_READY = """document.body.innerText.includes("Browse") && !document.querySelector("[class*=skeleton]")"""


class NoBrowser(RuntimeError):
    """This machine lacks a Chromium, or it did not start."""


class Browser:
    """One page of a browser; use it as ``async with Browser() as page``.

    :param width, height: of the page in pixels.
    """

    def __init__(self, width: int = 1440, height: int = 780):
        self.size = {"width": width, "height": height}
        self._number = 0

    async def __aenter__(self) -> Browser:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            raise NoBrowser(f"install one of {', '.join(NAMES)}")
        self._profile = Path(tempfile.mkdtemp(prefix="screenshots-"))
        options = ["--headless=new", "--remote-debugging-port=0", "--no-first-run", "--disable-gpu", "--hide-scrollbars"]
        options += ["--disable-dev-shm-usage", "--no-proxy-server", f"--user-data-dir={self._profile}"]
        options += ["--no-sandbox"] if os.geteuid() == 0 else []
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([program, *options, "about:blank"], start_new_session=True, **quiet)
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(await self._address(), max_msg_size=0)
        target = await self.call("Target.createTarget", {"url": "about:blank"}, page="")
        attached = await self.call("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True}, page="")
        self._page = attached["sessionId"]
        await self.resize()
        await self.call("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
        scheme = [{"name": "prefers-color-scheme", "value": "light"}, {"name": "prefers-reduced-motion", "value": "reduce"}]
        await self.call("Emulation.setEmulatedMedia", {"features": scheme})
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._session.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self._profile, ignore_errors=True)

    async def _address(self) -> str:
        """The address of the browser, from its profile."""
        file, deadline = self._profile / "DevToolsActivePort", time.monotonic() + 30
        while not file.exists() or file.read_text().count("\n") < 1:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoBrowser("the browser failed to start")
            await asyncio.sleep(0.1)
        port, path = file.read_text().split("\n")[:2]
        return f"ws://127.0.0.1:{port}{path}"

    async def call(self, method: str, params: dict[str, Any], page: str | None = None) -> dict[str, Any]:
        """One DevTools call; it skips the events in between."""
        self._number += 1
        number, session = self._number, self._page if page is None else page
        await self._socket.send_json(
            {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        )
        async for message in self._socket:
            answer = json.loads(message.data)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
        raise RuntimeError("the browser hung up")

    async def value(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = await self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True})
        return answer["result"].get("value")

    async def resize(self, height: int | None = None) -> None:
        """Another height of the page; None is the usual one."""
        size = {**self.size, "height": height or self.size["height"]}
        await self.call("Emulation.setDeviceMetricsOverride", {**size, "deviceScaleFactor": 1, "mobile": False})

    async def open(self, url: str, *texts: str, timeout: float = 60) -> None:
        """Go to a page and wait until it shows all the texts."""
        await self.call("Page.navigate", {"url": url})
        for text in texts:
            await self.wait(f"document.body && document.body.innerText.includes({json.dumps(text)})", timeout)
        await self.wait(_READY, timeout)

    async def wait(self, expression: str, timeout: float = 30) -> Any:
        """Wait until an expression is true in the page.

        :raises TimeoutError: with the text of the page.
        """
        deadline = time.monotonic() + timeout
        while not (value := await self.value(expression)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{expression} is still false; the page says: {await self.value('document.body.innerText')}")
            await asyncio.sleep(0.2)
        return value

    async def click(self, text: str, elements: str = "button, a, [role=tab], [role=option], input, label") -> None:
        """Click the element with this text or label, as a mouse does."""
        place = await self.wait(_FIND % (json.dumps(text), json.dumps(elements)))
        await self._mouse(place, place)

    async def drag(self, start: Sequence[float], end: Sequence[float]) -> None:
        """Drag from one place to another."""
        await self._mouse(start, end)

    async def _mouse(self, start: Sequence[float], end: Sequence[float]) -> None:
        middle = [(a + b) / 2 for a, b in zip(start, end, strict=True)]
        steps = [("mouseMoved", start, 0), ("mousePressed", start, 1), ("mouseMoved", middle, 1), ("mouseMoved", end, 1)]
        if [*start] == [*end]:
            steps = steps[:2]
        for kind, (x, y), buttons in [*steps, ("mouseReleased", end, 0)]:
            button = {"button": "left", "buttons": buttons, "clickCount": 1} if buttons or kind == "mouseReleased" else {}
            await self.call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **button})

    async def press(self, key: str) -> None:
        """Press a letter's key, as a shortcut."""
        for kind in ("keyDown", "keyUp"):
            code = {"code": f"Key{key.upper()}", "windowsVirtualKeyCode": ord(key.upper())}
            await self.call("Input.dispatchKeyEvent", {"type": kind, "key": key, "text": key, **code})

    async def shot(self, file: Path, settle: float = 1.5) -> None:
        """Save the page as PNG.

        :param settle: seconds for the last movements.
        """
        await asyncio.sleep(settle)
        answer = await self.call("Page.captureScreenshot", {"format": "png", "optimizeForSpeed": False})
        file.write_bytes(base64.b64decode(answer["data"]))
