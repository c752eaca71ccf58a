"""The routes of the page.

Three rules. Every route needs a log-in, and shows only purchases through connections that the user may read; any other one is
missing. A call that changes something needs JSON and a header of its own, which a form of another site cannot send. No route
buys or extends.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Literal

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from airflow_provider_proxyorders import __version__
from airflow_provider_proxyorders.doctor.examination import examine
from airflow_provider_proxyorders.domain.errors import LedgerError, ProxyOrdersError
from airflow_provider_proxyorders.domain.exact_json import dump_json, load_own_json
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger.listing import UNRESOLVED_STATE, Filters, ListedPurchase, Place, SortedBy
from airflow_provider_proxyorders.page import audit, deciding, overview, shapes, spreadsheet
from airflow_provider_proxyorders.page.calls import MISSING, ReadingDep, RightsDep, own_call, storable
from airflow_provider_proxyorders.page.one import describe
from airflow_provider_proxyorders.purchase.guarantees import sentences
from airflow_provider_proxyorders.vendors import vendor_names
from airflow_provider_proxyorders.vendors.registry import usable_vendors

log = logging.getLogger(__name__)

STATES = (UNRESOLVED_STATE, *(step.value for step in Step))
#: Pages of a DAG's purchases among which those of a task are looked for.
MOST_LOOKS = 25
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
Text = Annotated[str | None, Query(max_length=500)]
Name = Annotated[str, Query(max_length=500)]


class Doctor(BaseModel):
    """A run of the doctor."""

    conn_id: str = Field(max_length=250)


class Wanted:
    """The filters of a list, as the address of the call has them.

    :raises HTTPException: one of them is wrong.
    """

    def __init__(
        self,
        vendor: Text = None,
        wallet: Text = None,
        conn_id: Text = None,
        dag_id: Text = None,
        state: Text = None,
        kind: Literal["create", "extend"] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: Text = None,
        sort: SortedBy = "updated_at",
        ascending: bool = False,
    ):
        if state and state not in STATES:
            raise HTTPException(422, f"state must be one of {', '.join(STATES)}")
        named = {"vendor": vendor, "wallet": wallet, "conn_id": conn_id, "dag_id": dag_id, "state": state, "text": text}
        texts: dict[str, Any] = {name: storable(value) for name, value in named.items() if value}
        self._filters = Filters(kind=kind, since=_aware(since), until=_aware(until), **texts)
        self.text = self._filters.text
        self.sort, self.ascending = sort, ascending

    def filters(self, conn_ids: frozenset[str] | None) -> Filters:
        """The filters, within what a user may read."""
        return replace(self._filters, conn_ids=conn_ids)


WantedDep = Annotated[Wanted, Depends()]


def app() -> FastAPI:
    """The page's part of the API server."""
    api = FastAPI(title="Proxy orders page", docs_url=None, redoc_url=None, openapi_url=None)
    api.add_exception_handler(LedgerError, _unreachable)
    api.add_exception_handler(ProxyOrdersError, _refused)
    api.add_exception_handler(RequestValidationError, _unreadable)
    for path, route in (
        ("/api/start", start),
        ("/api/attention", attention),
        ("/api/wallets", wallets),
        ("/api/purchases", purchases),
        ("/api/purchases.csv", purchases_as_csv),
        ("/api/purchase", purchase),
        ("/api/task", of_task),
        ("/api/webhooks", webhooks),
        ("/api/guarantees", guarantees),
    ):
        api.get(path, dependencies=[Depends(_never_cached)])(route)
    api.post("/api/doctor", dependencies=[Depends(own_call)])(doctor)
    deciding.add_routes(api)
    api.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    return api


def _never_cached(response: Response) -> None:
    response.headers.update(_HEADERS)


def start(reading: ReadingDep) -> dict[str, Any]:
    """What the filters offer: names that the user may see."""
    wallets_of_user = reading.wallets()
    conn_ids: list[str] = []
    if reading.ledger is not None:
        conn_ids = sorted(reading.rights.allowed(reading.attention.conn_ids()))
    return {
        "version": __version__,
        "user": reading.rights.name,
        "used": reading.ledger is not None,
        "vendors": vendor_names(),
        "connections": sorted(
            {*conn_ids, *(conn_id for wallet in wallets_of_user for conn_id in reading.rights.allowed(wallet.conn_ids))}
        ),
        "wallets": [wallet.wallet for wallet in wallets_of_user],
        # the name of a DAG may tell of a connection that the user may not read
        "dags": reading.attention.dag_ids() if conn_ids and reading.conn_ids is None else [],
        "states": STATES,
    }


def attention(reading: ReadingDep) -> dict[str, Any]:
    """See :func:`overview.needs_attention`."""
    return overview.needs_attention(reading)


def wallets(reading: ReadingDep) -> list[dict[str, Any]]:
    """See :func:`overview.wallets`."""
    return overview.wallets(reading)


