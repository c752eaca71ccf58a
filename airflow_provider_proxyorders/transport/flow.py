"""Drives a vendor's flow: ``run`` in workers, ``arun`` in the triggerer.

One rule: a spending request needs a permit, and the async driver has none; the triggerer therefore cannot spend.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_proxyorders.domain.errors import SpendRefused, VendorUnavailable
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

if TYPE_CHECKING:
    pass


T = TypeVar("T")


#: Called right before a spending request leaves; raises to stop it.
Permit = Callable[[Request], None]


def run(flow: Flow[T], send: Callable[[Request], Response], permit: Permit | None = None) -> T:
    """Drive a flow to its result.

    :param send: sends one request; for a spending one it must not try twice.
    :param permit: without it a spending request is refused, unsent.
    """
    try:
        request = next(flow)
        while True:
            try:
                response = _allowed(request, permit, send)
            except VendorUnavailable as error:
                request = flow.throw(error)
            else:
                request = flow.send(response)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        flow.close()


async def arun(flow: Flow[T], send: Callable[[Request], Awaitable[Response]]) -> T:
    """Drive a flow that only reads; a spending request is refused, unsent. There is no permit on this side."""
    try:
        request = next(flow)
        while True:
            if request.spends:
                raise _refused(request)
            try:
                response = await send(request)
            except VendorUnavailable as error:
                request = flow.throw(error)
            else:
                request = flow.send(response)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        flow.close()


def _allowed(request: Request, permit: Permit | None, send: Callable[[Request], Response]) -> Response:
    if request.spends:
        if permit is None:
            raise _refused(request)
        permit(request)
    return send(request)


def _refused(request: Request) -> SpendRefused:
    what = request.name or request.path
    return SpendRefused(f"{what} would move money, and only an operator in a worker may. Nothing was sent.")
