"""The scanner finds what is planted, in every form and every medium, and nothing else."""

from __future__ import annotations

import base64
import html
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from .scan import Canary, Scanner, forms

VALUE = "sé&cret+/='\"<\\ 4711-x9"
CANARY = Canary("password", VALUE)

WRITTEN = {
    "raw": VALUE,
    "URL": quote(VALUE, safe=""),
    "URL in a query": quote_plus(VALUE),
    "JSON": json.dumps({"a": VALUE}),
    "JSON with its own letters": json.dumps({"a": VALUE}, ensure_ascii=False),
    "JSON in JSON": json.dumps({"a": json.dumps({"b": VALUE})}),
    "repr": repr(f"it is {VALUE}"),
    "repr of bytes": repr(VALUE.encode()),
    "HTML": html.escape(VALUE),
    "hex": VALUE.encode().hex(),
    "cut at its end": VALUE[: len(VALUE) * 2 // 3] + "...",
    "cut at its beginning": "..." + VALUE[-(len(VALUE) * 2 // 3) :],
    **{
        f"base64 of {user}": base64.b64encode(f"{user}:{VALUE} and more".encode()).decode() for user in ("u", "us", "use", "user")
    },
    "base64 for URLs": base64.urlsafe_b64encode(f"u:{VALUE}".encode()).decode(),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_every_form(how: str) -> None:
    scanner = Scanner([CANARY])
    scanner.text("here", f"some words {WRITTEN[how]} some more")
    assert {hit.where for hit in scanner.hits} == {"here"}
    assert not [hit for hit in scanner.hits if VALUE in str(hit) or VALUE in repr(hit)]


def test_nothing_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("sé&cret is a word, 4711 a number, and neither is the password\n" * 100)
    scanner = Scanner([CANARY])
    scanner.folder(tmp_path)
    assert (scanner.hits, scanner.places) == (set(), 1)


def test_every_file_and_every_row(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b.bin").write_bytes(b"\0\xff" + VALUE.encode() + b"\xff")
    with closing(sqlite3.connect(tmp_path / "some.db")) as connection:
        connection.execute("CREATE TABLE plain (a TEXT)")
        connection.execute("CREATE TABLE long (a TEXT, b BLOB)")
        connection.execute("INSERT INTO long VALUES (?, ?)", ("x" * 4090 + VALUE + "x" * 9000, b"\0" + VALUE.encode()))
        connection.commit()
    scanner = Scanner([CANARY])
    scanner.folder(tmp_path)
    assert {str(Path("deep/er/b.bin")), "some.db, table long"} <= {hit.where for hit in scanner.hits}
    assert "some.db, table plain" not in {hit.where for hit in scanner.hits}


def test_no_form_is_so_short_that_chance_would_write_it() -> None:
    assert min(len(text) for texts in forms("abcdefghijkl").values() for text in texts) >= 8
    assert forms("abcdefghijkl")["URL"] == set()  # the same as it is
