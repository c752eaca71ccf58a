"""The order forms of IPRoyal: the fields of create, extend and toggle-auto-extend, and the filters of the list.

One rule: renewal is always explicit. ``auto_extend`` (documented default: true) is sent always, false by default.

Page: docs.iproyal.com/proxies/isp/api/orders; toggle-auto-extend: docs.iproyal.com/proxies/mobile/api/orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from airflow_provider_proxyorders.domain.errors import InvalidRequest
from airflow_provider_proxyorders.vendors.contract import Filters, Prepared
from airflow_provider_proxyorders.vendors.fields import Field, check, convert, query

VENDOR = "IPRoyal"
#: Characters of a part in an order key; a longer one is its hash.
LONGEST_PART = 80

_ID = "must be the whole number of"
_LOCATION = Field("integer", f"{_ID} a location", 77, least=1)
_QUANTITY = Field("integer", "must be the number of proxies", 2, least=1)
_PLAN = Field("integer", f"{_ID} a plan (the term)", 22, required=True, least=1)
_CARD = Field("integer", f"{_ID} a stored card; without it the balance pays", 31, least=1)
_SELECTION = {"locations": [{"product_location_id": 77, "quantity": 2}, {"product_location_id": 78, "quantity": 1}]}

#: The page marks no field as mandatory. A product is in all of its examples; beside ``selection`` it calls the plan unnecessary.
CREATE: Mapping[str, Field] = {
    "product_id": Field("integer", f"{_ID} a product", 9, required=True, least=1),
    "product_plan_id": replace(_PLAN, required=False),
    "product_location_id": _LOCATION,
    "quantity": _QUANTITY,
    "coupon_code": Field("text", "must be text"),
    "auto_extend": Field("boolean", "must be true or false", False),
    "product_question_answers": Field(
        "collection", "must map question ids to answers, or be their list", {"5": "ref af-7c1e9b02"}
    ),
    "card_id": _CARD,
    "selection": Field("object", "must hold the list locations", _SELECTION),
}
EXTEND: Mapping[str, Field] = {
    "product_plan_id": _PLAN,
    "card_id": _CARD,
    "proxies": Field("list", "must be a list of IP addresses", ["203.0.113.21"]),
}
#: Of change-credentials, as seen in use.
CREDENTIALS: Mapping[str, Field] = {
    "proxies": Field("list", "must be a list of IP addresses", ["203.0.113.21"]),
    "username": Field("text", "must be text"),
    "password": Field("text", "must be text"),
    "random_password": Field("boolean", "must be true or false", True),
    "is_reset": Field("boolean", "must be true or false", True),
}
TOGGLE: Mapping[str, Field] = {
    "product_plan_id": Field("integer", f"{_ID} a plan", 22, least=1),
    "payment_type": Field("text", "must be card or balance", "balance", choices=("card", "balance")),
    "card_id": _CARD,
}
STATUS_WORDS = ("unpaid", "in-progress", "confirmed", "refunded", "expired")
_WORD = Field("text", f"must be one of {', '.join(STATUS_WORDS)}", "confirmed", choices=STATUS_WORDS)
_COUNT = Field("integer", "must be a whole number", 50, least=1)
FILTERS: Mapping[str, Field] = {
    "product_id": _COUNT,
    "page": _COUNT,
    "per_page": _COUNT,
    "location_id": _COUNT,
    "status": _WORD,
    "statuses": Field("list", "must be a list of statuses", ["confirmed", "expired"]),
    "note_search": Field("text", "must be text"),
    "sort_by": Field("text", "must name a column, together with order", "id"),
    "order": Field("text", "must be asc or desc, together with sort_by", "desc", choices=("asc", "desc")),
    "status_is_expiring_soon": Field("boolean", "must be true or false", True),
    "order_billing_type": Field("text", "must be subscription or regular", "regular", choices=("subscription", "regular")),
}


def prepare_order(request: Mapping[str, Any]) -> Prepared:
    """Check and complete the body of a create call.

    :raises InvalidRequest: for the first field that breaks a documented rule.
    """
    body, warnings = check(VENDOR, request, CREATE)
    if "selection" in body:
        for name in ("product_location_id", "quantity"):
            if name in body:
                raise _wrong(name, "must be left out beside selection, which has it for each location", _SELECTION)
        body["selection"] = _selection(body["selection"])
        if "product_plan_id" not in body:
            warnings.append(
                f"{VENDOR}: without product_plan_id the vendor chooses the term, and a person decides about a lost answer: "
                "no order can be recognised by its plan"
            )
    else:
        for name in ("product_plan_id", "product_location_id", "quantity"):
            if name not in body:
                raise _wrong(name, f"is needed without selection: it {CREATE[name].rule}", CREATE[name].example)
    if body.setdefault("auto_extend", False):
        warnings.append(
            f"{VENDOR}: auto_extend is true: the vendor will renew and charge this order by itself, outside the limits of this "
            "connection"
        )
    return Prepared(body, warnings)


def prepare_extension(request: Mapping[str, Any]) -> Prepared:
    """Check the body of an extend call.

    :raises InvalidRequest: for the first field that breaks a documented rule.
    """
    body, warnings = check(VENDOR, request, EXTEND)
    if body.get("proxies"):
        warnings.append(
            f"{VENDOR}: the extension of some proxies of an order was seen in use. The order shows one end for all of them, so "
            "only the vendor's answer tells that they are extended"
        )
    return Prepared(body, warnings)


def extended_part(body: Mapping[str, Any]) -> str:
    """The proxies that an extension names, in their order of text; "" for the whole order."""
    named = "+".join(sorted({str(address) for address in body.get("proxies") or ()}))
    return named if len(named) <= LONGEST_PART else f"sha256={sha256(named.encode()).hexdigest()}"


def credentials_body(order_id: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """The body of change-credentials.

    :raises InvalidRequest: without anything to change.
    """
    body, _ = check(VENDOR, options, CREDENTIALS)
    if not any(body.get(name) for name in ("username", "password", "random_password", "is_reset")):
        raise _wrong("password", "or username, random_password or is_reset is needed", {"random_password": True})
    return {"order_id": order_id, **body}


def toggle_body(order_id: int, enabled: bool, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The body of toggle-auto-extend.

    :raises InvalidRequest: for switching on without a means of payment.
    """
    body, _ = check(VENDOR, options or {}, TOGGLE)
    if enabled and "payment_type" not in body:
        raise _wrong("payment_type", "is needed to switch renewal on: it names the means of payment", {"payment_type": "balance"})
    if body.get("payment_type") == "card" and "card_id" not in body:
        raise _wrong("card_id", "is needed with payment_type card", {"payment_type": "card", "card_id": 31})
    return {"order_id": order_id, "is_enabled": enabled, **body}


