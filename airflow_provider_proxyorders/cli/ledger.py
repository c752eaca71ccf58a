"""``proxyorders ledger list`` and ``show``: purchases for people and for programs."""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders.cli import decisions, ledger_backup, screen, spending
from airflow_provider_proxyorders.cli.options import add_purchase, day_of, ledger_option, open_to_read, whole_number
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.domain.text import amount, utc

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import Purchase
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.ledger.listing import Filters, ListedPurchase, SortedBy

_COLUMNS = {
    "changed": "CHANGED (UTC)", "state": "STATE", "vendor": "VENDOR", "kind": "KIND", "order_id": "ORDER", "amount": "AMOUNT",
    "wallet": "WALLET", "dag_id": "DAG", "order_key": "ORDER KEY",
}  # fmt: skip
_SORTS: dict[str, SortedBy] = {"updated": "updated_at", "created": "created_at", "expires": "expires_at"}
#: Options that narrow a list down, beside its state.
_FILTERS = ("vendor", "wallet", "conn_id", "dag", "kind", "since", "until", "text")


def add_parser(commands: Any) -> None:
    """Add the command to ``proxyorders``."""
    parser = commands.add_parser("ledger", help="list and show purchases, sum them up, decide about them, back the ledger up")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    ledger = ledger_option()

    _add_list(verbs, ledger)

    show = verbs.add_parser("show", parents=[ledger, screen.output_option()], help="one purchase and its whole history")
    add_purchase(show)
    show.set_defaults(run=show_purchase)

    decisions.add_parsers(verbs, ledger)
    spending.add_parser(verbs, ledger)
    ledger_backup.add_parsers(verbs, ledger)


def _add_list(verbs: Any, ledger: argparse.ArgumentParser) -> None:
    listing = verbs.add_parser(
        "list",
        parents=[ledger, screen.output_option()],
        help="purchases, the most recently changed first",
        epilog="A question mark behind an amount: it is reserved, and the price is still open.",
    )
    states = listing.add_mutually_exclusive_group()
    states.add_argument("--unresolved", action="store_true", help="only unresolved purchases, and those with an open question")
    states.add_argument("--open", dest="unresolved", action="store_true", help=argparse.SUPPRESS)  # the name before
    states.add_argument("--state", choices=[step.value for step in Step], help="only purchases at this step")
    listing.add_argument("--vendor", help="only this vendor, such as voodoo")
    listing.add_argument("--wallet", help="only this wallet: its name, or the id of a connection that pays from it")
    listing.add_argument("--conn-id", help="only purchases through this connection")
    listing.add_argument("--dag", help="only purchases of this DAG")
    listing.add_argument("--kind", choices=("create", "extend"), help="only new orders, or only extensions")
    listing.add_argument("--since", type=day_of, help="on this day (UTC) or later, YYYY-MM-DD, by the time of --sort")
    listing.add_argument("--until", type=day_of, help="on this day (UTC) or earlier, YYYY-MM-DD, by the time of --sort")
    listing.add_argument("--text", help="a part of a key, an id, a task, or of the vendor's words")
    listing.add_argument("--sort", choices=[*_SORTS], default="updated", help="by which time (default updated), the newest first")
    listing.add_argument("--oldest-first", action="store_true", help="the other way round")
    most = listing.add_mutually_exclusive_group()
    most.add_argument("--limit", type=whole_number, default=50, help="most lines (default 50)")
    most.add_argument("--all", action="store_true", help="every line")
    listing.set_defaults(run=list_purchases)


