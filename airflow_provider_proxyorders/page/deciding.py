"""Decisions of a person on the page.

Three rules. The page decides through the same function as the command line and the question. To decide, a user needs the right to
edit the connection; without the right to read it, the purchase is missing. Airflow's audit log has every decision and every
refused one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from airflow.models.log import Log
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.hooks import deciding
from airflow_provider_proxyorders.ledger import StaleClaim
from airflow_provider_proxyorders.page import shapes
from airflow_provider_proxyorders.page.calls import MISSING, ReadingDep, own_call, storable
from airflow_provider_proxyorders.page.reading import Reading
from airflow_provider_proxyorders.purchase.decision import Answer

#: Names of the events in Airflow's audit log.
DECIDED, UNFROZEN = "proxyorders.decide", "proxyorders.unfreeze"


class Decision(BaseModel):
    """What a person says about a purchase."""

    order_key: str = Field(max_length=500)
    word: Literal["adopt", "absent", "foreign", "give up"]
    order_id: str = Field("", max_length=200)
    note: str = Field("", max_length=500)

    def answer(self) -> Answer:
        """The decision for the ledger."""
        return Answer(self.word, order_id=self.order_id.strip(), note=self.note.strip())


class Unfreeze(BaseModel):
    """A person allows purchases from a wallet again."""

    wallet: str = Field(max_length=300)
    note: str = Field("", max_length=500)
    #: the reason that the person was shown
    why: str | None = Field(None, max_length=20_000)
    #: connections that are gone for good, after a restore
    gone: list[str] = Field([], max_length=100)


def add_routes(api: FastAPI) -> None:
    """Add the calls that look before a decision, and those that decide."""
    for path, route in (
        ("/api/decision/check", check),
        ("/api/decision", decide),
        ("/api/unfreeze/check", check_unfreeze),
        ("/api/unfreeze", unfreeze),
    ):
        api.post(path, dependencies=[Depends(own_call)])(route)


def check(reading: ReadingDep, body: Decision) -> dict[str, Any]:
    """Look at ledger, vendor and inbox; changes nothing.

    :raises HTTPException: the purchase is missing, or not the user's to decide.
    """
    purchase = _purchase(reading, body.order_key)
    assert reading.ledger is not None
    checked = deciding.check(reading.ledger, purchase.order_key, body.answer())
    return {
        "outcome": shapes.clean(checked.outcome),
        "seen": [shapes.clean(line) for line in checked.seen],
        "amount": shapes.money(purchase.price or purchase.reserved),
        "wallet": purchase.wallet,
    }


def decide(reading: ReadingDep, body: Decision) -> dict[str, Any]:
    """Check once more, and record the decision for good.

    :raises HTTPException: the purchase is missing, or not the user's to decide. Nothing was changed.
    """
    asked = body.model_dump(exclude_defaults=True)
    with _audited(reading, DECIDED, asked):
        order_key = _purchase(reading, body.order_key).order_key
        assert reading.ledger is not None
        person = deciding.person(reading.rights.name)
        purchase = deciding.decide(reading.ledger, order_key, body.answer(), person)
    return {"step": purchase.step.value, "order_id": shapes.clean(purchase.order_id)}


def check_unfreeze(reading: ReadingDep, body: Unfreeze) -> dict[str, Any]:
    """Look at a frozen wallet; changes nothing.

    :raises HTTPException: the wallet is missing, or not the user's to decide.
    """
    _require_wallet(reading, body.wallet)
    assert reading.ledger is not None
    frozen = deciding.check_unfreeze(reading.ledger, body.wallet, body.gone)
    return {"wallet": frozen.wallet, "why": shapes.clean(frozen.why), "since": shapes.moment(frozen.since)}


def unfreeze(reading: ReadingDep, body: Unfreeze) -> dict[str, Any]:
    """Allow purchases from a wallet again.

    :raises HTTPException: the wallet is missing, or not the user's to decide. Nothing was changed.
    """
    with _audited(reading, UNFROZEN, body.model_dump(exclude_defaults=True)):
        _require_wallet(reading, body.wallet)
        assert reading.ledger is not None
        why = deciding.check_unfreeze(reading.ledger, body.wallet, body.gone).why
        if body.why is not None and body.why != shapes.clean(why):
            raise HTTPException(409, "The wallet is frozen for another reason by now. Nothing was changed; look again.")
        person = deciding.person(reading.rights.name)
        deciding.unfreeze(reading.ledger, body.wallet, person, body.note.strip(), why=why, gone=body.gone)
    return {"wallet": body.wallet}


def _purchase(reading: Reading, order_key: str) -> Purchase:
    purchase = reading.find_under(storable(order_key))
    if purchase is None:
        raise HTTPException(404, MISSING)
    if not reading.rights.may_edit(purchase.conn_id):
        raise HTTPException(403, f"To decide, you need the right to edit connection {purchase.conn_id}. Nothing was changed.")
    return purchase


def _require_wallet(reading: Reading, name: str) -> None:
    wallet = next((each for each in reading.wallets() if each.wallet == name), None)
    if wallet is None:
        raise HTTPException(404, "The wallet is missing, or its connections are closed to you.")
    if not reading.may_unfreeze(wallet):
        raise HTTPException(403, f"To unfreeze {name}, you need the right to edit its connections. Nothing was changed.")


@contextmanager
def _audited(reading: Reading, event: str, asked: dict[str, Any]) -> Iterator[None]:
    """Write a decision into Airflow's audit log: first what is asked, so none is without a row; then how it ended."""
    _log(reading, event, asked)
    try:
        yield
    except HTTPException as error:
        _log(reading, f"{event}.refused", {**asked, "refused": error.detail})
        raise
    except StaleClaim as error:
        _log(reading, f"{event}.refused", {**asked, "refused": one_line(error)})
        raise HTTPException(409, f"{one_line(error)} Nothing was changed; look again.") from None
    except ProxyOrdersError as error:
        _log(reading, f"{event}.refused", {**asked, "refused": one_line(error)})
        raise
    except Exception as error:
        _log(reading, f"{event}.refused", {**asked, "refused": type(error).__name__})
        raise
    _log(reading, f"{event}.done", asked)


def _log(reading: Reading, event: str, extra: dict[str, Any]) -> None:
    name = reading.rights.name
    row = Log(event=event, task_instance=None, owner=name, owner_display_name=name, extra=dump_json(extra))
    with create_session() as session:
        session.add(row)
