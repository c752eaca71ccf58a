"""Compares what was seen in a month with the vendor's own book; every line it returns is a broken promise.

Three rules: the book and the vendor's orders are believed, and nobody else; what should have happened is worked out here anew,
from dates and prices alone, with no code of the package; and amounts are compared to the cent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.sandbox.charges import Entry

from .plan import DAY
from .play import VENDOR, WALLET, Day, Running, Story

#: how late runs and purchases may be without another order being due, see the package's docstring
SLACK = timedelta(minutes=29)


def wrong(story: Story, box: Sandbox, ledger: Ledger) -> list[str]:
    """What is not as it must be; empty when the month went well."""
    entries = box.book.charges(VENDOR)[story.started :]
    book = _Book(story, entries)
    return [
        *_rehearsed(story),
        *_paid_once(story, book),
        *_none_lapsed_in_vain(story, book),
        *_money(story, book),
        *_reports(story, book),
        *_alerts(story),
        *_ledger(story, book, ledger),
    ]


class _Book:
    """The month's charges, by order, and the wallet at any moment."""

    def __init__(self, story: Story, entries: Sequence[Entry]):
        self.story, self.entries = story, entries
        self.by_order: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            self.by_order[entry.order_id].append(entry)

    def total(self, kind: str) -> Decimal:
        return sum((Decimal(entry.amount) for entry in self.entries if entry.kind == kind), Decimal(0))

    def balance(self, at: datetime) -> Decimal:
        """What the wallet held at a moment, after everything of that moment."""
        plan, topped = self.story.plan, self.story.topped_up
        spent = sum((Decimal(entry.amount) for entry in self.entries if _when(entry) <= at), Decimal(0))
        return plan.balance + (plan.top_up if topped is not None and topped <= at else 0) - spent

    def periods(self, order_id: str) -> list[tuple[datetime, Entry]]:
        """Each charge of an order with the end that it moved."""
        wanted = self.story.orders[order_id]
        first = self.story.began + wanted.ends
        return [(first + number * wanted.term.days * DAY, entry) for number, entry in enumerate(self.by_order.get(order_id, []))]

    def end(self, order_id: str) -> datetime:
        """When an order ends by the book."""
        wanted = self.story.orders[order_id]
        return self.story.began + wanted.ends + len(self.by_order.get(order_id, [])) * wanted.term.days * DAY


def _rehearsed(story: Story) -> Iterator[str]:
    """A month in which nothing happened proves nothing."""
    size, days = story.plan.size, story.days
    if len(days) != size.days:
        yield f"{len(days)} days were played, not {size.days}"
    if not any(_lapsed(story, order_id) for order_id in story.orders):
        yield "no order lapsed, so the wallet was never dry for long enough"
    if not any(wanted.auto for wanted in story.orders.values()):
        yield "the vendor renewed no order by itself"
    if not any(run.report and run.report["skipped"] for day in days for run in day.renewals):
        yield "the second schedule never met the first one at the same order"


def _paid_once(story: Story, book: _Book) -> Iterator[str]:
    """Every period at most once, none before its time, none after its end, by whom it should be, at its price."""
    horizon = story.plan.size.horizon * DAY
    if strange := set(book.by_order) - set(story.orders):
        yield f"orders that nobody has were charged: {sorted(strange)}"
    running = {order.order_id: order for order in story.days[-1].running}
    for order_id, wanted in story.orders.items():
        for end, entry in book.periods(order_id):
            if entry.kind != ("auto_extend" if wanted.auto else "extend"):
                yield f"order {order_id} was paid for as {entry.kind}, auto-extending {wanted.auto}"
            if Decimal(entry.amount) != wanted.price:
                yield f"order {order_id} was paid {entry.amount}, its price is {wanted.price}"
            early = timedelta(0) if wanted.auto else horizon
            if not -early - SLACK <= _when(entry) - end <= SLACK:
                yield f"order {order_id}: the period from {end} on was paid at {entry.time}: twice, or too early"
        at_vendor = running.get(order_id)
        if at_vendor is not None and abs(at_vendor.ends - book.end(order_id)) > SLACK:
            yield f"order {order_id} ends {at_vendor.ends} at the vendor, by what was paid {book.end(order_id)}"


def _lapsed(story: Story, order_id: str) -> bool:
    return order_id not in {order.order_id for order in story.days[-1].running}


