"""Names in the ledger: order keys, ids and wallets, as a user may give them. An order may be named by what has its id."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, Protocol

from airflow_provider_proxyorders.domain.errors import InvalidParameter
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, load_own_json

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


class HasOrderId(Protocol):
    """A purchase, an order of the vendor, or a delivery."""

    @property
    def order_id(self) -> str | None: ...


#: What every ``order_id`` takes, once a template is rendered.
AnyOrder = str | int | Mapping[str, Any] | HasOrderId

_RULE = "must be the order's id, or the whole result of the task that bought it"


def order_id_in(name: str, value: object) -> object:
    """The id inside a task's whole result (as object or JSON text), a purchase, an order or a delivery; else the value itself.

    :raises InvalidParameter: an object without an order id.

    >>> order_id_in("order_id", {"order_id": "7001", "price": "6.00"}), order_id_in("order_id", "7001")
    ('7001', '7001')
    """
    if isinstance(value, str):
        if not value.lstrip().startswith("{"):
            return value
        try:
            value = load_own_json(value)
        except UnreadableBody:
            rule = f"{_RULE}; in a template name its field, as in ['order_id'], or use the filter `tojson`"
            raise InvalidParameter(name, rule, "7001", got=value) from None
    if isinstance(value, Mapping):
        if "order_id" not in value:
            raise InvalidParameter(name, _RULE, "7001", got=value)
        return value["order_id"]
    return getattr(value, "order_id", value)
