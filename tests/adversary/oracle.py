"""Judges a run by the vendor's book and by what the workers said. It never sees the ledger.

Two rules: what was bought is what the book says, under the key of the process that sent it; and a purchase is lost when neither
the last word of its task nor a question to a person leads to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from .book import Entry
from .plan import LAG, SETTLE, TIMEOUT, Plan, Wallet
from .run import Result

#: Errors by which a person is asked.
QUESTIONS = ("Quarantined", "OrderMissing")
#: Words of a message by which a person is asked about the wallet.
FROZEN = "frozen"
#: Sentences that a try says of itself alone; another try of the key may have bought.
OF_THIS_TRY = "This try bought nothing"
#: What a person can do where a limit of the wallet keeps a purchase with an unknown outcome from being sent again.
LIMIT_ADVICE = ("Raise 'daily_limit' in the connection", "Top the wallet up or lower 'min_balance'")
#: Errors of a try that a limit of its wallet, or another purchase there, refused before anything was sent.
LIMITED = frozenset({"CapExceeded", "WalletHeld"})
#: Seconds after which nothing may leave any more beside a charge that was too high: a read may lag, reading takes a while, and
#: what was read may be as old as the settle time and two timeouts when a purchase leaves.
SHOWS = LAG + 2 * TIMEOUT + SETTLE + 2 * TIMEOUT


@dataclass(frozen=True)
class Violation:
    """What must not be.

    :param kind: ``twice``, ``lost``, ``wrong order``, ``caps``, ``untouched``, ``unsettled``, ``raw error``.
    """

    kind: str
    text: str


@dataclass
class Verdict:
    """What came of one seed.

    :param keys: how many keys reached a vendor.
    :param decided: those whose answer was lost, wrong or a refusal, at a vendor that leaves evidence; ``alone``: those of them
        that no person is asked about; and ``asked``: the others, each with the reason.
    :param without_evidence: keys with such an answer whose vendor leaves no evidence; ``asked_without``: those of them that a
        person is asked about, each with the reason.
    :param freezes: wallets that stand still until a person looks, each with the reason.
    :param exchanged: keys with each other's orders, see :func:`_exchanged`.
    """

    seed: int
    violations: list[Violation] = field(default_factory=list)
    purchases: int = 0
    tries: int = 0
    kills: int = 0
    frozen: int = 0
    disturbed: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    keys: int = 0
    decided: int = 0
    alone: int = 0
    without_evidence: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    asked_without: list[tuple[str, str]] = field(default_factory=list)
    freezes: list[tuple[str, str]] = field(default_factory=list)
    exchanged: list[str] = field(default_factory=list)
    vendor_stood: float = 0.0
    seconds: float = 0.0
    without: str = ""


def judge(result: Result) -> Verdict:
    """Count one run."""
    plan, book = result.plan, result.book
    bought = {task.key: [entry for entry in book.entries if entry.key == task.key] for task in plan.tasks}
    said = {task.key: [each for each in result.said if each["key"] == task.key] for task in plan.tasks}
    others = [each for each in result.said if not each["key"]]
    verdict = Verdict(
        plan.seed,
        purchases=len(book.entries),
        tries=result.tries,
        kills=result.kills,
        frozen=result.frozen,
        disturbed=result.disturbed,
        faults=book.faults,
        vendor_stood=book.late,
        seconds=round(result.seconds, 1),
        without=plan.without,
    )
    exchanged = _exchanged(result, bought, said)
    verdict.exchanged = sorted(exchanged)
    bought |= exchanged
    for task in plan.tasks:
        verdict.violations += _of_key(task.key, bought[task.key], said[task.key], others)
    verdict.violations += _wrong_orders(bought, said)
    verdict.violations += [Violation("caps", text) for text in _caps(plan, book.entries, _lifted(others))]
    verdict.violations += [
        Violation("raw error", f"{each['run']}: {each['error']}: {each['text'][:300]}")
        for each in result.said
        if "error" in each and not each["ours"]
    ]
    _settled(verdict, result, said)
    verdict.freezes = _freezes(others)
    return verdict


def _of_key(
    key: str, bought: Sequence[Entry], said: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]
) -> Iterator[Violation]:
    if len(bought) > 1:
        ids = ", ".join(f"{entry.order_id} ({entry.fault or 'no fault'})" for entry in bought)
        yield Violation("twice", f"{key} bought {len(bought)} times: {ids}")
    for each in said:
        moved = [entry for entry in bought if entry.sent < each["at"]]
        if OF_THIS_TRY in each.get("text", ""):
            moved = [entry for entry in moved if entry.pid == each["pid"]]
        if moved and each.get("money") == "untouched" and each["error"] != "OrderKeyConflict":
            yield Violation("untouched", f"{key}, {each['run']} try {each['try']}: {each['error']}: {each['text'][:300]}")
            break
    last = said[-1] if said else None
    for entry in bought:
        if not _leads_to(entry, said, others):
            word = f"{last.get('error', last.get('result'))}: {last.get('text', '')[:300]}" if last else "nothing"
            yield Violation("lost", f"{key}, order {entry.order_id} ({entry.fault or 'no fault'}); the last word is {word}")
    if last is not None and last.get("money") == "unknown" and not _asks(last) and not _wallet_asked(others):
        yield Violation("unsettled", f"{key}: {last['error']}: {last['text'][:400]}")
    if last is not None and "result" in last and not bought:
        yield Violation("wrong order", f"{key} got order {last['result']['order_id']} and bought nothing")


def _leads_to(entry: Entry, said: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the task's last word, or a question to a person, leads to what was bought."""
    if not said:
        return False
    last = said[-1]
    if "result" in last:
        return last["result"]["order_id"] in entry.names or _named(entry, others)
    if last.get("money") == "unknown":
        return True
    if last.get("money") == "charged":  # the task's own word must name the order; its key alone names what it takes for the order
        return any(name in last["text"] for name in entry.names)
    return _named(entry, [*others, last])


