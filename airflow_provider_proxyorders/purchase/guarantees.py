"""The guarantees of each vendor, derived from its declared capabilities and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_proxyorders.vendors import Capabilities, Vendor
from airflow_provider_proxyorders.vendors.registry import usable_vendors

#: What a lost purchase is recognised by, for each kind of evidence; ``none`` promises nothing.
RECOGNISED_BY: Mapping[str, Mapping[str, str]] = {
    "create": {
        "reference": "our reference, of which the vendor takes one order only",
        "search": "our reference, by which the vendor finds orders",
        "order": "the vendor's list of orders and the balance",
        "wallet": "the balance, and what each order opens in the account",
        "none": "nothing: a person looks into the vendor's dashboard",
    },
    "extend": {
        "order": "the order's expiry, its recorded extensions and the balance",
        "wallet": "the balance",
        "none": "nothing: a person looks into the vendor's dashboard",
    },
}


def sentences(vendor: type[Vendor]) -> dict[str, str]:
    """Guarantee by operation."""
    capabilities = vendor.capabilities
    return {
        "create": _create(vendor),
        "extend": _extend(capabilities),
        "price": _price(capabilities),
        "waiting": _waiting(vendor),
        "orders": _orders(capabilities),
    }


def table() -> str:
    """All installed vendors as a Markdown table."""
    lines = ["| vendor | operation | guarantee |", "|---|---|---|"]
    for vendor in usable_vendors():
        lines += [f"| {vendor.title} | {operation} | {text} |" for operation, text in sentences(vendor).items()]
    return "\n".join(lines)


def _create(vendor: type[Vendor]) -> str:
    capabilities = vendor.capabilities
    if capabilities.create_evidence == "none":
        return "at most once; after a lost answer a person always decides"
    if capabilities.repeats_safely("create"):
        teller = "the vendor's webhook where it is set up, else from a person" if vendor.webhook else "a person"
        return (
            "at most once, and exactly once where it had not landed: the vendor takes one order per reference, so it is sent "
            f"again; where it had landed its order id comes from {teller}"
        )
    often = "at most" if capabilities.create_evidence == "wallet" else "exactly"
    return f"{often} once; {_resolved('create', capabilities)}{_turns(capabilities)}"


def _extend(capabilities: Capabilities) -> str:
    if not capabilities.extend:
        return "not offered by the vendor: refused before anything is sent"
    if capabilities.extend_evidence == "none":
        return "at most once; after a lost answer a person always decides"
    often = "at most" if capabilities.extend_evidence == "wallet" else "exactly"
    return f"{often} once; {_resolved('extend', capabilities)}"


def _resolved(operation: str, capabilities: Capabilities) -> str:
    evidence = capabilities.create_evidence if operation == "create" else capabilities.extend_evidence
    return (
        f"a lost answer is resolved from {RECOGNISED_BY[operation][evidence]}, looked at twice, "
        f"{capabilities.settle_time:g} s apart ({capabilities.edge_limit:g} s in which the vendor may still take it, and "
        f"{capabilities.settle:g} s until it shows); "
        "else a person decides"
    )


def _turns(capabilities: Capabilities) -> str:
    return ". Orders of one wallet take turns" if capabilities.needs_turn("create") else ". Orders of one wallet need no turns"


def _price(capabilities: Capabilities) -> str:
    create = _price_of(capabilities.quote_create, capabilities.price_in_order)
    if not capabilities.extend:
        return create
    extend = _price_of(capabilities.quote_extend, capabilities.price_in_order)
    unquoted = "; where the vendor refuses the quote, the cap is reserved" if capabilities.quote_extend else ""
    return f"order: {create}. Extension: {extend}{unquoted}"


def _price_of(quoted: bool, in_order: bool) -> str:
    before = "quoted right before the purchase, refused above the cap" if quoted else "the cap is reserved"
    after = "; a charge above it freezes the wallet" if in_order else ""
    if not in_order and not quoted:
        after = " and counts as the price, since the vendor never tells the charge"
    return before + after


def _waiting(vendor: type[Vendor]) -> str:
    capabilities, polling = vendor.capabilities, vendor.capabilities.polling
    orders = "one order" if capabilities.ids_per_read == 1 else f"{capabilities.ids_per_read} orders"
    hint = ", at once on the vendor's webhook" if vendor.webhook else ""
    pace = (
        f"at most {capabilities.requests_per_second:g} requests a second" if capabilities.requests_per_second else "no set pace"
    )
    return (
        f"first look after {polling.first:g} s, then every {polling.fastest:g} to {polling.slowest:g} s{hint}, "
        f"for at most {polling.timeout / 60:g} min; {orders} a call; {pace} unless the connection sets one"
    )


def _orders(capabilities: Capabilities) -> str:
    if capabilities.list_by:
        return (
            "listed by the vendor: renewals also find orders that were bought elsewhere; where the vendor refuses a list without "
            f"{capabilities.list_by}, those of its catalogue and of this ledger's purchases"
        )
    if capabilities.list_orders:
        return "listed by the vendor: renewals also find orders that were bought elsewhere"
    return "not listed by the vendor: renewals find what this ledger bought"