def purchases(
    reading: ReadingDep, wanted: WantedDep, after: Text = None, size: Annotated[int, Query(ge=1, le=200)] = 50
) -> dict[str, Any]:
    """A page of purchases, and the place of the next one."""
    if reading.ledger is None:
        return {"exact": [], "rows": [], "after": None}
    exact = reading.readable(reading.listing.exact(wanted.text, reading.conn_ids)) if wanted.text and not after else []
    page = reading.listing.page(
        wanted.filters(reading.conn_ids),
        sorted_by=wanted.sort,
        ascending=wanted.ascending,
        after=place_of(after),
        size=size,
    )
    return {
        "exact": [shapes.line(row) for row in exact],
        "rows": [shapes.line(row) for row in reading.readable(page.rows)],
        "after": written(page.after),
    }


def purchases_as_csv(reading: ReadingDep, wanted: WantedDep) -> StreamingResponse:
    """All purchases of a filter."""
    rows: Iterator[ListedPurchase] = iter(())
    if reading.ledger is not None:
        listed = reading.listing.every_row(wanted.filters(reading.conn_ids), sorted_by=wanted.sort, ascending=wanted.ascending)
        rows = filter(lambda row: reading.rights.may_read(row.conn_id), listed)
    first = list(islice(rows, 1))  # a ledger out of reach is an error of the call, and no empty file
    headers = {"Content-Disposition": 'attachment; filename="purchases.csv"', **_HEADERS}
    return StreamingResponse(spreadsheet.as_csv(chain(first, rows)), media_type="text/csv; charset=utf-8", headers=headers)


def purchase(reading: ReadingDep, order_key: Name) -> dict[str, Any]:
    """One purchase with its history."""
    purchase = reading.find_under(storable(order_key))
    if purchase is None:
        raise HTTPException(404, MISSING)
    return describe(reading, purchase)


def of_task(reading: ReadingDep, dag_id: Name, run_id: Name, task_id: Name, map_index: int = -1) -> list[dict[str, Any]]:
    """The purchases that a task instance intended."""
    if reading.ledger is None:
        return []
    of_instance = Filters(
        reading.conn_ids, dag_id=storable(dag_id), run_id=storable(run_id), task_id=storable(task_id), map_index=map_index
    )
    rows: list[ListedPurchase] = []
    place: Place | None = None
    for _ in range(MOST_LOOKS):
        page = reading.listing.page(of_instance, after=place, size=20)
        rows += reading.readable(page.rows)
        place = page.after
        if place is None or rows:
            break
    return [shapes.line(row) for row in rows]


def webhooks(reading: ReadingDep, before: Annotated[int | None, Query(ge=1)] = None) -> dict[str, Any]:
    """The newest webhooks, and the number before which older ones begin."""
    if reading.ledger is None:
        return {"rows": [], "before": None}
    page = reading.attention.newest_webhooks(before, most=100)
    older = page[-1].number if len(page) == 100 else None
    return {"rows": [shapes.webhook(row) for row in reading.readable(page)], "before": older}


def guarantees(_user: GetUserDep) -> list[dict[str, Any]]:
    """What is guaranteed at each vendor."""
    return [{"vendor": vendor.name, "title": vendor.title, "guarantees": sentences(vendor)} for vendor in usable_vendors()]


def doctor(rights: RightsDep, body: Doctor) -> dict[str, Any]:
    """Check a connection and the ledger; reads only.

    :raises HTTPException: the user may not read the connection.
    """
    if not rights.may_read(body.conn_id):
        raise HTTPException(404, "The connection is missing, or closed to you.")
    report = examine(body.conn_id, brief=True, may_name=rights.may_read)
    if not rights.may_edit(body.conn_id):  # the ledger's address is for those who keep it
        for check in report["checks"]:
            if check["name"] == "ledger":
                check |= {"text": f"the ledger is {check['state']}", "advice": ""}
    return report


def written(place: Place | None) -> str | None:
    """A place as text for an address."""
    if place is None:
        return None
    return base64.urlsafe_b64encode(dump_json([place.value, place.order_key]).encode()).decode()


def place_of(text: str | None) -> Place | None:
    """The inverse of :func:`written`.

    :raises HTTPException: the text is no place.
    """
    if not text:
        return None
    try:
        value, order_key = load_own_json(base64.urlsafe_b64decode(text.encode()).decode())
        return Place(storable(str(value)), storable(str(order_key)))
    except (ValueError, binascii.Error, TypeError):
        raise HTTPException(422, "'after' must be the value of the page before") from None


def _aware(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=timezone.utc) if value is not None and value.tzinfo is None else value


async def _unreachable(_request: Request, error: Exception) -> JSONResponse:
    """The ledger cannot be used. The message has no password, but it names a host, so the log alone has it."""
    log.warning("The ledger is out of the page's reach: %s", error)
    text = "The ledger is out of reach at present. Nothing was changed. The log of the API server says why; the doctor advises."
    return JSONResponse({"detail": text}, 503, headers=_HEADERS)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": shapes.clean(str(error))}, 409, headers=_HEADERS)


async def _unreadable(_request: Request, error: Exception) -> JSONResponse:
    """A value that breaks a rule."""
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": audit.rules(error)}, 422, headers=_HEADERS)
