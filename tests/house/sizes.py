"""Measures classes, functions and files of the package and the DAGs: ``make check`` fails on one that is too big.

The linter measures the complexity of functions; lines and methods are measured here. Methods under ``if`` or ``try`` and
lambdas of a class body count. A class has its own methods and those of its base classes in the same file; base classes of
other files are left out. A comment that switches the complexity rule off is an offence as well.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("airflow_provider_proxyorders", "dags")

LINES_OF_A_FILE = 400
LINES_OF_A_CLASS = 250
LINES_OF_A_FUNCTION = 60
#: properties and dunder methods count too
METHODS_OF_A_CLASS = 20

#: a comment that switches the complexity rule off; a comment for all rules at once is refused by the linter (PGH004)
UNMEASURED = re.compile(r"#.*\bnoqa\b.*\bC90", re.IGNORECASE)

LAMBDA = "<lambda>"
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def oversized(source: str) -> Iterator[tuple[int, str]]:
    """Line and reason of every oversized part of a file."""
    lines = source.splitlines()
    if len(lines) > LINES_OF_A_FILE:
        yield 1, f"the file has {len(lines)} lines, at most {LINES_OF_A_FILE}"
    for number, line in enumerate(lines, 1):
        if UNMEASURED.search(line):
            yield number, "the comment switches the complexity rule off"
    tree = ast.parse(source)
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            if lines_of(node) > LINES_OF_A_CLASS:
                yield node.lineno, f"class {node.name} has {lines_of(node)} lines, at most {LINES_OF_A_CLASS}"
            methods = len(methods_of(node, classes))
            if methods > METHODS_OF_A_CLASS:
                yield node.lineno, f"class {node.name} has {methods} methods, at most {METHODS_OF_A_CLASS}"
        elif isinstance(node, Function) and lines_of(node) > LINES_OF_A_FUNCTION:
            yield node.lineno, f"function {node.name} has {lines_of(node)} lines, at most {LINES_OF_A_FUNCTION}"


def lines_of(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first decorator to the last statement."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return (node.end_lineno or node.lineno) - first + 1


def methods_of(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> list[str]:
    """Names of a class's methods, those of base classes in the same file included. An overridden method counts once.

    :param classes: the classes of the file by name.
    """
    names = list(_functions_in(node.body))
    for base in node.bases:
        name = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(name, ast.Name) and name.id in classes and classes[name.id] is not node:
            names += [method for method in methods_of(classes[name.id], classes) if method not in names or method == LAMBDA]
    return names


def _functions_in(parts: Iterable[ast.AST]) -> Iterator[str]:
    """Names of the functions that a class body makes itself; classes and functions inside it keep their own."""
    for part in parts:
        if isinstance(part, Function):
            yield part.name
            yield from _functions_in(part.decorator_list)
        elif isinstance(part, ast.Lambda):
            yield LAMBDA
        elif not isinstance(part, ast.ClassDef):
            yield from _functions_in(ast.iter_child_nodes(part))


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
