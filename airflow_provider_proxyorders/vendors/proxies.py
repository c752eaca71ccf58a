"""Reads delivered proxies, entry by entry.

One rule: an unreadable entry is None. The caller counts it, and only whole logins are delivered.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from typing import Any

from airflow_provider_proxyorders.domain.delivered import Proxy
from airflow_provider_proxyorders.wire.gate import plain

_LINE = re.compile(r"(?:(http|socks5h?)://)?(.*)", re.IGNORECASE | re.DOTALL)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_NAME = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.IGNORECASE)


def proxy_from_line(line: str, *, scheme: str, location: str | None = None, expires_at: datetime | None = None) -> Proxy | None:
    """``host:port:user:password`` or ``user:password@host:port``, or ``host:port`` for a whitelisted address.

    An IPv6 address is in brackets. A byte order mark before the line is left out, and the line's own ``http://`` or ``socks5://``
    wins over ``scheme``.
    """
    match = _LINE.match(line.strip().lstrip("\ufeff").strip())
    assert match
    own, rest = match[1], match[2]
    if _OTHER_SCHEME.match(rest):
        return None
    scheme = own.lower().removesuffix("h") if own else scheme
    for parts in (_host_first(rest), _host_last(rest)):
        read = proxy(*parts, scheme=scheme, location=location, expires_at=expires_at) if parts else None
        if read:
            return read
    return None


def _host_first(line: str) -> list[str] | None:
    host, mark, rest = line[1:].partition("]:") if line.startswith("[") else line.partition(":")
    if not mark or (line.startswith("[") and ":" not in host):
        return None
    parts = rest.split(":", 2)  # a password may hold colons, the rest cannot
    return [host, *parts] if len(parts) in (1, 3) else None


def _host_last(line: str) -> list[str] | None:
    login, mark, address = line.rpartition("@")
    user, colon, password = login.partition(":")
    place = _host_first(address)
    return [*place, user, password] if mark and colon and place and len(place) == 2 else None


def proxy(
    host: Any,
    port: Any,
    username: Any = None,
    password: Any = None,
    *,
    scheme: str,
    location: str | None = None,
    expires_at: datetime | None = None,
) -> Proxy | None:
    """A proxy from its parts in the vendor's answer, None for any wrong part."""
    number = _port(port)
    if not _is_host(host) or number is None:
        return None
    if (username, password) != (None, None) and not (_is_word(username) and _is_word(password)):
        return None
    place = plain(location) if location else None
    return Proxy(host, number, username, password, scheme=scheme, location=place, expires_at=expires_at)


def _is_host(value: Any) -> bool:
    if not isinstance(value, str) or "%" in value:  # a zone of an IPv6 address means another machine's network card
        return False
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return _NAME.fullmatch(value) is not None
    return True


def _port(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 1 <= value <= 65535 else None


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable() and " " not in value
