"""One word for one thing: the words that the package gave up do not come back, in identifiers or in texts.

``docs/glossary.md`` lists the words. Comments count as texts.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = "airflow_provider_proxyorders"

#: word in an identifier -> the word in its place
IDENTIFIERS: Mapping[str, str] = {
    "desk": "buyer",
    "purse": "wallet",
    "lane": "turn",
    "reckon": "checkpoint",
    "reckoning": "checkpoint",
    "reckonings": "checkpoint",
    "in_doubt": "unresolved",
    "doubtful": "unresolved",
    "ambiguous": "maybe_sent",
    "unsettled": "unresolved",
    "strange": "foreign",
    "blind": "not visible",
    "undecided": "inconclusive",
    "goods": "delivery",
}
#: phrase in a text -> the word in its place
TEXTS: Mapping[str, str] = {
    r"in doubt": "unresolved",
    r"doubtful": "unresolved",
    r"ambiguous": "unresolved",
    r"purses?": "wallet",
    r"the desk": "the buyer",
    r"goods": "delivery",
    r"strange": "foreign",
    r"reckonings?": "checkpoint",
    r"undecided": "inconclusive",
}
#: The files that may say a word, and why.
ALLOWED: Mapping[tuple[str, str], str] = {
    ("domain/dates.py", "ambiguous"): "an hour that a clock shows twice is ambiguous",
}
#: Migrations keep the words of their time, and exchanges are data.
LEFT_OUT = ("ledger/migrations",)


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name that a module gives: functions, classes, arguments, attributes, locals and keywords."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, (ast.arg, ast.keyword)) and node.arg:
            yield node.arg
        elif isinstance(node, ast.alias):
            yield node.asname or node.name
        elif isinstance(node, ast.ExceptHandler) and node.name or isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name


def texts(source: str) -> Iterator[str]:
    """Every string of a module, docstrings and messages alike, and every comment."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def parts(name: str) -> str:
    """An identifier as words between underscores: ``OpenLane2`` is ``_open_lane_2_``."""
    return "_" + re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d)", "_", name).lower().replace(".", "_") + "_"


def old_words(file: str, source: str) -> list[str]:
    """The old words in one module, each with the word in its place."""
    names = {parts(name) for name in identifiers(ast.parse(source))} | {parts(Path(file).stem)}
    faults = [
        f"{file}: identifier with {old!r}; the word is {new!r}"
        for old, new in IDENTIFIERS.items()
        if (file, old) not in ALLOWED and any(f"_{old}_" in name for name in names)
    ]
    words = " ".join(" ".join(texts(source)).split())
    faults += [
        f"{file}: text with {match[0]!r}; the word is {new!r}"
        for old, new in TEXTS.items()
        if (match := re.search(rf"\b{old}\b", words, re.IGNORECASE)) and (file, match[0].lower()) not in ALLOWED
    ]
    return faults


@pytest.fixture(scope="module")
def sources(project: Path) -> dict[str, str]:
    package = project / PACKAGE
    files = {file.relative_to(package).as_posix(): file for file in sorted(package.rglob("*.py"))}
    return {name: file.read_text(encoding="utf-8") for name, file in files.items() if not name.startswith(LEFT_OUT)}


def test_no_old_word_in_the_package(sources: dict[str, str]) -> None:
    assert [fault for name, source in sources.items() for fault in old_words(name, source)] == []


def test_no_old_word_in_the_example_dags(project: Path) -> None:
    assert [fault for file in sorted((project / "dags").rglob("*.py")) for fault in old_words(file.name, file.read_text())] == []


@pytest.mark.parametrize(("file", "word"), ALLOWED)
def test_each_exception_is_still_needed(file: str, word: str, sources: dict[str, str]) -> None:
    assert re.search(rf"\b{word}\b", sources[file])


@pytest.mark.parametrize("word", IDENTIFIERS)
@pytest.mark.parametrize(
    "code",
    [
        "def take_{0}(): ...",
        "class Open{1}: ...",
        "def take(the_{0}): ...",
        "self._{0}_key = 1",
        "def take():\n    for {0} in (): ...",
        "take({0}_key=1)",
        "with take() as {0}: ...",
        "{2}S_{2} = 1",
        "import json as {0}",
        "try: ...\nexcept ValueError as {0}: ...",
        "match take():\n    case [_, *{0}]: ...",
    ],
)
def test_an_old_identifier_is_found(code: str, word: str) -> None:
    title = "".join(part.title() for part in word.split("_"))
    assert old_words("operators/create.py", code.format(word, title, word.upper()))


@pytest.mark.parametrize("phrase", ["in doubt", "In\n    doubt", "purse", "purses", "the desk", "goods", "strange", "undecided"])
@pytest.mark.parametrize("code", ['"""It is {0}."""', 'raise ValueError(f"{{x}}: {0}, again")', "x = 1\n# it is {0}"])
def test_an_old_word_in_a_text_is_found(code: str, phrase: str) -> None:
    if not code.startswith('"""'):
        phrase = " ".join(phrase.split())
    assert old_words("operators/create.py", code.format(phrase))


@pytest.mark.parametrize(
    "code", ["def planet(): ...", "desktop = 1", '"""A stranger with a desktop, without a doubt."""', "plane_key = 1"]
)
def test_other_words_pass(code: str) -> None:
    assert old_words("operators/create.py", code) == []


def test_a_file_named_by_an_old_word_is_found() -> None:
    assert old_words("purchase/lane.py", "x = 1")
