"""What a person should see first, and the wallets.

One rule: a limit of a list is told, so nobody takes a part for the whole.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.account import Account, Caps
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.domain.model import Money, Purchase, Step
from airflow_provider_proxyorders.domain.text import amount, utc
from airflow_provider_proxyorders.ledger import spending
from airflow_provider_proxyorders.ledger.attention import FEW_ENDS, MOST_WEBHOOKS, OrderEnd, ReceivedWebhook, WalletState
from airflow_provider_proxyorders.ledger.listing import UNRESOLVED_STATE, Filters, ListedPurchase, Place
from airflow_provider_proxyorders.page import shapes
from airflow_provider_proxyorders.page.reading import Reading, hook_of
from airflow_provider_proxyorders.purchase.balance_marks import Mark
from airflow_provider_proxyorders.renewal.renewed import without_renewed
from airflow_provider_proxyorders.vendors.base import Vendor
from airflow_provider_proxyorders.wallet.prices import Renewal
from airflow_provider_proxyorders.wallet.runway import runway

#: Rows of one list; days for which a failure, an end, and a renewal count; the share of a limit that is worth a colour.
MOST, RECENT, ENDING, AHEAD, NEAR = 50, timedelta(days=7), timedelta(days=7), timedelta(days=60), Decimal("0.8")
#: Days of spending, and looks into one list.
DAYS, MOST_LOOKS = 30, 25
_BAD_ENDS = (Step.FAILED, Step.REFUNDED, Step.PARTIAL, Step.REJECTED)


def needs_attention(reading: Reading) -> dict[str, Any]:
    """Everything that waits for a person, the most urgent first."""
    ledger = reading.ledger
    if ledger is None:
        return {name: [] for name in ("unresolved", "frozen", "failed", "webhooks", "ending")}
    now = ledger.clock()
    waiting, more_waiting = _waiting(reading)
    failed, more_failed = _failed(reading, now - RECENT)
    foreign, more_foreign = _foreign_webhooks(reading)
    ends, more_ends = reading.attention.ends(now, now + ENDING, reading.conn_ids, FEW_ENDS)
    ends = without_renewed(ledger, [end for end in reading.readable(ends) if not end.extended], _vendor_of)
    return {
        "unresolved": [_unresolved(reading, row) for row in waiting],
        "frozen": [
            {"wallet": wallet.wallet, "why": shapes.clean(wallet.frozen), "may_decide": reading.may_unfreeze(wallet)}
            | stake(reading, wallet.wallet)
            for wallet in reading.wallets()
            if wallet.frozen
        ],
        "failed": [shapes.line(row) for row in failed],
        "webhooks": [shapes.webhook(row) for row in foreign],
        "ending": [shapes.end(row) for row in ends[:MOST]],
        "more": {"unresolved": more_waiting, "failed": more_failed, "webhooks": more_foreign}
        | {"ending": more_ends or len(ends) > MOST},
    }


def _vendor_of(conn_id: str) -> Vendor | None:
    try:
        return hook_of(conn_id).vendor
    except ProxyOrdersError:
        return None


def stake(reading: Reading, wallet: str) -> dict[str, str]:
    """What a frozen wallet has at stake: its reservations, and its unresolved purchases."""
    assert reading.ledger is not None
    unresolved = reading.ledger.unresolved(wallet=wallet, limit=MOST + 1)
    currency = next((purchase.reserved.currency for purchase in unresolved if purchase.reserved.currency), None)
    many = str(len(unresolved)) if len(unresolved) <= MOST else f"more than {MOST}"
    return {"reserved": str(Money(reading.attention.reserved(wallet), currency)), "unresolved": many}


def _waiting(reading: Reading) -> tuple[list[Purchase], bool]:
    """Purchases with a question for a person: unresolved, or with the order of a late answer."""
    assert reading.ledger is not None
    keys = [question.order_key for question in reading.ledger.questions()]
    rows, more = _rows(reading, Filters(reading.conn_ids, state=UNRESOLVED_STATE))
    purchases = [reading.find(key) for key in dict.fromkeys([*keys, *(row.order_key for row in rows)])]
    shown = [purchase for purchase in purchases if purchase is not None]
    return shown[:MOST], more or len(shown) > MOST


def _failed(reading: Reading, since: datetime) -> tuple[list[ListedPurchase], bool]:
    """Purchases that ended badly, the newest first."""
    parts = [_rows(reading, Filters(reading.conn_ids, state=step.value, since=since)) for step in _BAD_ENDS]
    failed = sorted((row for rows, _ in parts for row in rows), key=lambda row: row.updated_at or since, reverse=True)
    return failed[:MOST], any(more for _, more in parts) or len(failed) > MOST


def _rows(reading: Reading, filters: Filters) -> tuple[list[ListedPurchase], bool]:
    """The first rows of a list, and whether there may be more of them."""
    rows: list[ListedPurchase] = []
    place: Place | None = None
    for _ in range(MOST_LOOKS):
        page = reading.listing.page(filters, after=place, size=MOST)
        rows += reading.readable(page.rows)
        place = page.after
        if place is None or len(rows) >= MOST:
            break
    return rows[:MOST], place is not None or len(rows) > MOST


def _foreign_webhooks(reading: Reading) -> tuple[list[ReceivedWebhook], bool]:
    """Webhooks about orders outside of the ledger, the newest first."""
    foreign: list[ReceivedWebhook] = []
    before: int | None = None
    for _ in range(MOST_LOOKS):
        page = reading.attention.newest_webhooks(before)
        foreign += [webhook for webhook in reading.readable(page) if not webhook.matched]
        if len(page) < MOST_WEBHOOKS:
            return foreign[:MOST], len(foreign) > MOST
        if len(foreign) > MOST:
            break
        before = page[-1].number
    return foreign[:MOST], True


def _unresolved(reading: Reading, row: Purchase) -> dict[str, Any]:
    assert reading.ledger is not None
    looks = reading.ledger.looks(row.order_key)
    last = looks[-1] if looks else None
    questions = reading.ledger.questions(order_key=row.order_key)
    return {
        **shapes.purchase(row),
        "task": shapes.first_task(reading.ledger.history(row.order_key)),
        "seen": f"{shapes.clean(last.verdict)}: {shapes.clean(last.detail)}" if last else None,
        "seen_at": shapes.moment(last.at) if last else None,
        "questions": [{"order_id": shapes.clean(each.order_id), "why": shapes.clean(each.why)} for each in questions],
        "may_decide": reading.rights.may_edit(row.conn_id),
    }


def wallets(reading: Reading) -> list[dict[str, Any]]:
    """Each wallet: balance, spending beside its limits, and how far the balance reaches."""
    if reading.ledger is None:
        return []
    now = reading.ledger.clock()
    ends, cut = reading.attention.ends(now, now + AHEAD, reading.conn_ids)
    return [
        _wallet(reading, wallet, [end for end in ends if end.wallet == wallet.wallet], cut, now) for wallet in reading.wallets()
    ]


def _wallet(reading: Reading, wallet: WalletState, ends: list[OrderEnd], cut: bool, now: datetime) -> dict[str, Any]:
    account, caps, trouble = _account(reading, wallet)
    zone = account.timezone if account else "UTC"
    today = date.fromisoformat(spending.day_of(now, zone))
    days = [today - timedelta(days=ago) for ago in range(DAYS - 1, -1, -1)]
    first = min(days[0], today.replace(day=1)).isoformat()
    spent = spending.by_day(reading.listing.engine, wallet.wallet, first)
    this_month = sum((value for day, value in spent.items() if day[:7] == today.isoformat()[:7]), Decimal(0))
    balance, balance_at = _balance(reading, wallet.wallet)
    return {
        "wallet": wallet.wallet,
        "connections": sorted(reading.rights.allowed(wallet.conn_ids)),
        "frozen": shapes.clean(wallet.frozen),
        "may_decide": reading.may_unfreeze(wallet),
        "balance": shapes.money(balance),
        "balance_at": shapes.moment(balance_at),
        "currency": (balance.currency if balance else None) or (account.currency if account else None),
        "today": _beside_limit(spent.get(today.isoformat(), Decimal(0)), caps.daily_limit),
        "month": _beside_limit(this_month, caps.monthly_limit),
        "days": [{"day": day.isoformat(), "amount": amount(spent.get(day.isoformat(), Decimal(0)))} for day in days],
        "reserved": amount(reading.attention.reserved(wallet.wallet)),
        "unresolved": stake(reading, wallet.wallet)["unresolved"],
        "runway": _runway(balance, ends, caps.min_balance, cut),
        "trouble": shapes.clean(trouble),
    }


def _beside_limit(spent: Decimal, limit: Decimal | None) -> dict[str, Any]:
    state = "ok" if limit is None or spent < limit * NEAR else "near" if spent < limit else "reached"
    return {"spent": amount(spent), "limit": amount(limit) if limit is not None else None, "state": state}


def _account(reading: Reading, wallet: WalletState) -> tuple[Account | None, Caps, str | None]:
    """The first readable connection of a wallet, the strictest limits of all of them, and the trouble with others."""
    accounts: list[Account] = []
    trouble: list[str] = []
    for conn_id in sorted(reading.rights.allowed(wallet.conn_ids)):
        try:
            accounts.append(hook_of(conn_id).vendor.account)
        except ProxyOrdersError as error:
            trouble.append(f"the limits of connection {conn_id} are unknown: {error}")
    limits = [account.caps for account in accounts]
    caps = Caps(
        daily_limit=min((each.daily_limit for each in limits if each.daily_limit is not None), default=None),
        monthly_limit=min((each.monthly_limit for each in limits if each.monthly_limit is not None), default=None),
        min_balance=max((each.min_balance for each in limits if each.min_balance is not None), default=None),
    )
    return (accounts[0] if accounts else None), caps, "; ".join(trouble) or None


def _balance(reading: Reading, wallet: str) -> tuple[Money | None, datetime | None]:
    """The newest balance that the ledger has of a wallet: from before a purchase, or from an alert."""
    marks = [Mark.from_text(text) for text in reading.attention.balances(wallet)]
    newest = max((mark for mark in marks if mark is not None), key=lambda mark: mark.at, default=None)
    alarm = reading.attention.alarm_balance(wallet)
    if alarm is not None and (newest is None or alarm[1] > newest.at):
        return Money.parse(alarm[0], newest.balance.currency if newest else None), alarm[1]
    return (newest.balance, newest.at) if newest is not None else (None, None)


def _runway(balance: Money | None, ends: list[OrderEnd], keep: Decimal | None, cut: bool) -> str:
    """How far the balance pays the renewals of the orders that end next, by the prices of the ledger."""
    if balance is None:
        return "unknown until a balance is read"
    due = [Renewal(end.order_id, end.at, end.price, "ledger" if end.price else "unknown") for end in ends]
    if not due and cut:
        return "unknown: too many orders of other wallets end before"
    if not due:
        return f"no order of the ledger ends within {AHEAD.days} days"
    way = runway(balance, due, keep)
    if way.first_uncovered is not None:
        return f"pays until {utc(way.first_uncovered.at)[:10]}, order {shapes.clean(way.first_uncovered.order_id)}"
    so_far = f", looked at until {utc(due[-1].at)[:10]}" if cut else f" within {AHEAD.days} days"
    unpriced = f"; {len(way.unpriced)} without a known price" if way.unpriced else ""
    return f"pays for all {len(due)} orders that end{so_far}{unpriced}"
