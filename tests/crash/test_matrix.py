"""P1 never twice and P2 never lost, under SIGKILL: a bounded part of the crash matrix, and whether the matrix can fail at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.vendors import EXTENSIONS, ROWS

from . import report
from .cells import LOSSES, POINTS, REFUSED, Cell, bounded, core, product, unseen
from .verdict import End, Verdict, judge

#: So many cells take about a minute on two busy cores; the whole product takes an hour by command.
CELLS = {"sqlite": 56, "postgresql": 18}


def matrix(project: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, as a person runs it."""
    command = [sys.executable, "-m", "tests.crash.matrix", *arguments]
    return subprocess.Popen(command, cwd=project, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ)


def said(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate(timeout=280)[0]
    finally:
        process.terminate()  # it ends what it started


@pytest.mark.parametrize("database", CELLS)
def test_no_cell_buys_twice_or_loses_an_order(
    project: Path, tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    results = tmp_path / "results.jsonl"
    where = ["--ledger", request.getfixturevalue("postgres_url")] if database == "postgresql" else []
    run = matrix(project, "--bounded", str(CELLS[database]), "--results", str(results), *where)
    output = said(run)
    assert run.returncode == 0, output
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(rows) == len(bounded(CELLS[database], 1))
    assert all(row["bought"] == row["intended"] == 1 for row in rows)
    assert sum(row["duplicates"] + row["lost"] + len(row["wrong"]) for row in rows) == 0
    hit = {Cell.parse(row["cell"]).point for row in rows if row["kills"]}
    assert hit == set(POINTS), "a process was really killed at every moment"
    assert sum(row["faults"] for row in rows) > len(rows) / 2, "answers were really lost"
    assert "duplicates" in output and "| **all** " in output


#: A guard, and a cell that cannot do without it.
NEEDED = {
    "intent": "iproyal-create:worker:retry:taken:none:current",
    "evidence": "iproyal-extend:worker:retry:intent:reset-after:current",
    "fence": "proxyscrape-create:worker:frozen:intended:none:current",
    "once": "proxyscrape-create:worker:retry:result:502-after:current",
}


def test_the_matrix_fails_where_a_guard_is_missing(project: Path) -> None:
    intact = matrix(project, *[word for cell in NEEDED.values() for word in ("--only", cell)])
    runs = {guard: matrix(project, "--without", guard, "--only", cell) for guard, cell in NEEDED.items()}
    outputs = {guard: said(run) for guard, run in runs.items()}
    output = said(intact)
    assert intact.returncode == 0, output
    for guard, run in runs.items():
        assert run.returncode == 1, f"without {guard}: {outputs[guard]}"
        assert f"WRONG {NEEDED[guard]}: " in outputs[guard]
        assert "bought 2 times" in outputs[guard] or "1 lost" in outputs[guard]


def test_a_bounded_run_shows_every_value_of_the_matrix() -> None:
    most = CELLS["sqlite"]
    cells = bounded(most, 1)
    assert unseen(cells) == set() and most * 0.9 <= len(cells) <= most
    assert cells == bounded(most, 1) != bounded(most, 2)
    assert all(cell.gets_there for cell in cells)
    assert {cell.point for cell in bounded(CELLS["postgresql"], 1)} == set(POINTS)


def test_the_product_is_whole_and_every_cell_has_a_name() -> None:
    cells = product()
    vendors = ROWS.values()
    operations = len(vendors) + sum(row.vendor.webhook is not None for row in vendors) + len(EXTENSIONS)
    # operations, ways back, losses, kill points by wait and where reads lag
    assert len(LOSSES) == 1 + 1 + 14 * 2 + 8
    late = len(LOSSES) - len(REFUSED)
    cleared = len(REFUSED) * (3 + 3)  # a refusal with late reads is looked for again after a person cleared the task
    assert len(cells) == len(set(cells)) == operations * (4 * (len(LOSSES) * (10 + 11) + late * (3 + 3)) + cleared)
    assert len(core()) == operations * (len(LOSSES) * 10 + late * 3)
    assert all(Cell.parse(str(cell)) == cell for cell in cells)
    assert Cell.parse("iproyal-create:worker:retry:taken:none:current").reads == "current"
    with pytest.raises(ValueError, match="is no cell"):
        Cell.parse("iproyal-create:worker:retry:trigger:none")


# ---------------------------------------------------------------------------------------------- the judge

CELL = Cell("iproyal-create", "worker", "retry", "taken", "reset-after")
CHARGE = {"order_id": "7001", "kind": "create", "time": "2026-05-04T10:00:00+00:00"}
KNOWN = {"key": "k", "step": "delivered", "maybe_sent": False, "order_id": "7001", "price": "6", "why": "adopted"}
DONE = End("done", result={"order_id": "7001"})
PERSON = End("failed", final=True, error="Quarantined", text="A person has to decide", money="unknown")
UNTOUCHED = End("failed", error="NeverSent", text="Nothing was bought.", money="untouched", at="2026-05-04T10:00:01+00:00")


def judged(
    *,
    cell: Cell = CELL,
    charges: Sequence[Mapping[str, Any]] = (CHARGE,),
    known: Sequence[Mapping[str, Any]] = (KNOWN,),
    ends: Sequence[End] = (DONE,),
    frozen: str | None = None,
    subaccounts: Mapping[str, str] | None = None,
) -> Verdict:
    book = {"charges": charges, "subaccounts": subaccounts or {}, "faults": 1}
    return judge(cell, book, {"purchases": known, "frozen": frozen}, ends, kills=1, tries=2, seconds=1.0)


def test_a_good_cell() -> None:
    verdict = judged()
    assert (verdict.bought, verdict.duplicates, verdict.lost, verdict.finished, list(verdict.wrong)) == (1, 0, 0, True, [])


def test_a_second_purchase_is_a_duplicate_and_lost() -> None:
    verdict = judged(charges=[CHARGE, {**CHARGE, "order_id": "7002"}])
    assert (verdict.duplicates, verdict.lost) == (1, 1)
    assert "bought 2 times" in verdict.wrong


@pytest.mark.parametrize("step", ["intended", "rejected"])
def test_an_order_that_the_ledger_does_not_hold_is_lost(step: str) -> None:
    assert judged(known=[{**KNOWN, "step": step, "order_id": None}]).lost == 1
    assert judged(known=[]).lost == 1
    assert judged(known=[{**KNOWN, "order_id": "7002"}]).lost == 1


def test_an_open_purchase_is_not_lost() -> None:
    for step in ("sent", "unknown", "quarantined"):
        assert judged(known=[{**KNOWN, "step": step, "order_id": None}]).lost == 0
    assert judged(known=[{**KNOWN, "step": "intended", "maybe_sent": True, "order_id": None}]).lost == 0


def test_an_order_known_by_its_subaccount_is_not_lost() -> None:
    cell = replace(CELL, operation="proxyscrape-create")
    known = [{**KNOWN, "order_id": "subaccount:a1"}]
    done = [End("done", result={"order_id": "subaccount:a1"})]
    assert judged(cell=cell, known=known, ends=done, subaccounts={"a1": "7001"}).wrong == []
    assert judged(cell=cell, known=known, ends=done, subaccounts={"a1": "another"}).lost == 1


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ({"charges": [], "ends": [DONE]}, "nobody bought"),
        ({"charges": [], "known": [], "ends": [DONE]}, "succeeded and nothing was bought"),
        ({"ends": [DONE, End("done", result={"order_id": "7002"})]}, "different orders"),
        ({"frozen": "charged above the cap"}, "frozen"),
        ({"charges": [{**CHARGE, "kind": "extend"}]}, "another operation was charged"),
        ({"ends": [End("killed")]}, "did not finish"),
        ({"ends": [UNTOUCHED]}, "said when it was bought: Nothing was bought"),
        ({"ends": [PERSON], "known": [{**KNOWN, "step": "quarantined"}]}, "where the vendor leaves evidence"),
    ],
)
def test_what_must_not_be_is_named(case: dict[str, Any], says: str) -> None:
    assert any(says in wrong for wrong in judged(**case).wrong)


