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


def test_every_file_of_the_package_and_every_dag_is_measured(tmp_path: Path) -> None:
    for name in ("airflow_provider_proxyorders/room/deep.py", "dags/story.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("\n" * 401)
    assert sizes.offenders(tmp_path) == [
        "airflow_provider_proxyorders/room/deep.py:1: the file has 401 lines, at most 400",
        "dags/story.py:1: the file has 401 lines, at most 400",
    ]
