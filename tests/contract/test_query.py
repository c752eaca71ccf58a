"""Query values are written as PHP reads them: never Python's words for a truth value, a list or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_proxyorders.vendors.fields import query
from tests.contract.replay import vendor_for


@pytest.mark.parametrize(
    ("value", "params"),
    [
        (True, [("q", "1")]),
        (False, [("q", "0")]),
        (None, []),
        (7, [("q", "7")]),
        ("a b", [("q", "a b")]),
        (["x", "y"], [("q[]", "x"), ("q[]", "y")]),
        ({"5": True, "6": ["x", "y"], "7": None}, [("q[5]", "1"), ("q[6][]", "x"), ("q[6][]", "y")]),
        ([{"id": 5, "answer": "x"}, {"id": 6, "answer": False}],
         [("q[0][id]", "5"), ("q[0][answer]", "x"), ("q[1][id]", "6"), ("q[1][answer]", "0")]),
    ],
)  # fmt: skip
def test_a_value_as_php_reads_it(value: Any, params: list[tuple[str, str]]) -> None:
    assert query("q", value) == params


def test_a_quote_asks_with_every_kind_of_answer() -> None:
    body = {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2}
    answers = {"5": "ref", "6": True, "7": ["x", "y"]}
    request = next(vendor_for("iproyal").quote({**body, "product_question_answers": answers}))
    asked = [pair for pair in request.params if pair[0].startswith("product_question_answers")]
    assert asked == [
        ("product_question_answers[5]", "ref"),
        ("product_question_answers[6]", "1"),
        ("product_question_answers[7][]", "x"),
        ("product_question_answers[7][]", "y"),
    ]
