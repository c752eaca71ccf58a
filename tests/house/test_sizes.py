"""The limits on sizes bite: one line or one method more than allowed is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import sizes


def function(lines: int, indent: str = "") -> str:
    return f"{indent}def f():\n" + f"{indent}    pass\n" * (lines - 1)


def class_of_methods(methods: int) -> str:
    return "class C:\n" + "".join(f"    def m{number}(self): ...\n" for number in range(methods))


@pytest.mark.parametrize(
    ("allowed", "refused", "reason"),
    [
        ("x = 1\n" * 400, "x = 1\n" * 401, "the file has 401 lines, at most 400"),
        ("class C:\n" + "    x = 1\n" * 249, "class C:\n" + "    x = 1\n" * 250, "class C has 251 lines, at most 250"),
        (class_of_methods(20), class_of_methods(21), "class C has 21 methods, at most 20"),
        (function(60), function(61), "function f has 61 lines, at most 60"),
        (function(59), "@g\n" + function(60), "function f has 61 lines, at most 60"),
        ("class C:\n" + function(60, "    "), "class C:\n" + function(61, "    "), "function f has 61 lines, at most 60"),
        ("async " + function(60), "async " + function(61), "function f has 61 lines, at most 60"),
    ],
    ids=["file", "lines of a class", "methods", "function", "decorated function", "method", "async function"],
)
def test_one_more_than_allowed_is_reported(allowed: str, refused: str, reason: str) -> None:
    assert list(sizes.oversized(allowed)) == []
    assert [text for _, text in sizes.oversized(refused)] == [reason]


def test_properties_and_dunder_methods_count() -> None:
    extra = "    @property\n    def p(self): ...\n    def __len__(self): ...\n"
    assert [text for _, text in sizes.oversized(class_of_methods(19) + extra)] == ["class C has 21 methods, at most 20"]


@pytest.mark.parametrize(
    "extra",
    [
        "    if X:\n        def a(self): ...\n    else:\n        def b(self): ...\n",
        "    try:\n        def a(self): ...\n    except E:\n        def b(self): ...\n",
        "    a = lambda self: 1\n    b = property(lambda self: 2)\n",
        "    with X:\n        for y in Z:\n            def a(self): ...\n            async def b(self): ...\n",
    ],
    ids=["if", "try", "lambdas", "with and for"],
)
def test_a_method_counts_wherever_the_class_body_holds_it(extra: str) -> None:
    assert [text for _, text in sizes.oversized(class_of_methods(19) + extra)] == ["class C has 21 methods, at most 20"]
    assert list(sizes.oversized(class_of_methods(18) + extra)) == []


@pytest.mark.parametrize("bases", ["C", "C[int]", "Other, C", "Middle"])
def test_the_methods_of_base_classes_in_the_same_file_count(bases: str) -> None:
    child = f"class Middle(C): ...\nclass D({bases}):\n    def m0(self): ...\n    def own(self): ...\n"
    assert [text for _, text in sizes.oversized(class_of_methods(20) + child)] == ["class D has 21 methods, at most 20"]
    assert list(sizes.oversized(class_of_methods(19) + child)) == []


def test_functions_and_classes_inside_a_method_are_not_methods_of_the_class() -> None:
    inner = (
        "    def m(self):\n        def f(): ...\n        class Inner:\n            def g(self): ...\n        return lambda: f\n"
    )
    assert list(sizes.oversized(class_of_methods(19) + inner)) == []


@pytest.mark.parametrize("comment", ["# noqa: C901", "# noqa: E501, C901", "# ruff: noqa: C901", "#noqa:c901", "# noqa: C90"])
def test_the_complexity_rule_stays_on(comment: str) -> None:
    source = f"x = 1\ndef f():  {comment}\n    pass\n"
    assert list(sizes.oversized(source)) == [(2, "the comment switches the complexity rule off")]
    assert list(sizes.oversized("x = 1  # noqa: E501\n# C901 is the complexity rule\n")) == []


def test_every_file_of_the_package_and_every_dag_is_measured(tmp_path: Path) -> None:
    for name in ("airflow_provider_proxyorders/room/deep.py", "dags/story.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("\n" * 401)
    assert sizes.offenders(tmp_path) == [
        "airflow_provider_proxyorders/room/deep.py:1: the file has 401 lines, at most 400",
        "dags/story.py:1: the file has 401 lines, at most 400",
    ]
