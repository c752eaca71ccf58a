"""``python -m docs.life``: writes the life of a purchase into docs/architecture.md, as a Mermaid state diagram.

Two rules: the arrows come from ``LIFE`` in ``domain/model.py`` and from there only; every arrow has a reason here, and a reason
without an arrow is an error. A test compares the page with what this module makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from airflow_provider_proxyorders.domain.model import LIFE, TAKEN, Step

PAGE = Path(__file__).resolve().parent / "architecture.md"
BEGIN, END = "<!-- life: made by python -m docs.life -->", "<!-- end of life -->"
#: The steps in which the vendor has finished the order; the diagram frames them.
FINISHED = TAKEN - {Step.PLACED}
FRAME = "finished"

#: (from, to) -> what happens there. ``finished`` stands for every step in the frame.
REASONS: dict[tuple[str, str], str] = {
    ("intended", "intended"): "fresh evidence for another try",
    ("intended", "sent"): "evidence is read, the request leaves",
    ("intended", "unknown"): "the repeat of an unresolved purchase could not leave",
    ("intended", "rejected"): "a person gives it up, it was never sent",
    ("sent", "placed"): "the answer names the order",
    ("sent", FRAME): "the answer shows a finished order",
    ("sent", "rejected"): "the vendor refused, nothing was bought",
    ("sent", "intended"): "it provably never left",
    ("sent", "unknown"): "the answer was lost or is unreadable",
    ("rejected", "intended"): "the same key is tried anew",
    ("placed", "unknown"): "the order is not its own, or no read finds it",
    ("unknown", "placed"): "found and adopted",
    ("unknown", FRAME): "found finished and adopted",
    ("unknown", "intended"): "proven absent, or safe to repeat",
    ("unknown", "quarantined"): "evidence cannot decide",
    ("quarantined", "placed"): "adopted by a person, its webhook or a late answer",
    ("quarantined", FRAME): "adopted finished, in the same ways",
    ("quarantined", "intended"): "a person declares it absent",
    ("placed", FRAME): "a read shows it finished",
    ("delivered", "refunded"): "the vendor paid it back",
    ("delivered", "expired"): "the term ended",
    ("partial", "delivered"): "the rest arrived",
    ("partial", "refunded"): "the vendor paid it back",
    ("partial", "expired"): "the term ended",
    ("failed", "refunded"): "the vendor paid it back",
    ("failed", "delivered"): "the vendor delivered after all",
    ("expired", "refunded"): "the vendor paid it back",
    ("expired", "delivered"): "the vendor delivers again",
}


def arrows() -> Iterator[tuple[str, str]]:
    """The arrows of the diagram; one arrow to the frame where a step may end in every way."""
    for step, followers in LIFE.items():
        framed = followers >= FINISHED
        for follower in Step:
            if follower in followers and not (framed and follower in FINISHED):
                yield step.value, follower.value
        if framed:
            yield step.value, FRAME


def diagram() -> str:
    """The Mermaid text.

    :raises ValueError: when arrows and reasons differ.
    """
    drawn = list(arrows())
    if set(drawn) != set(REASONS):
        raise ValueError(f"arrows and reasons differ: {sorted(set(drawn) ^ set(REASONS))}")
    inside = {step.value for step in FINISHED}
    lines = ["stateDiagram-v2", f"    [*] --> {Step.INTENDED.value}"]
    lines += [f"    {start} --> {end}: {REASONS[start, end]}" for start, end in drawn if start not in inside]
    lines += [f"    state {FRAME} {{"]
    lines += [f"        {start} --> {end}: {REASONS[start, end]}" for start, end in drawn if start in inside]
    lines += ["    }"]
    return "\n".join(lines)


def block() -> str:
    """The part of the page between the two markers, markers included."""
    return f"{BEGIN}\n\n```mermaid\n{diagram()}\n```\n\n{END}"


def written(page: str) -> str:
    """The page with the diagram as it must be now.

    :raises ValueError: when the page lacks the markers.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return before + block() + after


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
