"""The answer to a purchase, and the read of its order, take every odd value: the purchase is never stuck, lost or bought twice.

The fields come from the exchanges, so a new vendor is covered by its own. Nothing is between the buyer and the recorded answers
but a function, so thousands of purchases take seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pytest
from sqlalchemy import MetaData, select

from airflow_provider_proxyorders.domain.account import Account, Caps
from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, ProxyOrdersError
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import TAKEN, Purchase, Step, decimal
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.testing.replay import Exchange, exchanges
from airflow_provider_proxyorders.testing.scenes import Stub
from airflow_provider_proxyorders.transport.flow import Permit
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Request, Response
from tests.contract.odd import FORBIDDEN, GOODS, SECRET, fields, shape, with_values
from tests.ledgers import sqlite_ledger
from tests.vendors import NAMES, VENDORS

TRIES = 4
#: One value of each kind: whole purchases take longer than reading an answer.
KINDS = (
    *("missing", "null", "false", "minus one", "2^63", "NaN", "empty list", "empty object", "object with secrets", "nested"),
    *("control characters", "template", "half a character", "no UTF-8", "long", "the key", "no text at all"),
)


class Direct(Http):
    """Asks the recorded answers without a network in between."""

    def __init__(self, account: Account, shop: Shop):
        super().__init__(account)
        self.shop = shop

    def send(self, request: Request, permit: Permit | None = None) -> Response:
        if request.spends and permit is not None:
            permit(request)
        return self.shop.answer(request)


@dataclass
class Shop:
    """A vendor with one odd answer.

    :param purchase: in place of the first answer to a purchase.
    :param read: in place of every read of the order, by its path.
    """

    stub: Stub
    purchase: bytes | None = None
    read: dict[str, bytes] = field(default_factory=dict)

    def answer(self, request: Request) -> Response:
        params = [(name, str(value)) for name, value in request.params]
        answer = self.stub.answer(request.method, request.path, params, request.body or b"")
        assert answer is not None, self.stub.missing
        if request.spends and self.purchase is not None:
            answer, self.purchase = Response(answer.status, answer.headers, self.purchase), None
        if request.method == "GET" and request.path in self.read:
            answer = self.stub.under_their_reference(Response(200, answer.headers, self.read[request.path]))
        return answer


def recorded(vendor: str) -> list[Exchange]:
    return [exchange for exchange in exchanges() if exchange.vendor == vendor]


def buyer(shop: Shop, ledger: Ledger, case: str) -> Buyer:
    kind = shop.stub.vendor
    account = Account(
        vendor=kind.name,
        conn_id=f"{kind.name}_default",
        wallet=f"{kind.name}:{case}",
        base_url="https://vendor.example",
        secret=SECRET,
        settings={"settle": 0},
        caps=Caps(max_order_price=decimal("1000000")),
        timeout=2.0,
    )
    return Buyer(kind(account), Direct(account, shop), ledger, sleep=lambda seconds: None)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """At the time of the recorded orders."""
    return open_ledger(sqlite_ledger(tmp_path_factory.mktemp("odd")), lambda: datetime(2025, 1, 1, tzinfo=timezone.utc))


@pytest.mark.parametrize("vendor", NAMES)
def test_an_odd_answer_to_a_purchase(vendor: str, ledger: Ledger, record_property: Any) -> None:
    count = 0
    first = Stub(VENDORS[vendor], recorded(vendor))
    answer = first.purchase["response"]["json"]
    for place in {shape(place): place for place in fields(answer)}.values():
        for name, body in with_values(answer, place, KINDS):
            case = f"{vendor} {'.'.join(map(str, place))} {name}"
            shop = Shop(Stub(VENDORS[vendor], recorded(vendor)), purchase=body)
            _buy(shop, ledger, case)
            count += 1
    _scan(ledger, vendor)
    record_property("odd answers to a purchase", count)


def _buy(shop: Shop, ledger: Ledger, case: str) -> None:
    """A task with retries."""
    error: ProxyOrdersError | None = None
    purchase: Purchase | None = None
    for _ in range(TRIES):
        try:
            purchase = buyer(shop, ledger, case).place(shop.stub.body, order_key=case)
            break
        except ProxyOrdersError as failed:
            error = failed
            assert not FORBIDDEN.search(str(failed)), f"{case}: {failed}"
            stored = ledger.find(case)
            assert stored is not None and stored.step is not Step.SENT, f"{case}: {failed!r}"
            if failed.retry == "never":
                break
    assert len(shop.stub.taken) == 1, f"{case}: bought {len(shop.stub.taken)} times"
    if purchase is None:
        assert isinstance(error, OutcomeUnknown), f"{case}: the vendor took the order, the task ends with {error!r}"
    else:
        assert purchase.step in TAKEN and purchase.order_id, f"{case}: {purchase}"


def _scan(ledger: Ledger, vendor: str) -> None:
    """No row of the ledger holds what no text may hold."""
    metadata = MetaData()
    metadata.reflect(ledger.engine)
    with ledger.engine.connect() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table)).all():
                for text in (value for value in row if isinstance(value, str)):
                    assert not FORBIDDEN.search(text) and GOODS not in text, f"{vendor}: {table.name}: {row}"


@pytest.mark.parametrize("vendor", NAMES)
def test_an_odd_read_of_an_order(vendor: str, ledger: Ledger, record_property: Any) -> None:
    """The read leaves the ledger as it is, or brings it up to date; the order stays the purchase's own."""
    count = 0
    path, answer = next(pair for pair in _reads(vendor) if _reads_its_own(vendor, ledger, *pair))
    for place in {shape(place): place for place in fields(answer)}.values():
        case = f"{vendor} reads {'.'.join(map(str, place))}"
        task, shop, purchase = _placed(vendor, ledger, case)
        if VENDORS[vendor].capabilities.create_evidence == "search":  # without its reference an order is not found
            shop.read = {path: dump_json(answer).encode()}
            purchase = task.refresh(purchase)
        for name, body in with_values(answer, place, KINDS):
            shop.read = {path: body}
            try:
                after: Purchase | None = task.refresh(purchase)
            except ProxyOrdersError as error:
                assert not FORBIDDEN.search(str(error)), f"{case} {name}: {error}"
                after = ledger.find(case)
            assert after is not None
            assert (after.order_id, after.step in TAKEN) == (purchase.order_id, True), f"{case} {name}: {after}"
            count += 1
    _scan(ledger, vendor)
    record_property("odd reads of an order", count)


def _placed(vendor: str, ledger: Ledger, case: str) -> tuple[Buyer, Shop, Purchase]:
    shop = Shop(Stub(VENDORS[vendor], recorded(vendor)))
    task = buyer(shop, ledger, case)
    return task, shop, task.place(shop.stub.body, order_key=case)


def _reads_its_own(vendor: str, ledger: Ledger, path: str, answer: Any) -> bool:
    """Whether a recorded read shows the order as that of the purchase: others show what another body asked for."""
    task, shop, purchase = _placed(vendor, ledger, f"{vendor} {dump_json(answer)}"[:400])
    shop.read = {path: dump_json(answer).encode()}
    return task.refresh(purchase).step in TAKEN


def _reads(vendor: str) -> Iterator[tuple[str, Any]]:
    """Path and answer of the recorded reads of the order that the purchase places."""
    own = Stub(VENDORS[vendor], recorded(vendor)).created[0].data["expect"]["returns"]["order_id"]
    for exchange in recorded(vendor):
        if exchange.operation == "get" and exchange.data["expect"].get("returns", {}).get("order_id") == own:
            step = exchange.data["steps"][-1]
            if "json" in step["response"]:
                yield step["request"]["path"], step["response"]["json"]
