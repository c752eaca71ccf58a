"""Odd values in place of the fields of a vendor's answer; the fields come from the recorded exchanges.

One rule: a value is JSON text as it travels, since some of it is no valid JSON.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from typing import Any

from airflow_provider_proxyorders.domain.exact_json import dump_json

#: A secret of the account, as the exchanges have it.
SECRET = "test-token"
#: Stands for the odd value until the JSON is written.
MARK = "<<odd>>"
#: A value that makes the whole answer no JSON.
BROKEN = "no text at all"
#: What is played in the place of each field. ``None`` leaves the field out.
VALUES: Mapping[str, bytes | None] = {
    "missing": None,
    "null": b"null",
    "empty text": b'""',
    "false": b"false",
    "true": b"true",
    "zero": b"0",
    "minus one": b"-1",
    "half": b"0.5",
    "2^31": b"2147483648",
    "2^63": b"9223372036854775808",
    "1e30": b"1e30",
    "1e999": b"1e999",
    "5,000 digits": b"9" * 5_000,
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "empty list": b"[]",
    "empty object": b"{}",
    "list": b'[null, {"id": 1}, "x"]',
    "object with secrets": b'{"password": "hunter2-secret", "pin": 4711, "proxies": ["203.0.113.9:8080:u:0pen-s3same"]}',
    "nested": b"[" * 600 + b"]" * 600,
    "word": b'"N/A"',
    "control characters": b'"a\\u001b[31mb\\nc\\u0000d\\u009b"',
    "marks": '"a\u202eb\u200f\u2066c\ufeff"'.encode(),
    "template": b'"{{ conn.iproyal_default.password }}{% raw %}{# x #}"',
    "half a character": b'"\\ud83d"',
    "no UTF-8": b'"\xff\xfe\xe2\x80"',
    BROKEN: b"\xff\xfe\x00",
    "long": b'"' + b"x" * 20_001 + b'"',
    "far date": b'"9999-12-31 23:59:59"',
    "odd date": b'"2030-02-01T09:15-60"',
    "the key": b'"' + SECRET.encode() + b'"',
}
#: Too dear for every field: played in one field of each operation.
HUGE: Mapping[str, bytes] = {"20 MB": b'"' + b"x" * 20_000_000 + b'"'}
#: What no text for people, for the ledger or for XCom holds: a character that steers a terminal, the beginning of a template, the
#: key, the value of a field with a secret's name.
FORBIDDEN = re.compile(
    r"[\0-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
    rf"|\{{\{{|\{{%|\{{#|{re.escape(SECRET)}|hunter2-secret"
)
#: The password of a proxy, which only a delivery holds.
GOODS = "0pen-s3same"
#: A list is tried at its first and its last entry.
Path = tuple[str | int, ...]


def fields(data: Any, path: Path = ()) -> Iterator[Path]:
    """Every place of a JSON value: the whole, each field, and the first and the last entry of each list."""
    yield path
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from fields(value, (*path, name))
    elif isinstance(data, list):
        for number in sorted({0, len(data) - 1} if data else set()):
            yield from fields(data[number], (*path, number))


def with_values(data: Any, path: Path, kinds: Collection[str] = VALUES) -> Iterator[tuple[str, bytes]]:
    """The JSON of an answer with each odd value in one place."""
    values = {name: {**VALUES, **HUGE}[name] for name in kinds}
    if not path:
        yield from ((name, value or b"") for name, value in values.items())
        return
    changed = deepcopy(data)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = MARK
    whole = dump_json(changed).encode()
    for name, value in values.items():
        if value is not None:
            yield name, whole.replace(_MARKED, value)
    del place[path[-1]]
    yield "missing", dump_json(changed).encode()


_MARKED = dump_json(MARK).encode()


def shape(path: Path) -> Path:
    """A place without the numbers of its entries."""
    return tuple("*" if isinstance(step, int) else step for step in path)
