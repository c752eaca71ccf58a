"""A key that comes twice with different values counts as missing in an answer, and is refused in what a user wrote."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InvalidParameter, OutcomeUnknown, telling_of_the_wallet
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, load_json, load_own_json
from airflow_provider_proxyorders.domain.inputs import body_of
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Response
from tests.transport.conftest import create, vendor_of
from tests.vendors import VENDORS

CONTRADICTIONS = {
    '{"id": 1, "id": 2, "status": "ok"}': {"status": "ok"},
    '{"id": 2, "status": "ok", "id": 1}': {"status": "ok"},
    '{"id": 1, "id": 1, "id": 2}': {},
    '{"id": 1, "id": 2, "id": 1}': {},
    '{"id": "1", "id": 1}': {},
    '{"paid": true, "paid": 1}': {},
    '{"paid": [true], "paid": [1]}': {},
    '{"paid": null, "paid": false}': {},
    '{"i\\u0064": 1, "id": 2}': {},
    '{"a": {"b": [{"id": 1, "id": 2, "c": 3}]}}': {"a": {"b": [{"c": 3}]}},
    '{"a": {"id": 1}, "a": {"id": 2}}': {},
    '[{"id": 1, "id": 2}, {"id": 3}]': [{}, {"id": 3}],
}
COPIES = {
    '{"id": 1, "id": 1}': {"id": 1},
    '{"price": 1.50, "price": 1.5}': {"price": Decimal("1.5")},
    '{"price": 1.0, "price": 1}': {"price": 1},
    '{"a": {"b": [1, null]}, "a": {"b": [1, null]}}': {"a": {"b": [1, None]}},
    '{"a": {"x": 1, "y": 2}, "a": {"y": 2, "x": 1}}': {"a": {"x": 1, "y": 2}},
    '{"a": {"id": 1, "id": 2}, "a": {"id": 3, "id": 4}}': {"a": {}},
}


@pytest.mark.parametrize("text", CONTRADICTIONS)
def test_a_contradicted_key_counts_as_missing(text: str) -> None:
    assert load_json(text) == load_json(text.encode()) == CONTRADICTIONS[text]


@pytest.mark.parametrize("text", COPIES)
def test_a_copy_of_the_same_value_does_no_harm(text: str) -> None:
    assert load_json(text) == COPIES[text]


@pytest.mark.parametrize("text", CONTRADICTIONS)
def test_a_user_hears_of_it(text: str) -> None:
    with pytest.raises(UnreadableBody, match="comes twice with different values"):
        load_own_json(text)


def test_a_request_with_a_contradiction_is_refused() -> None:
    with (
        pytest.raises(InvalidParameter, match=r"'quantity' comes twice with different values.*Nothing was bought"),
        telling_of_the_wallet(),
    ):
        body_of('{"quantity": 1, "quantity": 10}')
    assert body_of('{"quantity": 1, "quantity": 1}') == {"quantity": 1}


@pytest.mark.parametrize(
    "make",
    [
        lambda size: "{" + ", ".join(f'"id": {number}' for number in range(size)) + "}",
        lambda size: "{" + ", ".join(['"id": [' + "1, " * 50 + "1]"] * (size // 50)) + "}",
        lambda size: '{"id": 0, "id": ' * 200 + "[" + "1, " * size + "1]" + "}" * 200,
        lambda size: '{"id": ' * 200 + "[" + "1, " * size + "1]" + ', "id": 0}' * 200,
    ],
    ids=["many values", "many copies", "deep, last", "deep, first"],
)
def test_it_takes_no_longer_for_a_doubled_key(make: Any) -> None:
    """Time grows with the length of the answer, whatever is in it."""

    def seconds(size: int) -> float:
        text, least = make(size), 10.0
        for _ in range(5):
            began = time.process_time()
            load_json(text)
            least = min(least, time.process_time() - began)
        return least

    assert seconds(160_000) < 16 * 4 * max(seconds(10_000), 0.001)


@pytest.mark.parametrize("name", sorted(VENDORS))
def test_a_purchase_whose_answer_contradicts_itself_is_unknown(name: str) -> None:
    """Nobody knows which of two ids is the order's; the evidence decides."""
    with Sandbox.start(port=0) as box:
        vendor = vendor_of(box, name)
        http, answers = Http(vendor.account), []
        send = http.send

        def contradict(request: Any, permit: Any = None) -> Response:
            answer = send(request, permit)
            if not request.spends:
                return answer
            answers.append(answer)
            return Response(answer.status, answer.headers, doubled(answer.body))

        http.send = contradict  # type: ignore[method-assign]
        with pytest.raises(OutcomeUnknown):
            http.run(create(vendor), lambda request: None)
        assert answers[0].ok and len(box.book.orders(name)) == 1


def doubled(body: bytes) -> bytes:
    """The same object with each key of it doubled, the first time with another value."""
    data = json.loads(body)
    if isinstance(data, list):
        data = data[0]
    return b"{" + b", ".join(f'{json.dumps(key)}: "other"'.encode() for key in data) + b", " + json.dumps(data).encode()[1:]
