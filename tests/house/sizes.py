"""Measures classes, functions and files of the package and the DAGs: ``make check`` fails on one that is too big.

The linter measures the complexity of functions; lines and methods are measured here.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("airflow_provider_proxyorders", "dags")

LINES_OF_A_FILE = 400
LINES_OF_A_CLASS = 250
LINES_OF_A_FUNCTION = 60
#: properties and dunder methods count too
METHODS_OF_A_CLASS = 20

Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def oversized(source: str) -> Iterator[tuple[int, str]]:
    """Line and reason of every oversized part of a file."""
    lines = len(source.splitlines())
    if lines > LINES_OF_A_FILE:
        yield 1, f"the file has {lines} lines, at most {LINES_OF_A_FILE}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            if lines_of(node) > LINES_OF_A_CLASS:
                yield node.lineno, f"class {node.name} has {lines_of(node)} lines, at most {LINES_OF_A_CLASS}"
            if methods_of(node) > METHODS_OF_A_CLASS:
                yield node.lineno, f"class {node.name} has {methods_of(node)} methods, at most {METHODS_OF_A_CLASS}"
        elif isinstance(node, Function) and lines_of(node) > LINES_OF_A_FUNCTION:
            yield node.lineno, f"function {node.name} has {lines_of(node)} lines, at most {LINES_OF_A_FUNCTION}"


def lines_of(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first decorator to the last statement."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return (node.end_lineno or node.lineno) - first + 1


def methods_of(node: ast.ClassDef) -> int:
    return sum(isinstance(statement, Function) for statement in node.body)


def offenders(root: Path = ROOT) -> list[str]:
    """Everything too big in the package and the DAGs, one line each."""
    paths = sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))
    return [
        f"{path.relative_to(root)}:{line}: {reason}"
        for path in paths
        for line, reason in sorted(oversized(path.read_text(encoding="utf-8")))
    ]


def main() -> int:
    lines = offenders()
    print(*lines, sep="\n", end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
