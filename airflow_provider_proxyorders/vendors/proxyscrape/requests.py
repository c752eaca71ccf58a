"""The order form of ProxyScrape: the fields of a create call, per product.

One rule: a field is refused only against the documentation. Open questions (sizes, terms, the quantity of a SERP package) are
left to the vendor; an unusual field passes with a warning.

Page: docs.proxyscrape.com/api/account/api-ordering; the types are from
docs.proxyscrape.com/api-reference/api-ordering/place-a-wallet-paid-order.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_proxyorders.domain.errors import InvalidRequest
from airflow_provider_proxyorders.vendors.contract import Prepared
from airflow_provider_proxyorders.vendors.fields import Field, check, convert

VENDOR = "ProxyScrape"

DATACENTER = "new_datacenter_shared"
RESIDENTIAL, UNLIMITED, SERP = "new_residential", "new_residential_unlimited", "new_serp_api"
TYPES = (DATACENTER, RESIDENTIAL, UNLIMITED, SERP)
LOCATIONS = ("mixed", "us", "gb", "de", "fr", "ca", "es", "it", "br", "th")
#: How alike two words of products are, from 0 to 1, when one is a misspelt form of the other.
NEARLY = 0.93
_POOL = re.compile(r"proxies\[([a-z]+)\]")
_EXAMPLE_POOL = {"proxies[us]": 500}

FIELDS: Mapping[str, Field] = {
    "type": Field("text", f"must be the word of a product, such as {', '.join(TYPES)}", DATACENTER, required=True),
    "country": Field("text", "must be the full name of a country, not an ISO code; it decides the VAT", "Belgium", least=4),
    "is_subscription": Field("boolean", "must be true or false", False),
    "days": Field("integer", "must be a whole number of days", 30, least=1),
    "bandwidth": Field("number", "must be a number: 0 is unlimited for datacenter, GB of the pack for residential", 0, least=0),
    "duration": Field(
        "text", "must be 30d, 60d or 90d, or left out for packages without expiry", "30d", choices=("30d", "60d", "90d")
    ),
    "location": Field("id", "must be the id of a server location from the dashboard"),
    "coupon_code": Field("text", "must be text"),
    "email": Field("text", "must be text"),
    "fname": Field("text", "must be text"),
    "lname": Field("text", "must be text"),
}
_POOL_SIZE = Field("integer", "must be the size of the IP pool, a whole number", 500, least=1)
#: The types that a field is documented for, where that is not all of them.
USED_BY: Mapping[str, Sequence[str]] = {
    "days": (DATACENTER,),
    "bandwidth": (DATACENTER, RESIDENTIAL),
    "duration": (RESIDENTIAL, UNLIMITED, SERP),
    "location": (UNLIMITED,),
}
#: Sent by the server itself, whatever the caller says.
SERVER_FORCED = ("pay_with_credit", "no_redirect")


def prepare_order(request: Mapping[str, Any]) -> Prepared:
    """Check and complete the body of a create call.

    :raises InvalidRequest: for the first field that breaks a documented rule.
    """
    if isinstance(request, Mapping):
        _refuse_wrong_names(request)
    body, warnings = check(VENDOR, request, FIELDS, accepts=lambda name: _POOL.fullmatch(name) is not None)
    if body["type"] in TYPES:
        warnings += [*_unusual_fields(body), *_convert_pools(body)]
    else:
        warnings.append(_unfamiliar_product(body["type"]))
    if body.setdefault("is_subscription", False):
        warnings.append(
            f"{VENDOR}: is_subscription is true: the vendor may charge the wallet again and again by itself, outside the "
            "limits of this connection, and documents no call that stops it"
        )
    if "country" not in body:
        warnings.append(f"{VENDOR}: no country is given; it decides the VAT")
    return Prepared(body, warnings)


def pool_size(body: Mapping[str, Any]) -> int | None:
    """How many proxies a body asks for; ``None`` for a product that is not counted in proxies."""
    sizes = [size for name, size in body.items() if _POOL.fullmatch(name) and isinstance(size, int)]
    return sum(sizes) if sizes else None


def _unfamiliar_product(word: str) -> str:
    """The warning about a product from outside the documentation this package was written from.

    :raises InvalidRequest: for a word that is nearly the one of another product.
    """
    meant = difflib.get_close_matches(re.sub(r"[\W_]+", "_", word.casefold()), TYPES, n=1, cutoff=NEARLY)
    if meant:
        raise _wrong("type", f"is not documented as {word!r} (did you mean {meant[0]!r}?)", meant[0])
    return (
        f"{VENDOR}: type {word!r} is not in the documentation this package was written from; sent as it is, with its fields "
        f"unchecked. Its price is only known from the order. Known products: {', '.join(TYPES)}"
    )


def _unusual_fields(body: Mapping[str, Any]) -> list[str]:
    """Warnings about fields that are documented for other types.

    :raises InvalidRequest: for a location beside a type without locations.
    """
    order_type, warnings = body["type"], []
    for name, types in USED_BY.items():
        if name in body and order_type not in types:
            if name == "location":
                raise _wrong(name, f"is only for {UNLIMITED}; type is {order_type}")
            warnings.append(f"{VENDOR}: request field {name!r} is documented for {', '.join(types)}, not for {order_type}")
    return warnings


def _convert_pools(body: dict[str, Any]) -> list[str]:
    """Make the sizes of IP pools whole numbers.

    :raises InvalidRequest: for a pool beside another type than datacenter, and for datacenter without a pool.
    """
    order_type = body["type"]
    pools = [name for name in body if _POOL.fullmatch(name)]
    if pools and order_type != DATACENTER:
        raise _wrong(pools[0], f"is only for {DATACENTER}; type is {order_type}")
    if order_type == DATACENTER and not pools:
        raise _wrong("proxies[<location>]", f"is needed for {order_type}: the size of the IP pool, as a flat key", _EXAMPLE_POOL)
    for name in pools:
        body[name] = convert(VENDOR, name, body[name], _POOL_SIZE)
    if len(pools) > 1:
        return [f"{VENDOR}: whether several locations can be combined is not documented ({', '.join(pools)})"]
    return []


def _refuse_wrong_names(request: Mapping[str, Any]) -> None:
    for name in request:
        if name in SERVER_FORCED:
            raise _wrong(name, "is set by ProxyScrape itself and must not be sent")
        if isinstance(name, str) and name.lower().startswith("proxies"):
            pool = _POOL.fullmatch(name)
            if pool is None:
                raise _wrong(name, "must be a flat key with its brackets, one for each location", _EXAMPLE_POOL)
            if pool[1] not in LOCATIONS and request.get("type") in TYPES:
                raise _wrong(name, f"must name one of the locations {', '.join(LOCATIONS)}", _EXAMPLE_POOL)


def _wrong(field: str, rule: str, example: object = None) -> InvalidRequest:
    return InvalidRequest(field, rule, example, vendor=VENDOR)
