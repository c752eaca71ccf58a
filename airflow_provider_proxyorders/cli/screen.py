"""What a command prints: its answer on stdout, everything else on stderr.

Three rules. Airflow and its libraries log to stdout, so while a command runs, all but the answer goes to stderr. A table is for
people, and ``json``, ``yaml`` and ``plain`` are for programs. A reader that closes the pipe early, such as ``head``, is no error.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, TextIO

import yaml  # type: ignore[import-untyped]
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich_argparse import RawDescriptionRichHelpFormatter, RichHelpFormatter

from airflow_provider_proxyorders.domain.text import amount

#: The forms of an answer. The first one is the default.
OUTPUTS = ("table", "json", "yaml", "plain")
#: Columns of a table without a terminal: one line a row, however long.
UNBOUNDED = 100_000

_answer: list[TextIO] = []


class Help(RichHelpFormatter):
    """Airflow's own form of a help page. ``[proxyorders]`` in a text names a section and is no markup."""

    text_markup = help_markup = False


class HelpByLines(Help, RawDescriptionRichHelpFormatter):
    """The same, with the lines of a text as they are."""


class Parser(argparse.ArgumentParser):
    """The parser of the command, and of each command below it."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"formatter_class": Help, **kwargs})


def output_option() -> Parser:
    """The parent parser of the commands with an answer for programs."""
    parent = Parser(add_help=False)
    parent.add_argument("-o", "--output", choices=OUTPUTS, default=OUTPUTS[0], help="form of the answer (default table)")
    return parent


@contextlib.contextmanager
def only_the_answer() -> Iterator[None]:
    """Keep stdout for :func:`show`: what others print or log goes to stderr."""
    stdout = sys.stdout
    if stdout is None:  # closed by the caller, as in >&-
        answer: TextIO = io.StringIO()
    elif _is_file(stdout, 1):
        stdout.flush()
        answer = io.open(os.dup(1), "w", encoding=stdout.encoding, errors="backslashreplace")  # noqa: UP020, SIM115
        os.dup2(2, 1)  # handlers made before this moment keep their stream, and so write to stderr, too
    else:
        answer = stdout
    _answer.append(answer)
    sys.stdout = sys.stderr
    try:
        yield
        answer.flush()
    finally:
        sys.stdout = stdout
        _answer.pop()
        if stdout is not None and answer is not stdout:
            os.dup2(answer.fileno(), 1)
            with contextlib.suppress(OSError):
                answer.close()


def is_terminal() -> bool:
    """Whether a person reads the answer at a terminal."""
    return _stream().isatty()


def _is_file(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError, AttributeError):
        return False


def show(text: str = "") -> None:
    """Print a line of the answer."""
    print(_safe(text), file=_stream())


def tell(text: str) -> None:
    """Print a line beside the answer, to stderr."""
    print(_safe(text), file=sys.stderr)


def show_data(data: Any, output: str) -> None:
    """Print an answer for a program."""
    if output == "yaml":
        show(yaml.safe_dump(data, sort_keys=False, allow_unicode=False, width=UNBOUNDED).rstrip())
    else:
        show(json.dumps(data, indent=2))


def plain(value: Any) -> Any:
    """A vendor's JSON for a program: exact numbers as text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return amount(value) if isinstance(value, Decimal) else value


def show_rows(
    rows: Sequence[Mapping[str, Any]], output: str, *, columns: Mapping[str, str], nothing: str = "", sums: Sequence[str] = ()
) -> None:
    """Print rows in one of the forms.

    :param columns: the name of each column in the rows, and its heading.
    :param nothing: what a person reads instead of an empty table.
    :param sums: further lines for people.
    """
    if output in ("json", "yaml"):
        return show_data([dict(row) for row in rows], output)
    if not rows and output == "table":
        return show(nothing)
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    if output == "plain":
        return _show_plain([list(columns), *cells])
    _show_table(cells, list(columns.values()))
    for line in sums:
        show(line)
    return None


def _show_plain(lines: Sequence[Sequence[str]]) -> None:
    """Columns of text for other programs."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        show("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _show_table(cells: Sequence[Sequence[str]], headings: Sequence[str]) -> None:
    stream = _stream()
    terminal = stream.isatty()
    console = Console(file=stream, width=None if terminal else UNBOUNDED, highlight=False, soft_wrap=False)
    table = Table(box=SIMPLE_HEAD if terminal else None, show_edge=False, pad_edge=False, padding=(0, 1))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))  # a vendor's text is no markup
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        show(line.rstrip())


def _cell(value: Any) -> str:
    """One line of text; a dash for an empty cell, so that each line has all columns."""
    return " ".join(f"{'' if value is None else value}".split()) or "-"


def _stream() -> TextIO:
    return _answer[-1] if _answer else sys.stdout


def _safe(text: str) -> str:
    """The text without characters that steer a terminal, and without those that the stream cannot write."""
    encoding = getattr(_stream(), "encoding", None) or "utf-8"
    shown = "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)
    return shown.encode(encoding, "replace").decode(encoding)
