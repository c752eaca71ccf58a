"""Measures the prose of docs, docstrings and messages: ``make prose``.

Four measures, each per 1,000 words: negations, words for unnamed people, relative words, and (in per cent) sentences of
more than 30 words. The sentence "Nothing was bought." and its kin are left out of the count, since every refusal must end with
it. Code, tables' rules and field names are left out as well.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "airflow_provider_proxyorders"

#: measure -> (limit, what counts)
NEGATIONS = re.compile(r"\b(no|not|never|none|nothing|nowhere|neither|nor|cannot|\w+n['’]t)\b", re.IGNORECASE)
PEOPLE = re.compile(
    r"\b(who|whoever|whom|whose|somebody|someone|anybody|anyone|nobody|everybody|everyone|he|him|his|she|her)\b", re.IGNORECASE
)
RELATIVE = re.compile(r"\b(that|which|what|where|whatever|whichever|wherever)\b", re.IGNORECASE)
LIMITS = {"negations": 15.0, "people-words": 1.0, "relative words": 22.0, "long sentences %": 5.0}
LONGEST_SENTENCE = 30

#: What every refusal must say; see the promises.
MONEY_SENTENCE = re.compile(
    r"\b(?:and )?(?:this try )?"
    r"(?:nothing (?:was|is) (?:bought|sent|changed|charged)|bought nothing|buys nothing|move[sd] no money)\b\.?",
    re.IGNORECASE,
)
#: Local names that do not say what they hold.
VAGUE = {"known", "found", "seen", "told", "given", "held", "one"}
#: Methods whose text arguments a person reads.
SPEAKING = {"info", "warning", "error", "exception", "debug", "say", "_say", "print", "tell", "add_argument", "add_parser", "put"}
#: Keys of a form's description whose texts a person reads.
SHOWN = {"help", "description"}


@dataclass(frozen=True)
class Measured:
    words: int
    negations: float
    people: float
    relative: float
    long: float

    def values(self) -> dict[str, float]:
        return dict(zip(LIMITS, (self.negations, self.people, self.relative, self.long), strict=True))


def measure(text: str) -> Measured:
    """The four measures of a text without code."""
    counted = MONEY_SENTENCE.sub("", text)
    words = max(1, len(re.findall(r"[A-Za-z][A-Za-z'’-]*", text)))
    sentences = [part for part in re.split(r"(?<=[.!?])\s+|\n{2,}", text) if part.strip()]
    lengths = [len(re.findall(r"[A-Za-z0-9][\w'’-]*", sentence)) for sentence in sentences]
    long = sum(length > LONGEST_SENTENCE for length in lengths)

    def per_thousand(pattern: re.Pattern[str]) -> float:
        return 1000 * len(pattern.findall(counted)) / words

    return Measured(
        words, per_thousand(NEGATIONS), per_thousand(PEOPLE), per_thousand(RELATIVE), 100 * long / max(1, len(sentences))
    )


def prose_of_markdown(source: str) -> str:
    """A page without its code; each cell of a table and each point of a list is a paragraph of its own."""
    text = re.sub(r"^(```|~~~).*?^\1\s*$", "\n\n", source, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"`[^`\n]+`", "X", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^\s*\|?[-:| ]+\|\s*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*(?:[-*]|\d+\.)\s+", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"^#+\s.*$", "\n\n", text, flags=re.MULTILINE)
    return re.sub(r"\|", "\n\n", text)


def prose_of_docstring(text: str) -> str:
    """A docstring without fields' names, roles and code."""
    text = re.sub(r"::\n\n(?:(?: {4}.*)?\n)+", "\n\n", text)
    text = re.sub(r":\w+:`~?[^`]*`|``[^`]+``", "X", text)
    return re.sub(r"^\s*(?:-\s+|:(?:param|raises|returns?|rtype)[^:]*:)", "\n\n", text, flags=re.MULTILINE)


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every docstring with its line."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), prose_of_docstring(text)


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every text of at least four words that is raised, logged, printed or shown in a form."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            shown = [value for key, value in zip(node.keys, node.values, strict=True) if key and _text_of(key) in SHOWN]
            yield from ((value.lineno, _text_of(value)) for value in shown if _is_sentence(_text_of(value)))
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "AttributeError":  # in Python's own words
            continue
        if not (name in SPEAKING or name[:1].isupper() or name.lower().lstrip("_") in ("field", "check", "wrong")):
            continue
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            if _is_sentence(_text_of(argument)):
                yield node.lineno, _text_of(argument)


