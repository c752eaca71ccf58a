"""Seeded random runs: every promise kept by 120 seeds, a seed replays to the letter, and a guard that is missing is noticed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, or_, true, update

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import evidence, spending, turns, writes
from airflow_provider_proxyorders.ledger.schema import purchases
from airflow_provider_proxyorders.purchase import sending
from airflow_provider_proxyorders.purchase.refusals import Refusals
from airflow_provider_proxyorders.purchase.tracker import OrderTracker

from .books import Books
from .campaign import CHUNK, State, campaign, summary
from .run import run
from .scenario import kind_of


def command(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The campaign command, as a person runs it."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_120_seeds_keep_every_promise(project: Path, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    done = command(project, "--seeds", "120", "--jobs", "2", "--state", str(path))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    stats = State.load(path).stats
    assert {f"seeds, {kind}" for kind in ("plain", "late", "clocks", "foreign")} <= set(stats)
    assert stats["seeds, plain"] >= 80
    # They went through what they are for.
    assert stats["killed"] > 200 and stats["frozen"] > 80 and stats["tries"] > 500
    assert stats["bought"] > 170 and stats["quarantined"] > 5 and stats["compared"] > 80


@pytest.mark.parametrize("seed", [8, 28])
def test_a_seed_replays_to_the_letter(project: Path, seed: int) -> None:
    """Also in another process, where text hashes otherwise."""
    shown = [command(project, "--replay", str(seed), "-v", PYTHONHASHSEED=salt).stdout for salt in ("1", "2")]
    assert shown[0] == shown[1]
    assert shown[0].splitlines()[:-1] == run(seed).log
    assert re.search(r"^\d:\d\d:\d\d\.\d{3}  \w+ +ledger claim: ", shown[0], re.MULTILINE)


def test_a_campaign_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    path, said = tmp_path / "state.json", list[str]()
    whole = campaign(State(1, 2 * CHUNK), jobs=1, say=said.append)
    assert re.fullmatch(rf"{2 * CHUNK} of {2 * CHUNK} seeds, 0 broken, [\d.]+ a second, 0:00 to go", said[-1])
    State(1, 2 * CHUNK, done=[(1, 1 + CHUNK)]).save(path)
    rest = campaign(State.load(path), jobs=1, path=path, say=said.append)
    first = campaign(State(1, CHUNK), jobs=1, say=said.append)
    assert State.load(path) == rest and rest.finished == 2 * CHUNK
    assert rest.stats + first.stats == whole.stats
    assert f"{2 * CHUNK} seeds in" in summary(rest) and list(rest.chunks()) == []


# -- what the checker notices ------------------------------------------------------------------------------------------

Remove = Callable[[pytest.MonkeyPatch], None]


def without_fence(patch: pytest.MonkeyPatch) -> None:
    """Any worker may write any step, whatever others did since."""
    any_state = or_(true(), purchases.c.step == bindparam("_step"), purchases.c.fence == bindparam("_fence"))
    changed = update(purchases).where(purchases.c.order_key == bindparam("_key"), any_state).returning(purchases)
    patch.setattr(writes, "_UPDATE_IF_UNCHANGED", changed)


def without_turns(patch: pytest.MonkeyPatch) -> None:
    """Purchases whose evidence can be mixed up go out side by side."""
    patch.setattr(evidence, "check_alone", lambda *_: None)
    patch.setattr(turns, "take", lambda *_: None)


def without_settling(patch: pytest.MonkeyPatch) -> None:
    """Two looks without a pause prove that nothing was bought."""
    patch.setattr(OrderTracker, "settle_time", property(lambda self: 0.0))


def without_owners(patch: pytest.MonkeyPatch) -> None:
    """What others bought can be taken for what is looked for."""
    patch.setattr(Books, "owned_by_another", lambda *_, **__: False)


def without_limits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(spending, "check", lambda *_, **__: None)


def without_doubt(patch: pytest.MonkeyPatch) -> None:
    """A lost answer counts as a refusal, and a refusal is believed, as most clients have it."""

    def believe(refusals: Refusals, attempt: Any, claimed: Any, error: Any) -> Any:
        refusals.ledger.record(claimed, Step.REJECTED, str(error), refusals.tracker.actor)
        raise error

    patch.setattr(sending, "PROOFS", (*sending.PROOFS, OutcomeUnknown))
    patch.setattr(Refusals, "judge", believe)


@pytest.mark.parametrize(
    ("remove", "noticed"),
    [
        (without_fence, r"bought twice|adopted another|lost|taken unseen|history"),
        (without_turns, r"adopted another|asked without need|lost|counted wrong"),
        (without_settling, r"lost|bought twice|taken unseen|asked without need"),
        (without_owners, r"adopted another|false alarm|asked without need"),
        (without_limits, r"daily_limit|monthly_limit"),
        (without_doubt, r"lost|bought twice|taken unseen"),
    ],
)
def test_a_missing_guard_is_noticed(monkeypatch: pytest.MonkeyPatch, remove: Remove, noticed: str) -> None:
    remove(monkeypatch)
    found: Any = None
    for seed in (seed for seed in range(1, 1000) if kind_of(seed) == "plain"):
        result = run(seed)
        if result.failures:
            monkeypatch.undo()
            if not run(seed).failures:  # with the guard this seed keeps every promise
                found = result.failures[0]
                break
            remove(monkeypatch)
    assert found is not None and re.match(noticed, found), found
