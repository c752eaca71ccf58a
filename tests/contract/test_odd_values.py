"""Every field of every recorded answer takes every odd value: the answer is used, or one clear error says what happened.

The fields come from the exchanges, so a new vendor is covered by its own. A field that an answer can lack may hold anything: it
decides nothing, so it stops nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from decimal import Decimal
from itertools import groupby
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.delivered import Delivery
from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, ProxyOrdersError
from airflow_provider_proxyorders.domain.inputs import LARGEST_AMOUNT
from airflow_provider_proxyorders.domain.model import Balance, VendorOrder
from airflow_provider_proxyorders.vendors.contract import Look
from airflow_provider_proxyorders.wire.messages import Request, Response
from airflow_provider_proxyorders.wire.reading import FARTHEST, LARGEST_COUNT, LONGEST_ID, LONGEST_NOTE, LONGEST_WORD
from tests.contract.odd import BROKEN, FORBIDDEN, GOODS, HUGE, SECRET, VALUES, Path, fields, shape, with_values
from tests.contract.replay import SPENDING, Exchange, exchanges, flow_of, vendor_for, view

#: Requests of one flow; a flow with more is stuck.
MOST_REQUESTS = 60
#: Words of an answer about the answer itself: it may lack them, and another value means trouble.
ENVELOPE = frozenset({"success", "meta", "data"})
#: Operations whose answer is one thing: without it there is nothing to use.
ONE_THING = frozenset({"delivery", "quote", "quote_extension"})
GROUPS = {
    f"{vendor}.{operation}": tuple(group)
    for (vendor, operation), group in groupby(
        sorted(exchanges(), key=lambda each: (each.vendor, each.operation)), key=lambda each: (each.vendor, each.operation)
    )
}


#: Operations that hand on the vendor's own rows: the catalogue and the stored cards.
ROWS = frozenset({"products", "cards"})


class Stuck(Exception):
    """A flow that goes on asking."""


@pytest.mark.parametrize("group", GROUPS)
def test_an_odd_value_is_used_or_told(group: str, record_property: Any) -> None:
    count, seen = 0, set[Any]()
    for exchange in GROUPS[group]:
        for number, step in enumerate(exchange.data["steps"]):
            answer, request = step["response"], step["request"]
            if "json" not in answer:
                continue
            for path in fields(answer["json"]):
                place = (request["method"], request["path"], answer["status"], shape(path), "raises" in exchange.data["expect"])
                if place in seen:
                    continue
                seen.add(place)
                count += _play_all(exchange, number, path)
    count += _play_huge(GROUPS[group][0])
    record_property("odd values played", count)
    assert count or not any("json" in step["response"] for each in GROUPS[group] for step in each.data["steps"])


def _play_huge(exchange: Exchange) -> int:
    """Play an exchange with 20 MB of text in the last field of its last answer, or of the one before that has fields."""
    for number, step in reversed([*enumerate(exchange.data["steps"])]):
        places = [path for path in fields(step["response"].get("json")) if path]
        if places:
            return _play_all(exchange, number, places[-1], (*HUGE, "missing"))
    return 0


def _play_all(exchange: Exchange, number: int, path: Path, kinds: Collection[str] = VALUES) -> int:
    """Play an exchange with each odd value in one place; returns how many."""
    results = {
        name: _played(exchange, number, body)
        for name, body in with_values(exchange.data["steps"][number]["response"]["json"], path, kinds)
    }
    for name, result in results.items():
        where = f"{exchange.name}, step {number}, {'.'.join(map(str, path))} as {name}: {result!r}"
        _hold(exchange, result, where)
        decides = isinstance(results["missing"], ProxyOrdersError) or bool(ENVELOPE.intersection(map(str, path)))
        if not decides and name != BROKEN and exchange.operation not in ONE_THING:
            assert not isinstance(result, ProxyOrdersError), f"a field that may be missing stops all: {where}"
    return len(results)


def _played(exchange: Exchange, number: int, body: bytes) -> Any:
    """What the flow makes of the recorded answers with one other body: a result or an error of ours."""
    vendor = vendor_for(exchange.vendor, **deepcopy(exchange.data.get("account", {})))
    answers = exchange.responses()
    answers[number] = Response(answers[number].status, answers[number].headers, body)
    requests = [(step["request"]["method"], step["request"]["path"]) for step in exchange.data["steps"]]
    again = dict(zip(requests, answers, strict=True))
    flow = flow_of(vendor, exchange)
    try:
        request: Request = next(flow)
        for sent in range(MOST_REQUESTS):
            other = again.get((request.method, request.path), Response(404, {"content-type": "application/json"}, b"{}"))
            request = flow.send(answers[sent] if sent < len(answers) else other)
    except StopIteration as stop:
        return stop.value
    except ProxyOrdersError as error:
        return error
    raise Stuck(f"{exchange.name} asks more than {MOST_REQUESTS} times")


def _hold(exchange: Exchange, result: Any, where: str) -> None:
    """What holds for every result and for every error."""
    if isinstance(result, Delivery):
        assert result.order_id.isprintable(), where
        return
    own_key = exchange.data.get("account", {}).get("secret", SECRET)
    for text in _texts(result):
        said = text.replace(SECRET, "") if own_key != SECRET else text
        assert not FORBIDDEN.search(said), where
        assert GOODS not in text or exchange.operation in ROWS, where
        assert len(text) <= (10_000 if exchange.operation in ROWS else 1_500), where
    if isinstance(result, ProxyOrdersError):
        _hold_error(exchange, result, where)
    elif isinstance(result, VendorOrder):
        _hold_order(result, where)
    elif isinstance(result, Look) and result.order is not None:
        _hold_order(result.order, where)
    elif isinstance(result, Balance):
        assert abs(result.available.amount) <= LARGEST_AMOUNT, where
    elif isinstance(result, list):
        for order in (each for each in result if isinstance(each, VendorOrder)):
            _hold_order(order, where)


def _hold_error(exchange: Exchange, error: ProxyOrdersError, where: str) -> None:
    """The error says what happened to the money; that of a refused purchase is told by the buyer, after a look."""
    if exchange.operation in SPENDING and isinstance(error, OutcomeUnknown):
        assert "whether it was taken and charged is unknown" in str(error), where
    elif exchange.operation not in SPENDING:
        assert "moves no money" in str(error) or "Nothing was" in str(error) or error.retry == "never", where


def _hold_order(order: VendorOrder, where: str) -> None:
    """The ledger can store it."""
    assert 0 < len(order.order_id) <= LONGEST_ID, where
    assert len(order.vendor_status) <= LONGEST_WORD and len(order.reason) <= 2 * LONGEST_NOTE + 2, where
    assert order.delivered is None or 0 <= order.delivered <= LARGEST_COUNT, where
    assert order.expires_at is None or order.expires_at <= FARTHEST, where
    for money in (order.price, order.refund):
        assert money is None or 0 <= money.amount <= LARGEST_AMOUNT, where


def _texts(value: Any) -> Iterator[str]:
    """Every text of a result."""
    if isinstance(value, ProxyOrdersError):
        yield from (str(value), getattr(value, "vendor_text", ""), getattr(value, "code", ""))
    elif isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from (*_texts(name), *_texts(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, (bool, int, Decimal)):
        yield from _texts(view(value))
