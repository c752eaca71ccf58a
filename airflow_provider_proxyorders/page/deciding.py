"""Decisions of a person on the page.

Three rules. The page decides through the same function as the command line and the question. To decide, a user needs the right to
edit the connection; without the right to read it, the purchase is missing. Airflow's audit log has every decision and every
refused one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.hooks import deciding
from airflow_provider_proxyorders.page import audit, overview, shapes
from airflow_provider_proxyorders.page.calls import MISSING, ReadingDep, own_call, storable
from airflow_provider_proxyorders.page.reading import Reading
from airflow_provider_proxyorders.purchase.decision import Answer
from airflow_provider_proxyorders.purchase.resolving import OrderTaken

#: The events in Airflow's audit log.
_decided, _unfrozen = audit.of_event("proxyorders.decide"), audit.of_event("proxyorders.unfreeze")
Asked = TypeVar("Asked", bound=BaseModel)


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


def _body_of(model: type[Asked]) -> Callable[[Request], Any]:
    """Reads the body of a call after its log-in and header. So the audit log has a broken one, too."""

    async def body(request: Request) -> Asked:
        try:
            return model.model_validate_json(await request.body())
        except ValidationError as error:
            rules = error.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError([{**rule, "loc": ("body", *rule["loc"])} for rule in rules]) from None

    return body


DecisionDep = Annotated[Decision, Depends(_body_of(Decision))]
UnfreezeDep = Annotated[Unfreeze, Depends(_body_of(Unfreeze))]
DecidedDep = Annotated[audit.Audit, Depends(_decided)]
UnfrozenDep = Annotated[audit.Audit, Depends(_unfrozen)]


def add_routes(api: FastAPI) -> None:
    """Add the calls that look before a decision, and those that decide."""
    own = Depends(own_call)
    api.post("/api/decision/check", dependencies=[own])(check)
    api.post("/api/decision", dependencies=[Depends(_decided), own])(decide)
    api.post("/api/unfreeze/check", dependencies=[own])(check_unfreeze)
    api.post("/api/unfreeze", dependencies=[Depends(_unfrozen), own])(unfreeze)


def check(body: DecisionDep, reading: ReadingDep) -> dict[str, Any]:
    """Look at ledger, vendor and inbox; changes nothing.

    :raises HTTPException: the purchase is missing, or not the user's to decide.
    """
    purchase = _purchase(reading, body.order_key)
    assert reading.ledger is not None
    with _without_keys_of_others(reading):
        checked = deciding.check(reading.ledger, purchase.order_key, body.answer())
    return {
        "outcome": shapes.clean(checked.outcome),
        "seen": [shapes.clean(line) for line in checked.seen],
        "amount": shapes.money(purchase.price or purchase.reserved),
        "wallet": purchase.wallet,
    }


def decide(audited: DecidedDep, body: DecisionDep, reading: ReadingDep) -> dict[str, Any]:
    """Check once more, and record the decision for good.

    :raises HTTPException: the purchase is missing, or not the user's to decide. Nothing was changed.
    """
    with audited.whole(body.model_dump(exclude_defaults=True)), _without_keys_of_others(reading):
        order_key = _purchase(reading, body.order_key).order_key
        assert reading.ledger is not None
        person = deciding.person(reading.rights.name)
        purchase = deciding.decide(reading.ledger, order_key, body.answer(), person)
    return {"step": purchase.step.value, "order_id": shapes.clean(purchase.order_id)}


def check_unfreeze(body: UnfreezeDep, reading: ReadingDep) -> dict[str, Any]:
    """Look at a frozen wallet; changes nothing.

    :raises HTTPException: the wallet is missing, or not the user's to decide.
    """
    _require_wallet(reading, body.wallet)
    assert reading.ledger is not None
    frozen = deciding.check_unfreeze(reading.ledger, body.wallet, body.gone)
    shown = {"wallet": frozen.wallet, "why": shapes.clean(frozen.why), "since": shapes.moment(frozen.since)}
    return {**shown, **overview.stake(reading, frozen.wallet)}


def unfreeze(audited: UnfrozenDep, body: UnfreezeDep, reading: ReadingDep) -> dict[str, Any]:
    """Allow purchases from a wallet again.

    :raises HTTPException: the wallet is missing, or not the user's to decide. Nothing was changed.
    """
    with audited.whole(body.model_dump(exclude_defaults=True)):
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
def _without_keys_of_others(reading: Reading) -> Iterator[None]:
    """Leave out the key of a purchase outside of the user's rights."""
    try:
        yield
    except OrderTaken as error:
        raise (error if reading.find(error.owner) is not None else error.unnamed()) from None