def _none_lapsed_in_vain(story: Story, book: _Book) -> Iterator[str]:
    """After a day's runs nothing is due and unpaid that the wallet could pay; who lapsed was tried for and was too dear."""
    horizon = story.plan.size.horizon * DAY
    yield from _left_unpaid(story)
    for order_id, wanted in story.orders.items():
        if not _lapsed(story, order_id):
            continue
        end = book.end(order_id)
        if wanted.auto:
            if book.balance(end + SLACK) >= wanted.price:
                yield f"order {order_id} lapsed at {end} though the vendor could have renewed it"
            continue
        tries = [day for day in story.days if day.renewals and end - horizon <= day.now <= end]
        if not tries:
            yield f"order {order_id} lapsed at {end}, and no run could have paid for it"
        for day in tries:
            if wanted.price <= day.balance:
                yield f"order {order_id} lapsed at {end}; on day {day.number} its {wanted.price} could be paid from {day.balance}"


def _left_unpaid(story: Story) -> Iterator[str]:
    for day in story.days:
        for order in _unpaid(story, day) if day.renewals else []:
            if order.price <= day.balance:
                what = f"order {order.order_id} for {order.price} is due and unpaid"
                yield f"day {day.number}: {what}, the wallet holds {day.balance}"


def _unpaid(story: Story, day: Day) -> list[Running]:
    until = day.now + story.plan.size.horizon * DAY
    return [order for order in day.running if not order.auto and day.now < order.ends <= until]


def _money(story: Story, book: _Book) -> Iterator[str]:
    for day in story.days:
        if (by_book := book.balance(day.now)) != day.balance:
            yield f"day {day.number}: the wallet holds {day.balance}, by the book {by_book}"


def _reports(story: Story, book: _Book) -> Iterator[str]:
    """What the reports say was paid is what the book says; what they call failed is what stayed unpaid."""
    counts: Counter[tuple[str, str]] = Counter()
    cost = Decimal(0)
    for day in story.days:
        unpaid = {order.order_id for order in _unpaid(story, day)}
        failed: set[str] = set()
        for run in day.renewals:
            name = f"day {day.number}, {run.dag_id} {run.run_id}"
            if run.report is None:
                yield f"{name}: no report ({run.state})"
                continue
            errors = {row["order_id"] for row in run.report["errors"]}
            failed |= errors
            if (run.state == "failed") != bool(errors):
                yield f"{name}: {run.state} with {len(errors)} errors"
            if run.report["short"] or run.report["postponed"]:
                yield f"{name}: short {run.report['short']}, postponed {run.report['postponed']}"
            extended = run.report["extended"]
            counts.update((row["order_id"], row["price"]) for row in extended)
            paid = sum((Decimal(row["price"]) for row in extended), Decimal(0))
            said = Decimal(run.report["cost"].get("USD", "0"))
            if said != paid or set(run.report["cost"]) - {"USD"}:
                yield f"{name}: cost {run.report['cost']}, its lines say {paid}"
            cost += said
        if day.renewals and failed != unpaid:
            yield f"day {day.number}: reports call {sorted(failed)} failed, unpaid are {sorted(unpaid)}"
    booked = Counter((entry.order_id, Decimal(entry.amount)) for entry in book.entries if entry.kind == "extend")
    reported = Counter({(order_id, Decimal(price)): count for (order_id, price), count in counts.items()})
    if booked != reported:
        yield f"booked and not reported: {booked - reported}; reported and not booked: {reported - booked}"
    if cost != book.total("extend"):
        yield f"the reports add up to {cost}, the book to {book.total('extend')}"


def _alerts(story: Story) -> Iterator[str]:
    """Each check's facts against dates and prices, and one alert for each crossing of them all together."""
    state, expected = "ok", []
    for day in story.days:
        for check in day.checks:
            yield from _facts(story, day, check)
        current = _state(story, day)
        if current is not None and current != state:
            state = current
            expected.append(f"{day.number} {state} {day.balance:.2f}")
        wrong_checks = [check for check in day.checks if check.get("state") != state]
        if wrong_checks:
            first = wrong_checks[0]
            yield f"day {day.number}: the wallet is {state}, a check says {first.get('state')} ({first.get('error')})"
        alerting = [check["alert"] for check in day.checks if check.get("alert")]
        crossed = bool(expected) and expected[-1].startswith(f"{day.number} ")
        if len(alerting) != int(crossed):
            yield f"day {day.number}: alerts {alerting}, crossings {int(crossed)}"
    if story.told != expected:
        yield f"people were told {story.told}, crossings were {expected}"
    if [line.split()[1] for line in expected] != ["low", "ok"]:
        yield f"the month was to have one low and one recovery, it had {expected}"