def _named(entry: Entry, said: Sequence[Mapping[str, Any]]) -> bool:
    """Whether somebody was told of an order by its name or by its key."""
    texts = [" ".join((each.get("text", ""), *_result_texts(each))) for each in said]
    words = {repr(entry.key), f"'{entry.key}'", f"({entry.key})", *entry.names}
    return any(word in text for text in texts for word in words)


def _result_texts(said: Mapping[str, Any]) -> list[str]:
    result = said.get("result") or {}
    lines = result.get("lines") or []
    return [*lines, str(result.get("frozen") or "")]


def _asks(said: Mapping[str, Any]) -> bool:
    text = said.get("text", "")
    limited = said.get("money") == "unknown" and any(advice in text for advice in LIMIT_ADVICE)
    return said.get("error") in QUESTIONS or FROZEN in text or limited


def _wallet_asked(others: Sequence[Mapping[str, Any]]) -> bool:
    return any((each.get("result") or {}).get("frozen") for each in others)


def _wrong_orders(bought: Mapping[str, Sequence[Entry]], said: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Violation]:
    """Orders that a task got and another one bought, or nobody."""
    for key, words in said.items():
        names = {name for entry in bought[key] for name in entry.names}
        given = _given(words)
        for order_id in sorted(given - names):
            if bought[key]:
                yield Violation("wrong order", f"{key} got order {order_id}; it bought {', '.join(sorted(names))}")
        if not bought[key] and given and "result" not in words[-1]:
            yield Violation("wrong order", f"{key} got order {', '.join(sorted(given))} once and bought nothing")