def test_a_person_may_be_asked_only_about_what_the_vendor_does_not_show() -> None:
    asked: dict[str, Any] = {"ends": [PERSON], "known": [{**KNOWN, "step": "quarantined", "order_id": None}]}
    lost_answer = replace(CELL, operation="voodoo-create")
    assert judged(cell=lost_answer, **asked).wrong == []
    assert judged(cell=lost_answer, **asked).quarantined == "adopted"
    assert judged(cell=lost_answer, charges=[], **asked).wrong != []
    assert judged(cell=replace(lost_answer, loss="reset-before"), **asked).wrong != []


# ---------------------------------------------------------------------------------------------- the page


def test_the_page_on_guarantees_is_up_to_date_and_its_numbers_are_good(project: Path) -> None:
    promised, mark, numbers = (project / "docs" / "guarantees.md").read_text().partition(report.NUMBERS)
    assert promised.rstrip() == report.promised().rstrip(), "make crash ARGS='--renew docs/guarantees.md'"
    assert mark and "make crash" in numbers
    for row in [line for line in numbers.splitlines() if line.startswith("| **all**")]:
        cells, _, intended, bought, duplicates, lost = [cell.strip() for cell in row.split("|")[2:8]]
        assert (intended, bought, duplicates, lost) == (cells, cells, "0", "0")
