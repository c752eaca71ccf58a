"""Judges one cell by the vendor's book and the ledger.

Two rules: what was bought is what the vendor charged, whatever anybody else says; and an order counts as lost when the
vendor took it and the ledger neither holds it under its id nor shows the purchase as one whose outcome nobody knows (sent,
unknown, quarantined, or standing to be sent again after an answer that was lost).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_proxyorders.domain.model import TAKEN, UNRESOLVED, Step
from tests.vendors import ROWS

from .cells import OPERATIONS, Cell


def finishes_alone(operation: str, vendor: str, kind: str) -> bool:
    """Whether the vendor's evidence decides every lost answer of an operation."""
    capabilities = ROWS[vendor].vendor.capabilities
    if kind == "extend":
        return capabilities.extend_evidence == "order"
    return capabilities.create_evidence in ("search", "order") or operation.endswith("-webhook")


#: Operations that finish without a person, whatever happens, since the vendor leaves evidence.
ALWAYS = tuple(name for name, (vendor, kind) in OPERATIONS.items() if finishes_alone(name, vendor, kind))


@dataclass(frozen=True)
class End:
    """How a task instance ended.

    :param kind: ``done``, ``failed`` or ``killed`` (with no try left).
    :param final: whether the retry policy said that no retry can help.
    :param delay: seconds that Airflow waits before the next try.
    :param at: ISO time at which a failure was told.
    """

    kind: str
    result: Mapping[str, Any] | None = None
    final: bool = False
    error: str = ""
    text: str = ""
    money: str | None = None
    delay: float = 15.0
    at: str = ""


@dataclass(frozen=True)
class Verdict:
    """What came of one cell.

    :param intended: purchases that the ledger knows of; every cell means one.
    :param bought: purchases that the vendor charged.
    :param duplicates: those beyond the first.
    :param lost: those that the ledger does not know, see above.
    :param finished: every run of the task ended with the order, no person asked.
    :param quarantined: why a person is asked, empty where none is.
    :param wrong: everything that must not be; empty in a good cell.
    """

    cell: str
    kills: int
    tries: int
    faults: int
    intended: int
    bought: int
    duplicates: int
    lost: int
    finished: bool
    quarantined: str = ""
    seconds: float = 0.0
    wrong: Sequence[str] = field(default_factory=tuple)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "wrong": list(self.wrong)}


def _not_once(cell: Cell, book: Mapping[str, Any], purchases: Sequence[Mapping[str, Any]], lost: int) -> Iterator[str]:
    """Every difference from one purchase, charged once as requested."""
    charges = book["charges"]
    for purchase in purchases:
        if Step(purchase["step"]) in TAKEN and not any(_is(purchase, charge, book["subaccounts"]) for charge in charges):
            yield f"the ledger holds {purchase['order_id']}, which nobody bought"
    if any(charge["kind"] != cell.kind for charge in charges):
        yield "another operation was charged than the task asked for"
    if len(charges) > 1:
        yield f"bought {len(charges)} times"
    if lost:
        yield f"{lost} lost"
    if len(purchases) != 1:
        yield f"{len(purchases)} purchases in the ledger, one was meant"


def judge(
    cell: Cell,
    book: Mapping[str, Any],
    ledger: Mapping[str, Any],
    ends: Sequence[End],
    thawed: End | None = None,
    *,
    kills: int,
    tries: int,
    seconds: float,
) -> Verdict:
    """Count one cell.

    :param book: ``charges`` (the book's entries), ``subaccounts`` (sub-account id -> order id) and ``faults`` (hits).
    :param ledger: ``purchases`` of the cell's wallet, and why it is ``frozen``.
    :param ends: of the task's runs.
    :param thawed: what came of a process that was frozen and given up, and went on at the end.
    """
    charges: list[Mapping[str, Any]] = list(book["charges"])
    purchases: list[Mapping[str, Any]] = list(ledger["purchases"])
    quarantined = [purchase for purchase in purchases if purchase["step"] == Step.QUARANTINED.value]
    lost = sum(not _accounted(charge, purchases, book["subaccounts"]) for charge in charges)
    wrong = [
        *_not_once(cell, book, purchases, lost),
        *([f"the wallet is frozen: {ledger['frozen']}"] if ledger["frozen"] else []),
    ]

    finished = all(end.kind == "done" for end in ends)
    ids = {str(end.result["order_id"]) for end in (*ends, thawed) if end is not None and end.result is not None}
    if len(ids) > 1:
        wrong.append(f"the task's runs handed on different orders: {', '.join(sorted(ids))}")
    if finished and (not charges or not ids):
        wrong.append("the task succeeded and nothing was bought")
    first = min((str(charge["time"]) for charge in charges), default="9")
    wrong += [f"said when it was bought: {end.text}" for end in ends if end.money == "untouched" and end.at > first]
    asked = "; ".join(str(purchase["why"]) for purchase in quarantined)
    if not finished and thawed is not None and any(end.error == "Quarantined" for end in ends) and not quarantined:
        asked = "a person was asked; then the frozen worker's late answer settled it"
    wrong += _not_finished(cell, finished, bool(charges), asked, ends)
    return Verdict(
        cell=str(cell),
        kills=kills,
        tries=tries,
        faults=book["faults"],
        intended=len(purchases),
        bought=len(charges),
        duplicates=max(0, len(charges) - 1),
        lost=lost,
        finished=finished,
        quarantined=asked,
        seconds=round(seconds, 2),
        wrong=wrong,
    )


def _not_finished(cell: Cell, finished: bool, landed: bool, asked: str, ends: Sequence[End]) -> list[str]:
    """What is wrong about a cell that needs a person, or that a further try would be needed for."""
    if finished:
        return []
    errors = "; ".join(f"{end.kind} {end.error} {end.text}".strip() for end in ends if end.kind != "done")
    if not asked:
        return [f"it did not finish, and no person was asked: {errors}"]
    if cell.operation in ALWAYS:
        return [f"a person was asked where the vendor leaves evidence: {errors}"]
    if not landed or not cell.landed_unanswered:
        return [f"a person was asked about an order whose answer was not lost: {errors}"]
    if any(end.kind == "done" for end in ends):
        return [f"one run of the task finished and another did not: {errors}"]
    return []


def _is(purchase: Mapping[str, Any], charge: Mapping[str, Any], subaccounts: Mapping[str, str]) -> bool:
    """Whether a purchase in the ledger is a charge in the book; an order may be known by the sub-account it opened."""
    order_id = str(purchase["order_id"])
    return charge["order_id"] in (order_id, subaccounts.get(order_id.removeprefix("subaccount:")))


def _accounted(charge: Mapping[str, Any], purchases: Sequence[Mapping[str, Any]], subaccounts: Mapping[str, str]) -> bool:
    return any(
        _in_doubt(purchase) or (Step(purchase["step"]) in TAKEN and _is(purchase, charge, subaccounts)) for purchase in purchases
    )


def _in_doubt(purchase: Mapping[str, Any]) -> bool:
    """What ``proxyorders ledger list --unresolved`` shows; see :attr:`Purchase.unresolved`."""
    step = Step(purchase["step"])
    return step in UNRESOLVED or (purchase["maybe_sent"] and step not in TAKEN)
