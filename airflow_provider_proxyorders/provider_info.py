"""Writes ``provider.json``: what Airflow reads about this package, its modules, connection forms and settings.

Airflow reads the metadata in every process, so the package ships it as a file and loads it without any other module of ours.
This module makes the file anew from the vendors' own classes: ``make metadata`` after a change, and a test compares.

A package with a vendor of its own names ``hooks/vendor_package.py`` as its provider info.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from airflow_provider_proxyorders.domain.settings import CONNECTION_SETTINGS
from airflow_provider_proxyorders.vendors.base import Setting, Vendor
from airflow_provider_proxyorders.vendors.registry import usable_vendors

#: Stands among the standard fields of the form, in the place of the login: the others are shown on request only.
FIRST_LIMIT = next(setting for setting in CONNECTION_SETTINGS if setting.name == "max_order_price")
PACKAGE = "airflow_provider_proxyorders"
FILE = Path(__file__).with_name("provider.json")


def provider_info() -> dict[str, Any]:
    """The provider's description in the shape of Airflow's ``provider_info.schema.json``."""
    vendors = own_vendors()

    def modules(*names: str) -> list[dict[str, Any]]:
        return [
            {"integration-name": vendor.title, "python-modules": [f"{PACKAGE}.{name}" for name in names]} for vendor in vendors
        ]

    return {
        "package-name": "airflow-provider-proxyorders",
        "name": "Proxy orders",
        "description": "Buys, extends and watches prepaid proxy orders, and never spends the same money twice.",
        "integrations": [
            {"integration-name": vendor.title, "external-doc-url": vendor.docs_url, "tags": ["service"]} for vendor in vendors
        ],
        "hooks": modules("hooks.proxyorders"),
        "operators": modules("operators.delivery", "operators.ledger", "operators.orders", "operators.wallet"),
        "sensors": modules("sensors.orders", "sensors.wallet"),
        "triggers": modules("triggers.orders", "triggers.wallet"),
        "connection-types": [connection_type(vendor, f"{PACKAGE}.hooks.proxyorders.{vendor.__name__}Hook") for vendor in vendors],
        "extra-links": [f"{PACKAGE}.tasks.links.{name}" for name in ("OrderPageLink", "PurchaseLink")],
        "config": CONFIG,
        "cli": [f"{PACKAGE}.cli.definition.get_cli_commands"],
    }


def own_vendors() -> list[type[Vendor]]:
    """The registered vendors of this package, by name."""
    return [vendor for vendor in usable_vendors() if vendor.__module__.startswith(f"{PACKAGE}.")]


def as_text(info: dict[str, Any]) -> str:
    """The content of ``provider.json``."""
    return json.dumps(info, indent=1, ensure_ascii=False) + "\n"


def connection_type(vendor: type[Vendor], hook_class_name: str) -> dict[str, Any]:
    """One entry of ``connection-types``: the form of a connection to a vendor.

    :param hook_class_name: full name of the hook class. Its ``conn_type`` is the name of the vendor.
    """
    fields = {
        setting.name: form_field(
            setting.label, setting.help + capability_help(vendor, setting.name), setting.kind, setting.example, **setting.schema
        )
        for setting in CONNECTION_SETTINGS
        if (vendor.webhook or not setting.webhook) and setting.name != FIRST_LIMIT.name
    }
    fields |= {setting.name: setting_field(setting) for setting in vendor.settings}
    return {
        "connection-type": vendor.name,
        "hook-class-name": hook_class_name,
        "hook-name": vendor.title,
        "ui-field-behaviour": {
            "hidden-fields": ["port", "schema"],
            "relabeling": {
                "host": "Base URL",
                "login": FIRST_LIMIT.label,
                "password": vendor.secret_label[:1].upper() + vendor.secret_label[1:],
            },
            "placeholders": {
                "host": vendor.base_url,
                "login": f"{FIRST_LIMIT.help}{capability_help(vendor, FIRST_LIMIT.name)}",
                "password": vendor.secret_help or f"{vendor.secret_label} of your {vendor.title} account",
                **{name: str(field["schema"]["example"]) for name, field in fields.items() if "example" in field["schema"]},
            },
        },
        "conn-fields": fields,
    }


def capability_help(vendor: type[Vendor], field: str) -> str:
    """What the vendor's declared capabilities add to the help of a common field; "" for most fields."""
    offered = vendor.capabilities
    if field == "max_order_price":
        if offered.quote_create:
            return f" {vendor.title} quotes each order before the purchase."
        if offered.price_in_order:
            return f" {vendor.title} reports the price only after a purchase: a charge above the cap freezes the wallet."
        return f" {vendor.title} never reports a price: the cap counts as spent."
    if field == "requests_per_second":
        pace = offered.requests_per_second
        return f" Empty: {pace:g}, the pace that {vendor.title} documents." if pace else " Empty: no set pace."
    return f" Empty: {offered.settle_time:g}." if field == "settle" else ""


def form_field(label: str, help: str, kind: str = "string", example: object = None, **schema: Any) -> dict[str, Any]:
    """One field of a form; it may be left empty.

    :param example: for readers of the metadata. Airflow's form would call several ``examples`` options.
    """
    if example is not None:
        schema["example"] = example
    return {"label": label, "description": help, "schema": {"type": [kind, "null"], **schema}}


def setting_field(setting: Setting) -> dict[str, Any]:
    """A vendor's own setting as a field."""
    schema: dict[str, Any] = {}
    if setting.default is not None:
        schema["default"] = setting.default
    if setting.choices:
        schema["enum"] = [*setting.choices, *([None] if setting.default is None else [])]
    elif setting.placeholder and setting.kind == "string":
        schema["example"] = setting.placeholder
    if setting.secret:
        schema["format"] = "password"
    return form_field(setting.label, setting.help, setting.kind, **schema)


CONFIG: dict[str, Any] = {
    "proxyorders": {
        "description": "Settings of the package airflow-provider-proxyorders.",
        "options": {
            "ledger_url": {
                "description": (
                    "SQLAlchemy URL of the ledger, the durable record of every purchase. It keeps a retry from buying twice. "
                    "Empty: the SQLite file proxyorders.db in AIRFLOW_HOME, for workers on one host only. When workers, "
                    "schedulers or triggerers run on several hosts, name a PostgreSQL database within reach of all of them."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "postgresql+psycopg://airflow:password@db.example.com:5432/proxyorders",
                "default": "",
                "sensitive": True,
            },
            "ledger_listen_url": {
                "description": (
                    "SQLAlchemy URL of the ledger's PostgreSQL database past a pooler such as PgBouncer. The triggerer hears of "
                    "webhooks there at once. Empty: it listens at ledger_url, and reads every second where that is deaf."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "postgresql+psycopg://airflow:password@db.example.com:5432/proxyorders",
                "default": "",
                "sensitive": True,
            },
            "webhook_retention": {
                "description": (
                    "Days to keep a webhook delivery after its last arrival. A repeated delivery is recognised within this time. "
                    "Older deliveries are deleted once a day."
                ),
                "version_added": "0.1.0",
                "type": "float",
                "example": "90",
                "default": "30",
            },
            "webhook_rate": {
                "description": (
                    "Verified deliveries per second that each receiver accepts from one connection. A burst may hold four times "
                    "as many. Further deliveries get status 429 with Retry-After, and the vendor sends them again."
                ),
                "version_added": "0.1.0",
                "type": "float",
                "example": "50",
                "default": "500",
            },
        },
    },
}


def main() -> int:
    """Write ``provider.json``."""
    FILE.write_text(as_text(provider_info()), encoding="utf-8")
    print(f"wrote {FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
