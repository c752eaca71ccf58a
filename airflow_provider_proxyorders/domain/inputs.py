"""What users and templates put into an operator, read carefully: a template always renders to text.

One rule: what cannot be read is refused in one sentence before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any


def body_of(request: Mapping[str, Any] | str) -> Mapping[str, Any]:
    """The request as an object; a template renders to text, which must then be JSON.

    :raises InvalidRequest: when it is something else.
    """
    from airflow_provider_proxyorders.domain.errors import InvalidRequest
    from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, load_json

    body: Any = request
    if isinstance(request, str):
        try:
            body = load_json(request)
        except UnreadableBody as error:
            raise InvalidRequest("request", f"is text, but {error}; in a template use the filter `tojson`") from None
    if not isinstance(body, Mapping):
        raise InvalidRequest("request", "must be an object of the vendor's body fields", {"quantity": 1}, got=body)
    return body


def one_of(name: str, value: str, allowed: Sequence[str]) -> Any:
    """:raises ValueError: when the DAG is read, for what is none of the words."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def duration_of(value: timedelta | float | str | None) -> timedelta | None:
    """``only_within`` as a user or a template writes it.

    :raises InvalidRequest: when it is neither a timedelta nor a number of seconds.
    """
    if value is None or value == "":
        return None
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=float(value))
    except (TypeError, ValueError, OverflowError):
        from airflow_provider_proxyorders.domain.errors import InvalidRequest

        raise InvalidRequest("only_within", "must be a timedelta or seconds", 86400, got=value) from None


def ids_of(name: str, value: Iterable[Any] | str | None) -> list[str] | None:
    """A list of order ids: a list, its JSON as a template gives it, or ids with commas between them; None and "" are none given.

    :raises InvalidRequest: when it is something else.
    """
    from airflow_provider_proxyorders.domain.errors import InvalidRequest
    from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, load_json

    found: Any = value
    if isinstance(value, str):
        text = value.strip()
        if text in ("", "None", "null"):
            return None
        try:
            found = load_json(text) if text.startswith("[") else [part.strip() for part in text.split(",") if part.strip()]
        except UnreadableBody:
            found = text
    if found is None:
        return None
    if isinstance(found, (str, Mapping)) or not isinstance(found, Iterable):
        raise InvalidRequest(name, "must be a list of order ids, or its JSON as text", ["7001"], got=value)
    ids = list(found)
    if not all(isinstance(one, (str, int)) and not isinstance(one, bool) and str(one).strip() for one in ids):
        raise InvalidRequest(name, "must be a list of order ids", ["7001"], got=value)
    return [str(one).strip() for one in ids]