def _exchanged(
    result: Result, bought: Mapping[str, Sequence[Entry]], said: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[Entry]]:
    """Keys that hold each other's orders, each with the order that it holds, if any.

    They asked one wallet for the same, an answer to one of them was lost or false, every order that they bought is held by
    exactly one of them, and each of them holds exactly one, asks a person, or was refused by a limit. So the goods, the number
    and the money are right, and this is counted apart.
    """
    found = dict[str, list[Entry]]()
    for task in result.plan.tasks:
        asked = (task.wallet, task.kind, task.body, task.target)
        alike = [each.key for each in result.plan.tasks if (each.wallet, each.kind, each.body, each.target) == asked]
        ring = _ring(task.key, alike, bought, said)
        if all(len(bought[key]) == 1 and _holds_of(said[key], bought[key]) for key in ring):
            continue  # each holds what it bought; extensions of one order have its id in common
        held = _one_each(ring, [entry for key in ring for entry in bought[key]], said)
        if len(ring) > 1 and held is not None and any(_lost_its_answer(result, key, said[key]) for key in ring):
            found |= held
    return found


def _ring(
    first: str, alike: Sequence[str], bought: Mapping[str, Sequence[Entry]], said: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[str]:
    """The key with all others of which one holds what another one bought, in one or more steps."""
    ring = [first]
    for key in ring:  # it grows meanwhile
        for other in alike:
            linked = _holds_of(said[key], bought[other]) or _holds_of(said[other], bought[key])
            if linked and other not in ring:
                ring.append(other)
    return ring


def _given(words: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of all orders that a task ever got."""
    return {each["result"]["order_id"] for each in words if "result" in each}


def _holds_of(words: Sequence[Mapping[str, Any]], entries: Sequence[Entry]) -> bool:
    return any(_given(words) & set(entry.names) for entry in entries)


def _one_each(
    keys: Sequence[str], entries: Sequence[Entry], said: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[Entry]] | None:
    """The one order that each key holds in the end; ``None`` unless these are all orders, and each key ever got just one.

    A key whose last word is a question to a person may hold none, and one that a limit of the wallet refused holds none.
    """
    left, held = list(entries), dict[str, list[Entry]]()
    for key in keys:
        given = _given(said[key])
        if not given and said[key] and _asks(said[key][-1]):
            continue
        if not given and said[key] and said[key][-1].get("error") in LIMITED:
            held[key] = []
            continue
        entry = next((entry for entry in left if given and given <= set(entry.names)), None)
        if entry is None or "result" not in said[key][-1]:
            return None
        left.remove(entry)
        held[key] = [entry]
    return None if left else held


# ---------------------------------------------------------------------------------------------- limits


def _lifted(others: Sequence[Mapping[str, Any]]) -> float:
    """When a person first lifted a freeze; from then on the person answers for what is bought."""
    return min((each["at"] for each in others if (each.get("result") or {}).get("unfrozen")), default=float("inf"))


def _caps(plan: Plan, entries: Sequence[Entry], lifted: float) -> Iterator[str]:
    """Every limit that the true charges pass. The vendor's overcharge alone may pass them; after it, everything stands still."""
    for number, wallet in enumerate(plan.wallets):
        charges = sorted((entry for entry in entries if entry.wallet == number), key=lambda entry: entry.at)
        yield from _caps_of(wallet, charges, lifted)


def _caps_of(wallet: Wallet, charges: Sequence[Entry], lifted: float) -> Iterator[str]:
    name, spent = f"wallet {wallet.conns[0][0]}", Decimal(0)
    dear = next((entry for entry in charges if entry.charged > _reserved(wallet, entry)), None)
    for entry in charges:
        spent += entry.charged
        if entry.charged > wallet.max_order_price and not entry.dear:
            yield f"{name}: {entry.key} costs {entry.amount}, above {wallet.max_order_price}"
        if dear is not None and entry.at >= dear.at:
            if dear.at + SHOWS < entry.sent < lifted:
                yield f"{name}: {entry.key} was bought {entry.sent - dear.at:.1f} s after {dear.key} was charged {dear.amount}"
            continue
        if wallet.daily_limit is not None and spent > wallet.daily_limit:
            yield f"{name}: {spent} spent on a day, the limit is {wallet.daily_limit} ({entry.key})"
        left = wallet.balance - spent
        if wallet.min_balance is not None and left < wallet.min_balance:
            yield f"{name}: {left} left, at least {wallet.min_balance} must stay ({entry.key})"


def _reserved(wallet: Wallet, entry: Entry) -> Decimal:
    """The most that a purchase may be charged without an alarm: what was quoted, or the cap where nothing is quoted."""
    return Decimal(entry.quoted) if wallet.vendor == "iproyal" else wallet.max_order_price


# ---------------------------------------------------------------------------------------------- persons


def _settled(
    verdict: Verdict,
    result: Result,
    said: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Count the decisions whether a purchase was taken, and who made them."""
    for task in result.plan.tasks:
        key, words = task.key, said[task.key]
        verdict.keys += key in result.book.senders
        if not _lost_its_answer(result, key, words):
            continue
        asked = [] if _is_settled(words) else [(key, words[-1]["text"] if words else "nothing was said")]
        if result.plan.wallets[task.wallet].vendor == "voodoo":
            verdict.without_evidence += 1  # it has no list, its webhooks go to nobody here, and its refusals have many meanings
            verdict.asked_without += asked
        else:
            verdict.decided += 1
            verdict.alone += not asked
            verdict.asked += asked


def _is_settled(words: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last word of a task says what became of the money, and asks nobody about it.

    A wallet that stands for an overcharge is a question of its own, see :func:`_freezes`.
    """
    last = words[-1] if words else {"money": "unknown"}
    return "result" in last or (last.get("money") != "unknown" and last.get("error") not in QUESTIONS)


def _lost_its_answer(result: Result, key: str, words: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a purchase arrived at the vendor that the process which sent it did not simply finish."""
    senders = result.book.senders.get(key, [])
    finished = {each["pid"] for each in words if "result" in each}
    return bool(senders) and (len(senders) > 1 or key in result.book.harmed or senders[0] not in finished)


def _freezes(others: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each wallet that somebody found frozen, with the last reason."""
    found = [each["result"] for each in others if (each.get("result") or {}).get("frozen")]
    return sorted({each["wallet"]: str(each["frozen"]) for each in found}.items())


def story(result: Result, verdict: Verdict) -> str:
    """A run, told by the second."""
    lines = [(at, text) for at, text in result.book.story]
    for each in result.said:
        what = f"gets {each['result']}" if "result" in each else f"{each['error']} ({each['money']}): {each['text']}"
        told = "".join(f"\n              | {line}" for line in each["story"])
        lines.append((each["at"], f"{each['key'] or '-'} {each['run']} try {each['try']} (pid {each['pid']}) {what}{told}"))
    lines.append((result.calm_at, "--- the storm is over ---"))
    text = [str(result.plan), *(f"  {task}" for task in result.plan.tasks)]
    text += [f"{at - result.began:7.2f} {line}" for at, line in sorted(lines)]
    text += [f"VIOLATION {each.kind}: {each.text}" for each in verdict.violations]
    return "\n".join(text)


def line(verdict: Verdict) -> str:
    """A run in one line."""
    wrong = ", ".join(sorted({each.kind for each in verdict.violations})) or "good"
    without = f"without {verdict.without}, " if verdict.without else ""
    return (
        f"{without}seed {verdict.seed} {wrong}; {verdict.purchases} bought in {verdict.tries} tries, {verdict.kills} killed, "
        f"{verdict.frozen} frozen, {len(verdict.asked)} asked; {verdict.seconds:.0f} s, vendor stood {verdict.vendor_stood:.1f} s"
    )


def total(verdicts: Sequence[Verdict]) -> Counter[str]:
    """Sums over all seeds, by the names of the numbers in a verdict."""
    sums: Counter[str] = Counter(seeds=len(verdicts))
    for verdict in verdicts:
        for name in ("purchases", "tries", "kills", "frozen", "disturbed", "keys", "decided", "alone", "without_evidence"):
            sums[name] += getattr(verdict, name)
        sums["exchanged"] += len(verdict.exchanged)
        for violation in verdict.violations:
            sums[f"violation {violation.kind}"] += 1
    return sums
