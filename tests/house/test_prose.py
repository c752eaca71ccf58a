"""The measures of prose count what they name, and leave out code, field names and the sentence about the money."""

from __future__ import annotations

import ast

import pytest

from tests.house import prose


@pytest.mark.parametrize(
    ("text", "measure", "count"),
    [
        ("No answer came, and the task can’t go on.", "negations", 2),
        ("Nothing was bought.", "negations", 0),
        ("Somebody asks for her order.", "people-words", 2),
        ("The order that the vendor has, which is what counts.", "relative words", 3),
        (f"{'word ' * 31}. Short.", "long sentences %", 50),
        (f"{'word ' * 30}. Short.", "long sentences %", 0),
    ],
)
def test_counts(text: str, measure: str, count: int) -> None:
    measured = prose.measure(text)
    value = measured.values()[measure]
    assert value == count if measure.endswith("%") else round(value * measured.words / 1000) == count


def test_code_and_headings_of_a_page_do_not_count() -> None:
    page = "# Not a sentence\n\n```python\nnot None\n```\n\nRun `never` and [nobody](that.md).\n"
    assert prose.prose_of_markdown(page).split() == ["Run", "X", "and", "nobody."]


def test_each_point_of_a_list_is_a_sentence_of_its_own() -> None:
    page = "".join(f"- {'word ' * 20}\n" for _ in range(3))
    assert prose.measure(prose.prose_of_markdown(page)).long == 0


def test_field_names_and_roles_of_a_docstring_do_not_count() -> None:
    text = prose.prose_of_docstring("Do it.\n\n:param nobody: an id, see :meth:`never` and ``not``.\n:raises What: then.")
    assert text.split() == ["Do", "it.", "an", "id,", "see", "X", "and", "X.", "then."]


@pytest.mark.parametrize(
    "source",
    [
        'raise ConfigError(f"the wallet {name} has no limit")',
        'raise ConfigError("the wallet " "has no limit")',
        'log.warning("the wallet has no limit")',
        'parser.add_argument("--wallet", help="the wallet has no limit")',
        'FORM = {"help": "the wallet has no limit"}',
    ],
)
def test_messages_are_found(source: str) -> None:
    ((_, text),) = prose.messages(ast.parse(source))
    assert text.startswith("the wallet")


@pytest.mark.parametrize("source", ["known = 1", "for one in x: pass", "print([one for one in x])", "with x as held: pass"])
def test_vague_locals_are_found(source: str) -> None:
    ((_, function, _),) = prose.vague_locals(ast.parse(f"def f(x):\n    {source}"))
    assert function == "f"


def test_vague_parameters_are_found() -> None:
    names = [names for _, _, names in prose.vague_locals(ast.parse("def f(given, *, told): pass\n\ndef g(order): pass"))]
    assert names == [["given", "told"]]
