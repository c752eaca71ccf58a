"""Secrets by their names: one list of names, for ledger, log and error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Parts of a name that make its value a secret.
_SECRET_PARTS = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "accesskey",
    "credential",
    "authoriz",
)
#: Words of a name that make its value a secret; inside of a longer word they mean something else.
_SECRET_WORDS = frozenset(
    {"pwd", "pass", "auth", "otp", "totp", "pin", "cvv", "cvc", "cookie", "cookies", "session", "jwt", "bearer", "signature"}
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret, in any of the usual spellings: ``api_key``, ``apiKey``, ``API-KEY``."""
    words = [word.lower() for word in _WORDS.findall(name)]
    together = "".join(words)
    return not _SECRET_WORDS.isdisjoint(words) or together in _SECRET_WORDS or any(part in together for part in _SECRET_PARTS)


#: Fields of an answer that hold what was delivered.
_DELIVERIES = frozenset({"proxies", "codes"})
#: A login as a vendor lists it: ``host:port:user:password``, or an address with a login in it.
_LOGIN = re.compile(r"\S+:\d{2,5}:\S+:\S+|://[^\s/@]+:[^\s/@]+@")


def masked_answer(value: Any) -> Any:
    """A copy of a vendor's answer without secrets and without what was delivered: of that the number is left."""
    if isinstance(value, Mapping):
        return {name: _masked_field(str(name), item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked_answer(item) for item in value]
    return "***" if isinstance(value, str) and _LOGIN.search(value) else value


def _masked_field(name: str, value: Any) -> Any:
    if name in _DELIVERIES and value:
        return f"*** ({len(value)})" if isinstance(value, (list, tuple, Mapping)) else "***"
    return "***" if is_secret_name(name) and value else masked_answer(value)


def masked(value: Any) -> Any:
    """A copy of a request with the values of secret-looking fields replaced, for ledger, log and error."""
    if isinstance(value, Mapping):
        return {key: "***" if isinstance(key, str) and is_secret_name(key) else masked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item) for item in value]
    return value