def _is_sentence(text: str) -> bool:
    return len(re.findall(r"[A-Za-z]{2,}", text)) >= 4


def _text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text_of(part) if isinstance(part, ast.Constant) else "X" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text_of(node.left) + _text_of(node.right)
    return ""


def vague_locals(tree: ast.Module) -> Iterator[tuple[int, str, list[str]]]:
    """Functions with vague local names."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
            names |= {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
            if names & VAGUE:
                yield node.lineno, node.name, sorted(names & VAGUE)


def pages() -> list[Path]:
    return [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")), *sorted((ROOT / "docs").rglob("*.md"))]


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def files_in(path: Path) -> list[Path]:
    """A page or source itself, or all of them in a folder."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in (".md", ".py"))


def gather(paths: list[Path]) -> dict[str, list[tuple[str, str]]]:
    """Texts by kind, each with its place."""
    gathered: dict[str, list[tuple[str, str]]] = {"docs": [], "docstrings": [], "messages": []}
    for path in paths:
        place = str(path.relative_to(ROOT))
        source = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            gathered["docs"].append((place, prose_of_markdown(source)))
            continue
        tree = ast.parse(source)
        gathered["docstrings"] += [(f"{place}:{line}", text) for line, text in docstrings(tree)]
        gathered["messages"] += [(f"{place}:{line}", text) for line, text in messages(tree)]
    return gathered


def report(paths: list[Path]) -> tuple[list[str], bool]:
    """The table of measures, and whether every target is met."""
    lines = [f"{'':<12}{'words':>8}" + "".join(f"{name:>19}" for name in LIMITS)]
    met = True
    for kind, texts in gather(paths).items():
        if not texts:
            continue
        measured = measure("\n\n".join(text for _, text in texts))
        line = f"{kind:<12}{measured.words:>8}"
        for name, value in measured.values().items():
            met &= value < LIMITS[name]
            line += f"{value:>10.1f} {'<' if value < LIMITS[name] else '!'}{LIMITS[name]:>6g} "
        lines.append(line)
    vague = [(path, *entry) for path in paths if path.suffix == ".py" for entry in vague_locals(ast.parse(path.read_text()))]
    lines.append(f"functions with vague local names: {len(vague)} (target 0)")
    return lines, met and not vague


def main() -> int:
    parser = argparse.ArgumentParser(prog="make prose", description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("paths", nargs="*", type=Path, help="files or folders of the checkout; default: pages and package")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="also list the N files with most to do")
    parser.add_argument("--show", action="store_true", help="also list each sentence that counts against a target")
    options = parser.parse_args()
    paths = [file for path in options.paths for file in files_in(path.resolve())] or [*pages(), *sources()]
    lines, met = report(paths)
    print(*lines, sep="\n")
    if options.worst:
        print(*worst(paths, options.worst), sep="\n")
    if options.show:
        print(*faults(paths), sep="\n")
    return 0 if met else 1


def worst(paths: list[Path], most: int) -> list[str]:
    """Files by how many of their words count against a target."""
    rows = []
    for path in paths:
        text = "\n\n".join(text for texts in gather([path]).values() for _, text in texts)
        count = sum(len(pattern.findall(MONEY_SENTENCE.sub("", text))) for pattern in (NEGATIONS, PEOPLE, RELATIVE))
        rows.append((count, path))
    return [f"{count:>5}  {path.relative_to(ROOT)}" for count, path in sorted(rows, reverse=True)[:most]]


def faults(paths: list[Path]) -> Iterator[str]:
    """Each sentence with a negation pair, a word for unnamed people, two relative words, or too many words."""
    for texts in gather(paths).values():
        for place, text in texts:
            for sentence in re.split(r"(?<=[.!?])\s+|\n{2,}", MONEY_SENTENCE.sub("", text)):
                reasons = [
                    *(["people"] if PEOPLE.search(sentence) else []),
                    *(["negations"] if len(NEGATIONS.findall(sentence)) > 1 else []),
                    *(["relative"] if len(RELATIVE.findall(sentence)) > 1 else []),
                    *(["long"] if len(re.findall(r"[A-Za-z0-9][\w'’-]*", sentence)) > LONGEST_SENTENCE else []),
                ]
                if reasons:
                    yield f"{place} ({', '.join(reasons)}): {' '.join(sentence.split())}"
    for path in paths:
        if path.suffix == ".py":
            for line, name, names in vague_locals(ast.parse(path.read_text())):
                yield f"{path.relative_to(ROOT)}:{line} {name}: {', '.join(names)}"


if __name__ == "__main__":
    sys.exit(main())
