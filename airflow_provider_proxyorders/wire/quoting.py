"""What of a vendor's explanation may be quoted in an error, the log and the history.

Two rules. A message is text. Of a list its texts are quoted, of an object only the fields that hold explanations by their name,
since an object may be an order with its proxies and codes. And no text with addresses is quoted: they are those of proxies,
perhaps with their passwords.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any

from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.secrets import is_secret_name

#: The fields that hold an explanation, the first one that is filled counts.
EXPLANATIONS = ("error", "message", "detail", "title", "reason", "description", "code")
#: The fields that hold the messages of other fields.
_BY_FIELD = ("errors", "fields")
#: Messages quoted from one answer.
MOST_MESSAGES = 10
#: Stands for a text with addresses.
ADDRESSES = "text that holds addresses"
#: How proxies are listed: a name or a number, and a port.
_ADDRESS = re.compile(r"[\w\]]:\d{2,5}\b")


def explanation(data: Any) -> str:
    """The explanation in an object, "" without one."""
    if not isinstance(data, Mapping):
        return ""
    return next((said for key in EXPLANATIONS[:3] if (said := quoted(data.get(key)))), "")


def quoted(value: Any) -> str:
    """What may be quoted of a value, "" for nothing."""
    if isinstance(value, Mapping):
        said = [text for name in EXPLANATIONS if (text := _words(value.get(name)))][:1]
        return "; ".join([*said, *(text for name in _BY_FIELD for text in field_messages(value.get(name)))])
    if isinstance(value, list):
        return "; ".join(islice((text for item in value if (text := _words(item))), MOST_MESSAGES))
    return _words(value)


def _words(value: Any) -> str:
    """A text or a number as text, "" for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return ""
    return value if isinstance(value, str) else dump_json(value)


def field_messages(errors: Any) -> list[str]:
    """The messages of ``{"field": ["message", ...]}``, or of a list of messages; those about secret fields stay hidden."""
    return list(islice(_messages(errors), MOST_MESSAGES))


def _messages(errors: Any, field: str = "") -> Iterator[str]:
    if isinstance(errors, Mapping):
        for name, value in errors.items():
            yield from [f"{field}{name}: ***"] if is_secret_name(name) else _messages(value, f"{field}{name}: ")
    elif isinstance(errors, list):
        yield from (f"{field}{said}" for value in errors if (said := quoted(value)))
    elif said := quoted(errors):
        yield f"{field}{said}"


def without_addresses(text: str) -> str:
    """The text, or :data:`ADDRESSES` in place of one that lists proxies."""
    return ADDRESSES if _ADDRESS.search(text) else text
