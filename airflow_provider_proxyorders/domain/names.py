"""Names in the ledger: order keys, ids and wallets, as a user may give them."""

from __future__ import annotations

import unicodedata

from airflow_provider_proxyorders.domain.errors import InvalidParameter

#: An order key for messages.
KEY_EXAMPLE = "fresh-proxies-2026-12"
#: Joins letters of some scripts into words. All other signs without a shape are refused in a name.
_JOINERS = "\u200c\u200d"
#: Longest ids and names, in characters: the ledger's columns.
LONGEST_ID, LONGEST_CONN_ID = 200, 250


def name_rule(text: str, longest: int | None = None) -> str:
    """The rule that a text breaks as a name in the ledger (a key, an id, a wallet); "" if it breaks none.

    Two names that look the same must be the same, or one purchase would have two keys. So signs that nobody sees are refused,
    and what a database cannot store.

    >>> name_rule("fresh proxies"), name_rule("fresh\\u200bproxies")
    ('', 'must be text of visible signs, on one line')
    """
    if any(unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") and sign not in _JOINERS for sign in text):
        return "must be text of visible signs, on one line"
    if longest is not None and len(text) > longest:
        return f"must have at most {longest} characters"
    return ""


def check_name(name: str, text: str, example: object, longest: int | None = None) -> str:
    """The text, as a name in the ledger.

    :raises InvalidParameter: it breaks a rule; see :func:`name_rule`.
    """
    if rule := name_rule(text, longest):
        raise InvalidParameter(name, rule, example, got=text)
    return text
