"""What is guaranteed per vendor, derived from its declared capabilities and from nothing else."""

from __future__ import annotations

from airflow_provider_proxyorders.vendors import Vendor, vendor_class, vendor_names

_CREATE = {
    "reference": "at most once, and exactly once where it had not landed: the vendor takes one order per reference, so it "
    "is sent again; where it had landed its id comes from a person",
    "order": "exactly once; unknown resolved from the vendor's list of orders and the balance, else a person",
    "wallet": "at most once; unknown resolved from sub-accounts and balance, else a person",
}


def sentences(vendor: type[Vendor]) -> dict[str, str]:
    """Guarantee by operation."""
    capabilities = vendor.capabilities
    return {
        "create": _CREATE[capabilities.evidence],
        "extend": "exactly once; unknown resolved from the order's expiry, its recorded extensions and the balance, else a "
        "person (one paid by card that does not show: always a person)"
        if capabilities.extend
        else "not offered by the vendor: refused before anything is sent",
        "price": "quoted right before the purchase, refused above the cap; where the vendor will not quote an extension, the cap "
        "is reserved"
        if capabilities.quote
        else "known only afterwards: the cap is reserved, and a charge above it freezes the wallet",
    }


def table() -> str:
    """All installed vendors as a Markdown table."""
    lines = ["| vendor | operation | guarantee |", "|---|---|---|"]
    for name in vendor_names():
        vendor = vendor_class(name)
        lines += [f"| {vendor.title} | {what} | {text} |" for what, text in sentences(vendor).items()]
    return "\n".join(lines)