def _way(story: Story, day: Day) -> tuple[list[Running], Decimal, Running | None]:
    """What is due within the look-ahead, what it costs, and the first that the wallet does not pay for."""
    until = day.now + story.plan.size.look_ahead * DAY
    due = sorted(
        (order for order in day.running if day.now < order.ends <= until), key=lambda order: (order.ends, order.order_id)
    )
    left, first = day.balance, None
    for order in due:
        if order.price <= left:
            left -= order.price
        elif first is None:
            first = order
    return due, sum((order.price for order in due), Decimal(0)), first


def _state(story: Story, day: Day) -> str | None:
    _, _, first = _way(story, day)
    if first is not None or day.balance < story.plan.low:
        return "low"
    return "ok" if day.balance >= story.plan.recovered else None


def _facts(story: Story, day: Day, check: object) -> Iterator[str]:
    assert isinstance(check, dict)
    due, needed, first = _way(story, day)
    must = {
        "run": "success",
        "balance": f"{day.balance:.2f}",
        "renewals_due": len(due),
        "renewals_without_price": 0,
        "needed": f"{needed:.2f}",
        "runway": "covered" if first is None else "short",
        "first_uncovered_order_id": first.order_id if first else None,
    }
    differ = {name: (check.get(name), value) for name, value in must.items() if check.get(name) != value}
    if differ:
        yield f"day {day.number}: a check says otherwise than the vendor: {differ}"


def _ledger(story: Story, book: _Book, ledger: Ledger) -> Iterator[str]:
    """Every charge that we caused is in the ledger as done, and nothing is open."""
    extensions = [purchase for purchase in ledger.purchases(wallet=WALLET, limit=100_000) if purchase.kind == "extend"]
    done = Counter(
        (purchase.target or "", purchase.price.amount)
        for purchase in extensions
        if purchase.step is Step.DELIVERED and purchase.price
    )
    booked = Counter((entry.order_id, Decimal(entry.amount)) for entry in book.entries if entry.kind == "extend")
    if done != booked:
        yield f"in the ledger and not in the book: {done - booked}; in the book and not in the ledger: {booked - done}"
    open_now = [purchase.order_key for purchase in extensions if purchase.step not in (Step.DELIVERED, Step.REJECTED)]
    if open_now:
        yield f"the ledger has open extensions: {open_now}"
    sent_by_others = [entry for entry in book.entries if entry.kind not in ("extend", "auto_extend")]
    if sent_by_others:
        yield f"the book has other entries: {sent_by_others}"


def _when(entry: Entry) -> datetime:
    return datetime.fromisoformat(entry.time)


def summary(story: Story, box: Sandbox) -> list[str]:
    """The month in numbers."""
    book = _Book(story, box.book.charges(VENDOR)[story.started :])
    runs = [run for day in story.days for run in day.renewals]
    reports = [run.report for run in runs if run.report]
    ours = sum(entry.kind == "extend" for entry in book.entries)
    theirs = len(book.entries) - ours
    lapsed = [order_id for order_id in story.orders if _lapsed(story, order_id)]
    dry = [day.number for day in story.days if day.renewals and _unpaid(story, day)]
    return [
        f"{len(story.orders)} orders, {sum(order.auto for order in story.orders.values())} of them renewed by the vendor; "
        f"{len(story.days)} days, missed {sorted(story.plan.size.missed)}",
        f"{len(runs)} renewal runs, {sum(run.state == 'failed' for run in runs)} of them failed for want of money on days {dry}",
        f"{ours} extensions for {book.total('extend')} USD by us, {theirs} for {book.total('auto_extend')} USD by the vendor; "
        f"{sum(len(report['skipped']) for report in reports)} tasks found their order paid by the other schedule",
        f"wallet: {story.plan.balance} at the beginning, {story.plan.top_up} added, {story.days[-1].balance} at the end",
        f"{len(lapsed)} orders lapsed, all of them while the wallet could not pay",
        f"alerts: {'; '.join(story.told)}",
    ]
