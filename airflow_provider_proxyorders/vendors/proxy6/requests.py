"""The forms of PROXY6: the parameters of buy and prolong, and our comment on what is bought.

Two rules. A parameter with a costly default is always sent: ``version``. A flag counts by its presence, so ``auto_prolong`` is
sent only when it is true.

Page: px6.link/developers, methods buy and prolong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from airflow_provider_proxyorders.domain.errors import InvalidRequest
from airflow_provider_proxyorders.vendors.contract import Filters, Prepared
from airflow_provider_proxyorders.vendors.fields import Field, check, convert

VENDOR = "PROXY6"

#: The longest comment (method buy, descr).
LONGEST_COMMENT = 50
#: Characters of the part of an order in an order key.
LONGEST_PART = 80
#: The products, by the numbers of ``version``. 5 (MTProto) is seen in use, and the shape of its delivery is not documented.
VERSIONS = (3, 4, 6)
STATES = ("active", "expired", "expiring", "all")

_DAYS = Field("integer", "must be a whole number of days", 30, required=True, least=1)
_NOKEY = Field("boolean", "must be true or false; it only changes the shape of the answer", True)

CREATE: Mapping[str, Field] = {
    "count": Field("integer", "must be the number of proxies", 5, required=True, least=1, most=999_999),
    "period": _DAYS,
    "country": Field("text", "must be the two letters of a country", "nl", required=True, least=2, most=2),
    "version": Field("integer", "must be 3 (IPv4 Shared), 4 (IPv4) or 6 (IPv6)", 6, choices=VERSIONS),
    "type": Field("text", "must be http or socks", "http", choices=("http", "socks")),
    "auto_prolong": Field("boolean", "must be true or false", False),
    "descr": Field("text", "must be left out: it carries our reference, by which a lost purchase is found"),
    "nokey": _NOKEY,
}
EXTEND: Mapping[str, Field] = {
    "period": _DAYS,
    "ids": Field("list", "must be a list of proxy ids of this order; without it all of its proxies are extended", ["9001"]),
    "nokey": _NOKEY,
}
FILTERS: Mapping[str, Field] = {"state": Field("text", f"must be one of {', '.join(STATES)}", "active", choices=STATES)}

_ID = re.compile(r"[0-9]{1,19}", re.ASCII)
_OURS = re.compile(r"af-[0-9a-f]{40}-([1-9][0-9]{0,5})", re.ASCII)


def comment_for(reference: str, count: int) -> str:
    """Our comment on a purchase: the reference, and the number of proxies, since no read tells how many were ordered."""
    return f"{reference}-{count}"


def count_in(comment: str) -> int | None:
    """How many proxies were ordered under a comment of ours; ``None`` for any other comment."""
    match = _OURS.fullmatch(comment)
    return int(match[1]) if match else None


def prepare_order(request: Mapping[str, Any], reference: str, *, may_renew: bool) -> Prepared:
    """Check and complete the parameters of buy.

    :param may_renew: whether the connection allows the vendor's own renewal.
    :raises InvalidRequest: for the first parameter that breaks a rule.
    """
    body, warnings = check(VENDOR, request, CREATE)
    comment = comment_for(reference, body["count"])
    if body.setdefault("descr", comment) != comment:
        raise InvalidRequest("descr", CREATE["descr"].rule, got=body["descr"], vendor=VENDOR)
    convert(VENDOR, "descr", comment, Field("text", f"must have at most {LONGEST_COMMENT} characters", most=LONGEST_COMMENT))
    body["country"] = body["country"].lower()
    if not re.fullmatch("[a-z]{2}", body["country"]):
        raise InvalidRequest("country", CREATE["country"].rule, "nl", got=body["country"], vendor=VENDOR)
    body.setdefault("version", 6)
    body.pop("nokey", None)
    if not body.pop("auto_prolong", False):
        return Prepared(body, warnings)
    if not may_renew:
        raise InvalidRequest(
            "auto_prolong",
            "lets the vendor renew and charge by itself, and no later call shows it or switches it off; leave it out, or set "
            "allow_auto_prolong in the connection",
            vendor=VENDOR,
        )
    warnings.append(f"{VENDOR}: auto_prolong: the vendor will renew and charge this order by itself, outside of all limits")
    return Prepared({**body, "auto_prolong": True}, warnings)


def prepare_extension(request: Mapping[str, Any]) -> Prepared:
    """Check the parameters of prolong.

    :raises InvalidRequest: for the first parameter that breaks a rule.
    """
    if isinstance(request, Mapping) and isinstance(named := request.get("ids"), str) and named.strip(" ,"):
        request = {**request, "ids": [part.strip() for part in named.split(",")]}  # the documented form
    body, warnings = check(VENDOR, request, EXTEND)
    body.pop("nokey", None)
    if "ids" in body:
        ids = {str(each) for each in body["ids"] if not isinstance(each, bool)}
        if not ids or len(ids) != len(body["ids"]) or not all(_ID.fullmatch(each) for each in ids):
            raise InvalidRequest("ids", EXTEND["ids"].rule, ["9001"], got=body["ids"], vendor=VENDOR)
        body["ids"] = sorted(ids, key=int)
    return Prepared(body, warnings)


def extended_part(body: Mapping[str, Any]) -> str:
    """The proxies that an extension names, as a short text; "" for the whole order."""
    named = "+".join(body.get("ids") or ())
    return named if len(named) <= LONGEST_PART else f"sha256={sha256(named.encode()).hexdigest()}"


def params_of(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The parameters of a prepared purchase. A flag is sent without a value."""
    return [(name, "" if value is True else str(value)) for name, value in body.items()]


def state_in(filters: Filters) -> str:
    """The state to list.

    :raises InvalidRequest: for an unknown filter.
    """
    for name in filters.extra:
        if name not in FILTERS:
            raise InvalidRequest(name, "is an unknown filter; the only one is state", "active", vendor=VENDOR)
    checked, _ = check(VENDOR, filters.extra, FILTERS)
    return str(checked.get("state", "all"))