def list_purchases(arguments: argparse.Namespace) -> int:
    """One line for each purchase, and a sum for each currency. Open questions follow unresolved purchases."""
    ledger = open_to_read(arguments)
    asked = _questions_by_key(ledger)
    limit = None if arguments.all else arguments.limit
    matching = list(itertools.islice(_listed(ledger, arguments, asked), limit and limit + 1))
    rows = [_row_of(purchase, asked.get(purchase.order_key, [])) for purchase in matching[:limit]]
    cut, number = len(matching) > len(rows), len(rows)
    sums = [f"Sum of {f'the {number} shown' if cut else f'{number} purchases'}: {total}" for total in _totals(rows)]
    nothing = "" if rows else _nothing(ledger, arguments)
    screen.show_rows(rows, arguments.output, columns=_COLUMNS, nothing=nothing, sums=sums if number > 1 else [])
    if arguments.unresolved and arguments.output == "table":
        for row in rows:
            for question in row["questions"]:
                screen.show(f"QUESTION  {row['order_key']}: {question['why']}")
    beside = screen.show if arguments.output == "table" else screen.tell  # an answer for programs keeps its form
    if cut:
        beside(f"More purchases match than the {number} shown. See them with --limit NUMBER, or with --all.")
    if arguments.sort == "expires":
        beside("Purchases without a known end are left out. Without --sort expires they are listed.")
    return 0


def _nothing(ledger: Ledger, arguments: argparse.Namespace) -> str:
    """What a person reads instead of an empty list. Only a look at the whole ledger may say that all is resolved."""
    if arguments.unresolved:
        narrowed = arguments.sort == "expires" or any(getattr(arguments, name) is not None for name in _FILTERS)
        return "no unresolved purchase matches" if narrowed else "every purchase is resolved"
    return "no purchase matches" if ledger.purchases(limit=1) else "the ledger is empty"


def _questions_by_key(ledger: Ledger) -> dict[str, list[dict[str, str]]]:
    """The open questions of each purchase, as rows tell them."""
    asked: dict[str, list[dict[str, str]]] = {}
    for question in ledger.questions():
        asked.setdefault(question.order_key, []).append({"order_id": question.order_id, "why": question.why})
    return asked


def _listed(ledger: Ledger, arguments: argparse.Namespace, asked: Iterable[str]) -> Iterator[ListedPurchase]:
    """The purchases in order. With ``--unresolved`` a purchase with an open question counts, whatever its step is."""
    from airflow_provider_proxyorders.ledger.listing import Listing

    listing, filters = Listing(ledger.engine), _filters(ledger, arguments)
    sorted_by, ascending = _SORTS[arguments.sort], arguments.oldest_first
    matching = listing.every_row(filters, sorted_by=sorted_by, ascending=ascending)
    if not arguments.unresolved:
        return matching
    # a purchase with a question is found by its very key, and has the place and the filters of all others
    also = [
        purchase
        for key in asked
        for purchase in listing.every_row(replace(filters, state=None, order_key=key), sorted_by=sorted_by, ascending=ascending)
        if not purchase.unresolved
    ]

    def place(purchase: ListedPurchase) -> tuple[Any, str]:
        return getattr(purchase, sorted_by), purchase.order_key

    return heapq.merge(matching, sorted(also, key=place, reverse=not ascending), key=place, reverse=not ascending)


def _filters(ledger: Ledger, arguments: argparse.Namespace) -> Filters:
    from airflow_provider_proxyorders.ledger.accounts import Accounts
    from airflow_provider_proxyorders.ledger.listing import UNRESOLVED_STATE, Filters

    return Filters(
        conn_id=arguments.conn_id,
        vendor=arguments.vendor,
        wallet=Accounts(ledger.engine).require(arguments.wallet) if arguments.wallet else None,
        dag_id=arguments.dag,
        state=UNRESOLVED_STATE if arguments.unresolved else arguments.state,
        kind=arguments.kind,
        since=datetime.combine(arguments.since, time(), timezone.utc) if arguments.since else None,
        until=datetime.combine(arguments.until, time(), timezone.utc) + timedelta(days=1) if arguments.until else None,
        text=arguments.text,
    )


def _facts_of(purchase: ListedPurchase | Purchase) -> dict[str, Any]:
    """What list and show tell alike."""
    return {
        "order_key": purchase.order_key,
        "state": purchase.step.value,
        "unresolved": purchase.unresolved,
        "kind": purchase.kind,
        "vendor": purchase.vendor,
        "conn_id": purchase.conn_id,
        "wallet": purchase.wallet,
        "order_id": purchase.order_id,
        "price": amount(purchase.price.amount) if purchase.price else None,
        "reserved": amount(purchase.reserved.amount),
        "currency": (purchase.price or purchase.reserved).currency,
        "expires_at": purchase.expires_at.isoformat() if purchase.expires_at else None,
        "delivered": purchase.delivered,
        "reason": purchase.reason or None,
    }


