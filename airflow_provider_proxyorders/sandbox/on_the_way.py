"""What a fault does to a request on its way: it is held back, dropped, cut short, or answered by another."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Mapping

from aiohttp import web  # noqa: TID253 - a server, imported by no DAG

from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.sandbox.vendor_base import Answer

_LOOK = 0.01
_DEFAULT_SECONDS: Mapping[str, float] = {"delay": 1.0, "hang": 60.0, "pause": 300.0}
_FIREWALL = "<html><head><title>Just a moment...</title></head><body>Checking your browser.</body></html>"


async def act(rule: Rule, request: web.BaseRequest, answer: Answer | None) -> web.StreamResponse | None:
    """Let the fault happen.

    :param answer: what the vendor would have said, None before it worked on the request.
    :returns: None when the request goes on, else what ends it.
    """
    seconds = _DEFAULT_SECONDS.get(rule.action, 0.0) if rule.seconds is None else rule.seconds
    if rule.action in ("delay", "pause"):
        await _until(lambda: rule.over, seconds)
        return None
    if rule.action == "hang":
        await _until(lambda: rule.over or gone(request), seconds)
        return drop(request)
    if rule.action in ("reset", "close"):
        return drop(request, reset=rule.action == "reset")
    if rule.action in ("truncate", "cut"):
        return _shortened(rule, request, answer or Answer(text='{"success": true, "data": "', media="application/json"))
    status = rule.status or (503 if rule.action == "status" else 200)
    body = "" if rule.action == "empty" else rule.body or (_FIREWALL if rule.action == "html" else "")
    headers = {"Content-Type": _guess(body), **rule.headers}
    return web.Response(status=status, body=body.encode(), headers=headers)


def gone(request: web.BaseRequest) -> bool:
    """Whether the buyer has hung up."""
    return request.transport is None or request.transport.is_closing()


def drop(request: web.BaseRequest, *, reset: bool = False) -> web.StreamResponse:
    """Close the connection without an answer, after what was written already.

    :param reset: let the buyer's system see a TCP RST instead of an orderly end.
    :returns: a response that goes nowhere, since the server wants one.
    """
    transport = request.transport
    if transport is not None:
        if reset:
            with contextlib.suppress(OSError):  # the buyer may have hung up first
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
    return web.Response()


def _shortened(rule: Rule, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Less of an answer than there was: with its length, so that everybody sees it, or without, so that nobody does."""
    whole = answer.body if rule.body is None else rule.body.encode()
    if request.transport is not None:
        version, announced = "HTTP/1.0", "Connection: close"
        if rule.action == "truncate":
            version, announced = "HTTP/1.1", f"Content-Length: {max(len(whole), 2)}"
        status, keep = rule.status or answer.status, max(len(whole), 2) // 2 if rule.keep is None else rule.keep
        head = f"{version} {status} Sandbox\r\nContent-Type: {answer.content_type}\r\n{announced}\r\n\r\n"
        request.transport.write(head.encode() + whole[:keep])
    return drop(request)


async def _until(done: Callable[[], bool], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not done() and (left := end - loop.time()) > 0:
        await asyncio.sleep(min(_LOOK, left))


def _guess(body: str) -> str:
    start = body.lstrip()[:1]
    if start == "<":
        return "text/html; charset=utf-8"
    return "application/json" if start in ("{", "[", '"') else "text/plain; charset=utf-8"
