"""The file formats of a delivery.

Three rules. A delivery is written as it is or not at all: if a format would garble an entry, the entry is refused, and the
message hides it. The text is secret like the delivery itself. No cell of a table is a formula.

=======================  ==========================================================================================
``url``                  one ``scheme://user:password@host:port`` a line, as Scrapy's rotating middlewares read it
``host:port:user:pass``  one a line, ``host:port`` for proxies without a login; without the scheme
``jsonl``                one JSON object a line, with every field of a proxy
``csv``                  the same as a table with a heading; no cell is a formula
``list``                 one JSON list of URLs: ``meta={"proxy": url}`` in Scrapy
``requests``             one JSON list of mappings; ``requests`` takes each as ``proxies=``
=======================  ==========================================================================================

Codes are written one a line in the line formats, as text in ``list``, and under the name ``code`` in ``jsonl`` and ``csv``.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_provider_proxyorders.domain.delivered import Delivery, Proxy
from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.domain.text import is_formula, no_formula

#: A word or a number with a sign: a spreadsheet may show it otherwise, but calls nothing.
_SIGNED_WORD = re.compile(r"[+-][\w.+-]*", re.ASCII)
#: Formats that :func:`load` can read back.
READABLE = ("url", "jsonl")


def dump(delivery: Delivery, format: str) -> str:
    """A delivery as text.

    :raises ConfigError: the format is unknown or cannot hold this delivery. The message hides the delivery.
    """
    return _writer(format)(delivery)


def load(text: str, format: str, order_id: str = "") -> Delivery:
    """Read a text that :func:`dump` wrote as ``url`` or ``jsonl``; only ``jsonl`` keeps location and expiry.

    :raises ConfigError: it is another format, or the text breaks it. The message hides the text.
    """
    if format not in READABLE:
        _writer(format)
        raise ConfigError(f"format {format!r} cannot be read back without loss; write {' or '.join(READABLE)}. Nothing was sent.")
    proxies: list[Proxy] = []
    codes: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        try:
            entry = _from_url(line) if format == "url" else _from_json(line)
        except (ValueError, TypeError, KeyError):
            raise ConfigError(f"line {number} breaks the format {format!r}. Nothing was sent.") from None
        if isinstance(entry, Proxy):
            proxies.append(entry)
        else:
            codes.append(entry)
    return Delivery(order_id, tuple(proxies), tuple(codes))


def first_expiry(delivery: Delivery) -> datetime | None:
    """When the first of the proxies expires, in UTC; ``None`` if the vendor does not say."""
    return min((proxy.expires_at for proxy in delivery.proxies if proxy.expires_at), default=None)


def _writer(format: str) -> Callable[[Delivery], str]:
    writer = WRITERS.get(format)
    if writer is None:
        raise ConfigError(f"format must be one of {', '.join(WRITERS)}; got {format!r}. Nothing was sent.")
    return writer


# ---------------------------------------------------------------------------------------------- writing


def _urls(delivery: Delivery) -> str:
    return _lines([*(proxy.url for proxy in delivery.proxies), *_plain_codes(delivery)], "url")


def _colons(delivery: Delivery) -> str:
    return _lines([*(_colon_line(proxy) for proxy in delivery.proxies), *delivery.codes], "host:port:user:pass")


def _colon_line(proxy: Proxy) -> str:
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    if proxy.username is None:
        return f"{host}:{proxy.port}"
    if ":" in proxy.username:
        raise ConfigError(
            "a user name holds a colon, so readers would split host:port:user:pass wrongly; choose another format. "
            "The file stays as it was."
        )
    return f"{host}:{proxy.port}:{proxy.username}:{proxy.password or ''}"


def _json_lines(delivery: Delivery) -> str:
    return "".join(json.dumps(record) + "\n" for record in _records(delivery))


def _table(delivery: Delivery) -> str:
    columns = [*(_FIELDS if delivery.proxies or not delivery.codes else ()), *(("code",) if delivery.codes else ())]
    out = io.StringIO()
    rows = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    rows.writeheader()
    rows.writerows(_cells(record) for record in _records(delivery))
    return out.getvalue()


def _cells(record: dict[str, Any]) -> dict[str, Any]:
    """A row of a table. The place is a text for people; logins and codes are needed to the letter.

    :raises ConfigError: a spreadsheet would run one of them.
    """
    cells = {**record, "location": no_formula(record["location"])} if record.get("location") else record
    for name in _LETTER_BY_LETTER & set(cells):
        value = cells[name] or ""
        if is_formula(value) and not _SIGNED_WORD.fullmatch(value):
            raise ConfigError(
                f"a {name} begins like a formula, and a spreadsheet would run it; choose 'jsonl'. The file stays as it was."
            )
    return cells


def _list(delivery: Delivery) -> str:
    return json.dumps([*(proxy.url for proxy in delivery.proxies), *delivery.codes], indent=0) + "\n"


def _mappings(delivery: Delivery) -> str:
    if delivery.codes:
        raise ConfigError(
            f"order {delivery.order_id} yielded codes, and the format 'requests' holds proxies only; choose 'list' or 'jsonl'. "
            "The file stays as it was."
        )
    return json.dumps([proxy.requests for proxy in delivery.proxies], indent=0) + "\n"


def _records(delivery: Delivery) -> Iterable[dict[str, Any]]:
    for proxy in delivery.proxies:
        record = {name: getattr(proxy, name) for name in _FIELDS}
        yield {**record, "expires_at": proxy.expires_at.isoformat() if proxy.expires_at else None}
    for code in delivery.codes:
        yield {"code": code}


_LETTER_BY_LETTER = {"username", "password", "code"}
_FIELDS = ("scheme", "host", "port", "username", "password", "location", "expires_at")


def _plain_codes(delivery: Delivery) -> list[str]:
    if any("://" in code for code in delivery.codes):
        raise ConfigError(
            "a code looks like an address, so a reader would take it for a proxy; choose 'jsonl'. The file stays as it was."
        )
    return list(delivery.codes)


def _lines(entries: list[str], format: str) -> str:
    if any(entry.splitlines() != [entry] for entry in entries):
        raise ConfigError(
            f"an entry holds a line break, and {format!r} has one entry a line; choose 'jsonl'. The file stays as it was."
        )
    return "".join(f"{entry}\n" for entry in entries)


WRITERS: Mapping[str, Callable[[Delivery], str]] = {
    "url": _urls,
    "host:port:user:pass": _colons,
    "jsonl": _json_lines,
    "csv": _table,
    "list": _list,
    "requests": _mappings,
}


# ---------------------------------------------------------------------------------------------- reading


def _from_url(line: str) -> Proxy | str:
    if "://" not in line:
        return line
    parts = urlsplit(line)
    if not parts.hostname or not parts.port:
        raise ValueError("host and port are missing")
    if "@" not in parts.netloc:
        return Proxy(parts.hostname, parts.port, scheme=parts.scheme)
    return Proxy(parts.hostname, parts.port, unquote(parts.username or ""), unquote(parts.password or ""), scheme=parts.scheme)


def _from_json(line: str) -> Proxy | str:
    record: dict[str, Any] = json.loads(line)
    if "code" in record:
        return str(record["code"])
    until = record.pop("expires_at")
    return Proxy(**record, expires_at=datetime.fromisoformat(until) if until else None)


__all__ = ["READABLE", "WRITERS", "dump", "first_expiry", "load"]
