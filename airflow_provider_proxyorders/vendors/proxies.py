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

_NAME = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.IGNORECASE)


def proxy_from_line(line: str, *, scheme: str, location: str | None = None, expires_at: datetime | None = None) -> Proxy | None:
    """``host:port:user:password``, or ``host:port`` for a whitelisted address."""
    parts = line.strip().split(":", 3)  # a password may hold colons, the rest cannot
    if len(parts) not in (2, 4):
        return None
    return proxy(*parts, scheme=scheme, location=location, expires_at=expires_at)


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
