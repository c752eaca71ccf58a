"""Everything that a vendor author imports, in one place.

A vendor is a file or a package without I/O, found through the entry-point group ``airflow_provider_proxyorders.vendors``. The
names below load when they are used; see ``docs/new_vendor.md``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.account import Account
    from airflow_provider_proxyorders.domain.delivered import Delivery, Proxy
    from airflow_provider_proxyorders.domain.errors import (
        AuthenticationFailed,
        InsufficientFunds,
        InvalidRequest,
        OrderingNotPermitted,
        OrderNotFound,
        OutcomeUnknown,
        RequestRefused,
        Throttled,
        UnreadableAnswer,
        UnsupportedOperation,
        VendorError,
        VendorUnavailable,
    )
    from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
    from airflow_provider_proxyorders.domain.model import Balance, Money, OrderStatus, Quote, VendorOrder, decimal
    from airflow_provider_proxyorders.vendors.base import Orders, Rows, Vendor, about, path_part
    from airflow_provider_proxyorders.vendors.contract import (
        Capabilities,
        Evidence,
        Filters,
        Look,
        Operation,
        Polling,
        Prepared,
        Setting,
    )
    from airflow_provider_proxyorders.vendors.evidence import balance_change, balance_evidence, describe_balance, missing_money
    from airflow_provider_proxyorders.vendors.fields import Field, check, convert
    from airflow_provider_proxyorders.vendors.proxies import proxy, proxy_from_line
    from airflow_provider_proxyorders.vendors.registry import vendor_class, vendor_names
    from airflow_provider_proxyorders.wire.messages import Flow, Request, Response
    from airflow_provider_proxyorders.wire.reading import (
        as_number,
        identifier,
        number,
        optional_amount,
        optional_count,
        optional_number,
        optional_text,
        pick,
        rows,
        status_in,
        text,
        unreadable_amount,
        when,
    )
    from airflow_provider_proxyorders.wire.signatures import Scheme

#: Where the names are, the ones that DAG files need first.
_MODULES = (
    *("vendors.registry", "vendors.contract", "vendors.base", "vendors.fields", "vendors.evidence", "vendors.proxies"),
    *(
        "wire.messages",
        "wire.reading",
        "wire.signatures",
        "domain.account",
        "domain.errors",
        "domain.exact_json",
        "domain.delivered",
    ),
    "domain.model",
)

__all__ = [
    "Account",
    "AuthenticationFailed",
    "Balance",
    "Capabilities",
    "Delivery",
    "Evidence",
    "Field",
    "Filters",
    "Flow",
    "InsufficientFunds",
    "InvalidRequest",
    "Look",
    "Money",
    "Operation",
    "OrderNotFound",
    "OrderStatus",
    "OrderingNotPermitted",
    "Orders",
    "OutcomeUnknown",
    "Polling",
    "Prepared",
    "Proxy",
    "Quote",
    "Request",
    "RequestRefused",
    "Response",
    "Rows",
    "Scheme",
    "Setting",
    "Throttled",
    "UnreadableAnswer",
    "UnreadableBody",
    "UnsupportedOperation",
    "Vendor",
    "VendorError",
    "VendorOrder",
    "VendorUnavailable",
    "about",
    "as_number",
    "balance_change",
    "balance_evidence",
    "check",
    "convert",
    "decimal",
    "describe_balance",
    "identifier",
    "missing_money",
    "number",
    "optional_amount",
    "optional_count",
    "optional_number",
    "optional_text",
    "path_part",
    "pick",
    "proxy",
    "proxy_from_line",
    "rows",
    "status_in",
    "text",
    "unreadable_amount",
    "vendor_class",
    "vendor_names",
    "when",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            room = import_module(f"airflow_provider_proxyorders.{module}")
            if hasattr(room, name):
                return getattr(room, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
