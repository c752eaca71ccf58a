"""Plays the scene of every guard without it: the oracle has to find what goes wrong then."""

from __future__ import annotations

from dataclasses import replace

from .guards import SCENES
from .oracle import Verdict
from .plan import BODIES, CALM, Plan, Task, draw


def scene(guard: str, seed: int, database: str | None = None, *, with_guard: bool = False) -> Plan:
    """A plan in which a guard is missed.

    :param database: the one to play it in, and ``with_guard``: leave it in place.
    """
    parts = SCENES[guard]
    drawn = draw(seed, joined=False, only=parts.vendor, database=database)
    limits = {"daily_limit": None, "min_balance": None, "targets": (), **parts.limits}
    wallet = replace(drawn.wallets[0], **limits)  # type: ignore[arg-type]
    body, price = BODIES[parts.vendor][0]
    dice = drawn.dice("scene")
    tasks = []
    for number in range(parts.keys):
        starts = tuple(dice.uniform(0, 0.6) for _ in range(parts.runs))
        conn_id = wallet.conns[number % len(wallet.conns)][0]
        answer = {"product_question_answers": {"5": f"for k{number}"}} if parts.answers else {}
        tasks.append(Task(f"k{number}", 0, conn_id, "create", {**body, **answer}, price, starts))
    storm = replace(CALM, spending=1.0 if parts.faults else 0.0, **parts.storm)
    return Plan(
        seed,
        drawn.database,
        max(4, drawn.workers),
        (wallet,),
        tuple(tasks),
        storm,
        faults=parts.faults,
        scene=guard,
        without="" if with_guard else guard,
    )


def missed(verdict: Verdict) -> bool:
    """Whether the oracle found one of the violations that the removed guard prevents."""
    return any(violation.kind in SCENES[verdict.without].kinds for violation in verdict.violations)
