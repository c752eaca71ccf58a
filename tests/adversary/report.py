"""What a campaign prints at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .guards import SCENES
from .oracle import Verdict, total
from .plan import EDGE, LAG, READY, SETTLE
from .scenes import missed

#: Kinds of violations, each with the words of the report.
KINDS = {
    "twice": "bought twice",
    "lost": "lost",
    "caps": "limits passed",
    "untouched": '"untouched" said of money that moved',
    "wrong order": "an order delivered to a key that did not buy it",
    "unsettled": "neither settled nor a question",
    "raw error": "an error that is not ours",
}
#: Seconds that the settle time leaves beside all that a vendor may take.
SLACK = SETTLE - EDGE - READY - LAG
#: So many reasons are listed; ``--results`` has all.
REASONS = 300
#: What share of the keys with a lost answer must settle without a person, in percent, once there are so many keys.
WANTED, ENOUGH = 99.5, 200


def text(verdicts: Sequence[Verdict], planned: int, seconds: float, jobs: int) -> str:
    """The report.

    :param planned: how many seeds there were to play; fewer are over when the campaign was stopped.
    """
    sums = total(verdicts)
    faults = Counter[str]()
    for verdict in verdicts:
        faults.update(verdict.faults)
    spending = {name: count for name, count in faults.items() if not name.startswith("read ")}
    reading = {name: count for name, count in faults.items() if name.startswith("read ")}
    lines = [
        f"{sums['seeds']} of {planned} seeds in {seconds / 60:.1f} minutes, {jobs} at a time",
        f"{sums['purchases']} purchases taken in {sums['tries']} tries",
        f"{sums['kills']} processes killed, {sums['frozen']} frozen, {sums['disturbed']} times trouble with the database",
        f"{sum(spending.values())} faults on purchases: {_counts(spending)}",
        f"{sum(reading.values())} faults on reads: {_counts(reading)}",
    ]
    lines += [f"{words}: {sums[f'violation {kind}']}{_seeds(verdicts, kind)}" for kind, words in KINDS.items()]
    exchanged = [f"seed {verdict.seed} {', '.join(verdict.exchanged)}" for verdict in verdicts if verdict.exchanged]
    told = f" ({'; '.join(exchanged)})" if exchanged else ""
    lines.append(f"keys that asked for the same, lost an answer and hold each other's orders: {sums['exchanged']}{told}")
    lines += _persons(verdicts, sums)
    stood = [verdict.seed for verdict in verdicts if verdict.vendor_stood > SLACK]
    lines.append(f"the vendor's process stood still for longer than {SLACK:.1f} s, as no vendor may: {len(stood)}{_list(stood)}")
    return "\n".join(lines)


def _persons(verdicts: Sequence[Verdict], sums: Counter[str]) -> list[str]:
    """Who settled what: counts with what they are counted of, and every question to a person."""
    lines = [
        f"answers lost, wrong or refused, where the vendor leaves evidence: {sums['decided']} of {sums['keys']} keys; "
        f"settled without a person: {sums['alone']} ({share(sums):.2f} %, wanted {WANTED} %)",
    ]
    lines += _questions("asked a person although there is evidence", verdicts, "asked")
    lines.append(f"answers lost, wrong or refused, where the vendor leaves no evidence: {sums['without_evidence']} keys more")
    lines += _questions("asked a person where there is no evidence", verdicts, "asked_without")
    return lines + _questions("wallets frozen until a person looks", verdicts, "freezes")


def share(sums: Counter[str]) -> float:
    """The share of keys that settled without a person, in percent."""
    return 100 * sums["alone"] / sums["decided"] if sums["decided"] else 100.0


def is_broken(verdicts: Sequence[Verdict]) -> bool:
    """Whether a promise was broken: a violation in any seed, or too many questions to a person."""
    sums = total(verdicts)
    return any(verdict.violations for verdict in verdicts) or sums["decided"] >= ENOUGH and share(sums) < WANTED


def _questions(title: str, verdicts: Sequence[Verdict], name: str) -> list[str]:
    questions = [(verdict.seed, *each) for verdict in verdicts for each in getattr(verdict, name)]
    lines = [f"  seed {seed} {who}: {_short(why)}" for seed, who, why in questions[:REASONS]]
    return [f"{title}: {len(questions)}", *lines]


def guards(verdicts: Sequence[Verdict]) -> str:
    """What the oracle found without each guard, and in which seed."""
    lines = []
    for guard in sorted({verdict.without for verdict in verdicts}):
        of_guard = [verdict for verdict in verdicts if verdict.without == guard]
        found = next((verdict for verdict in of_guard if missed(verdict)), None)
        if found is None:
            lines.append(f"without {guard}: NOT FOUND in {len(of_guard)} seeds")
            continue
        first = next(each for each in found.violations if each.kind in SCENES[guard].kinds)
        lines.append(f"without {guard}: found in seed {found.seed}, {KINDS[first.kind]}: {first.text[:160]}")
    found_all = len({verdict.without for verdict in verdicts if missed(verdict)})
    return "\n".join([*lines, f"{found_all} of {len(lines)} removed guards found"])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda each: -each[1])) or "none"


def _seeds(verdicts: Sequence[Verdict], kind: str) -> str:
    return _list([verdict.seed for verdict in verdicts if any(each.kind == kind for each in verdict.violations)])


def _list(seeds: Sequence[int]) -> str:
    return f" (seeds {', '.join(map(str, seeds[:30]))}{' ...' if len(seeds) > 30 else ''})" if seeds else ""


def _short(why: str) -> str:
    """A question without the advice that all of them end with."""
    start = why.find("Seen: ")
    end = why.find(" Look in the vendor's dashboard")
    return (why[start:end] if 0 <= start < end else why)[:300]