def _row_of(purchase: ListedPurchase, questions: list[dict[str, str]]) -> dict[str, Any]:
    return {
        **_facts_of(purchase),
        "questions": questions,
        "dag_id": purchase.task.dag_id,
        "amount": f"{purchase.price or purchase.reserved}{'' if purchase.price else '?'}",
        "changed": _moment(purchase.updated_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}" if moment else None


def _totals(rows: list[dict[str, Any]]) -> list[str]:
    """The sum of each currency, of the price or of what is reserved."""
    totals: dict[str, Decimal] = {}
    for row in rows:
        currency = row["currency"] or ""
        totals[currency] = totals.get(currency, Decimal(0)) + Decimal(row["price"] or row["reserved"])
    return [f"{amount(total)} {currency}".rstrip() for currency, total in totals.items()]


def show_purchase(arguments: argparse.Namespace) -> int:
    """Everything about one purchase."""
    from airflow_provider_proxyorders.hooks import deciding

    ledger = open_to_read(arguments)
    purchase = deciding.find_of_person(ledger, arguments.order_key, arguments.wallet)
    if arguments.output in ("json", "yaml"):
        screen.show_data(_data_of(ledger, purchase), arguments.output)
    else:
        _describe(ledger, purchase)
    return 0


def _data_of(ledger: Ledger, purchase: Purchase) -> dict[str, Any]:
    return {
        **_facts_of(purchase),
        "target": purchase.target,
        "request": json.loads(dump_json(purchase.request)),
        "vendor_status": purchase.vendor_status,
        "wallet_frozen": ledger.freeze_reason(purchase.wallet),
        "questions": [
            {"order_id": question.order_id, "why": question.why} for question in ledger.questions(order_key=purchase.order_key)
        ],
        "looks": [
            {"at": look.at.isoformat(), "verdict": look.verdict, "detail": look.detail}
            for look in ledger.looks(purchase.order_key)
        ],
        "history": [
            {"at": step.at.isoformat(), "step": step.step.value, "why": step.why, "actor": str(step.actor)}
            for step in ledger.history(purchase.order_key)
        ],
    }


def _describe(ledger: Ledger, purchase: Purchase) -> None:
    """For a person, with the next step where one waits for a decision."""
    for name, value in (
        ("order key", purchase.order_key),
        ("key of task", purchase.task_key),
        ("step", purchase.step.value),
        ("vendor", f"{purchase.vendor}, connection {purchase.conn_id}, wallet {purchase.wallet}"),
        ("order id", purchase.order_id or "unknown"),
        ("extends", purchase.target),
        ("request", dump_json(purchase.request)),
        ("reserved", purchase.reserved),
        ("price", purchase.price or "unknown"),
        ("refund", purchase.refund),
        ("vendor says", purchase.vendor_status),
        ("expires", purchase.expires_at),
        ("reason", purchase.reason),
        ("evidence", dump_json(purchase.evidence)),
        ("wallet frozen", ledger.freeze_reason(purchase.wallet)),
    ):
        if value:
            screen.show(f"{name + ':':<15}{value}")
    looks = ledger.looks(purchase.order_key)
    if looks:
        screen.show("looks:")
    for look in looks:
        screen.show(f"  {utc(look.at, 'microseconds')}  {look.verdict:<12} {look.detail}")
    for question in ledger.questions(order_key=purchase.order_key):
        screen.show(f"{'open question:':<15}{question.why}; answer it with resolve --adopt or --foreign {question.order_id}")
    if purchase.step is Step.QUARANTINED:
        key = purchase.order_key
        screen.show("A person decides. Look into the vendor's dashboard, then one of:")
        screen.show(f"  proxyorders ledger resolve {key!r} --adopt ORDER_ID   the vendor took it")
        screen.show(f"  proxyorders ledger resolve {key!r} --absent           the vendor lacks it; its task may send it again")
    screen.show("history:")
    for entry in ledger.history(purchase.order_key):
        screen.show(f"  {utc(entry.at, 'microseconds')}  {entry.step.value:<11}  {entry.why}  [{entry.actor}]")
