"""Looks for secrets in everything that processes leave behind: files of any kind, and the rows of a database.

Two rules: a secret is looked for as it is and in every form that software gives to text on its way (URL, JSON, HTML, base64 at
each of its three alignments, hex), whole and in part; and a finding names the secret and never shows it.
"""

from __future__ import annotations

import base64
import html
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

#: a part of a secret is told from chance from this many letters on
LEAST = 8


@dataclass(frozen=True)
class Canary:
    """One secret that nobody may see.

    :param kind: what it is, e.g. ``API key``.
    """

    kind: str
    value: str = field(repr=False)


@dataclass(frozen=True, order=True)
class Hit:
    """One secret in one place.

    :param form: how it was written there.
    """

    kind: str
    form: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.form}) in {self.where}"


def forms(value: str) -> dict[str, set[bytes]]:
    """Everything that a secret may look like."""
    raw = value.encode()
    escaped = json.dumps(value)[1:-1]
    texts_of: dict[str, set[bytes]] = {
        "raw": {raw},
        "URL": {quote(value, safe="").encode(), quote(value).encode(), quote_plus(value).encode()},
        "JSON": {escaped.encode(), json.dumps(value, ensure_ascii=False)[1:-1].encode(), json.dumps(escaped)[1:-1].encode()},
        "repr": {repr(value)[1:-1].encode(), repr(raw)[2:-1].encode()},
        "HTML": {html.escape(value).encode()},
        "base64": set(_base64(raw)),
        "hex": {raw.hex().encode(), raw.hex().upper().encode()},
        "UTF-16": {value.encode("utf-16-le"), value.encode("utf-16-be")},
        "part": set(),
    }
    most = len(value) * 2 // 3
    if most >= LEAST:
        texts_of["part"] = {value[:most].encode(), value[-most:].encode()}
    earlier: set[bytes] = set()
    for name, texts in texts_of.items():  # each text under its plainest name only
        texts_of[name] = {text for text in texts if len(text) >= LEAST} - earlier
        earlier |= texts_of[name]
    return texts_of


def _base64(raw: bytes) -> Iterator[bytes]:
    """What a secret becomes inside of a longer text: its letters begin at any of three places of a group."""
    for before in range(3):
        padded = b"\0" * before + raw
        whole = len(padded) // 3 * 3
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(padded[:whole])[4 if before else 0 :]


class Scanner:
    """Knows the secrets and collects where they are."""

    def __init__(self, canaries: Iterable[Canary]):
        self.canaries = sorted(set(canaries), key=lambda canary: (canary.kind, canary.value))
        self.hits: set[Hit] = set()
        self.places = 0
        self.size = 0
        self._forms = [
            (canary.kind, name, text) for canary in self.canaries for name, texts in forms(canary.value).items() for text in texts
        ]

    def text(self, where: str, data: bytes | str) -> None:
        """Look into one text."""
        data = data.encode(errors="surrogatepass") if isinstance(data, str) else data
        self.places += 1
        self.size += len(data)
        self.hits |= {Hit(kind, name, where) for kind, name, text in self._forms if text in data}

    def folder(self, root: Path) -> None:
        """Look into every file below a folder, and into the rows of the SQLite databases among them."""
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder, name)
                if not path.is_file():
                    continue  # a socket
                content = path.read_bytes()
                where = str(path.relative_to(root))
                self.text(where, content)
                if content.startswith(b"SQLite format 3\0"):
                    self.database(where, path)

    def database(self, where: str, path: Path) -> None:
        """Look into every row: in the file a long value is cut into pages."""
        with closing(sqlite3.connect(path)) as connection:
            connection.text_factory = bytes
            tables = [row[0].decode() for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                rows = connection.execute(f'SELECT * FROM "{table}"')
                text = b"\n".join(b"\t".join(_column(value) for value in row) for row in rows)
                self.text(f"{where}, table {table}", text)


def _column(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