def list_params(filters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Query parameters of the list of orders; lists in the documented form ``name[]=1&name[]=2``.

    :raises InvalidRequest: for an unknown filter.
    """
    filters = {name.removesuffix("[]"): value for name, value in filters.items()}
    for name in filters:
        if name not in FILTERS:
            raise _wrong(name, f"is an unknown filter; known filters are {', '.join(sorted(FILTERS))}")
    checked, _ = check(VENDOR, filters, FILTERS)
    if ("sort_by" in checked) != ("order" in checked):
        raise _wrong("sort_by", "must come together with order", {"sort_by": "id", "order": "desc"})
    params: list[tuple[str, str]] = []
    for name, value in checked.items():
        if name == "statuses":
            params += [("statuses[]", convert(VENDOR, "statuses", word, _WORD)) for word in value]
        else:
            params += query(name, value)
    return params


def ids_in(filters: Filters) -> tuple[Sequence[str] | None, dict[str, Any]]:
    """The ids to filter by, from either of their two places, and the other filters."""
    rest = dict(filters.extra)
    listed: Iterable[Any] | None = filters.order_ids
    for name in ("order_ids", "order_ids[]"):
        if (value := rest.pop(name, None)) is not None:
            if listed is not None or not isinstance(value, (list, tuple)):
                raise _wrong("order_ids", "must be one list of order ids", [7001, 7002])
            listed = value
    return (None if listed is None else [str(value) for value in listed]), rest


def order_number(order_id: str) -> int:
    """An order id as a whole number.

    :raises InvalidRequest: for anything else.
    """
    if not isinstance(order_id, str) or not (order_id.isascii() and order_id.isdigit()):
        raise InvalidRequest("order_id", "must be a whole number", "7001", got=order_id, vendor=VENDOR)
    return int(order_id)


def _selection(selection: Mapping[str, Any]) -> dict[str, Any]:
    locations = selection.get("locations")
    if not isinstance(locations, list) or not locations:
        raise _wrong("selection", "must hold the list locations", _SELECTION)
    checked = []
    for place in locations:
        fields = {"product_location_id": _LOCATION, "quantity": _QUANTITY}
        if not isinstance(place, Mapping) or set(place) != set(fields):
            raise _wrong("selection.locations", "must hold product_location_id and quantity, nothing else", _SELECTION)
        checked.append({name: convert(VENDOR, f"selection.locations.{name}", place[name], rule) for name, rule in fields.items()})
    return {**selection, "locations": checked}


def _wrong(field: str, rule: str, example: object = None) -> InvalidRequest:
    return InvalidRequest(field, rule, example, vendor=VENDOR)
