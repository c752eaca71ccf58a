"""What Airflow reads about this package: its modules, its connection forms and its settings.

Two rules: everything is data, so that Airflow can draw a connection form without importing a hook; and what differs
between vendors comes from the vendor's own class, so that it is said once.

A package that brings its own vendor describes its connection with :func:`connection_type` in its own provider info.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors.base import Setting, Vendor

_PACKAGE = "airflow_provider_proxyorders"
_HOOKS = f"{_PACKAGE}.hooks.proxyorders"


def provider_info() -> dict[str, Any]:
    """The provider's description in the shape of Airflow's ``provider_info.schema.json``."""
    from airflow_provider_proxyorders.vendors.iproyal import IPRoyal
    from airflow_provider_proxyorders.vendors.proxyscrape import ProxyScrape
    from airflow_provider_proxyorders.vendors.voodoo import Voodoo

    hooks: dict[type[Vendor], str] = {ProxyScrape: "ProxyScrapeHook", IPRoyal: "IPRoyalHook", Voodoo: "VoodooHook"}

    def modules(*names: str) -> list[dict[str, Any]]:
        return [
            {"integration-name": vendor.title, "python-modules": [f"{_PACKAGE}.{name}" for name in names]} for vendor in hooks
        ]

    return {
        "package-name": "airflow-provider-proxyorders",
        "name": "Proxy orders",
        "description": "Buys, extends and watches prepaid proxy orders, and never spends the same money twice.",
        "integrations": [
            {"integration-name": vendor.title, "external-doc-url": vendor.docs_url, "tags": ["service"]} for vendor in hooks
        ],
        "hooks": modules("hooks.proxyorders"),
        "operators": modules("operators.delivery", "operators.ledger", "operators.orders", "operators.wallet"),
        "sensors": modules("sensors.orders", "sensors.wallet"),
        "triggers": modules("triggers.orders", "triggers.wallet"),
        "connection-types": [connection_type(vendor, f"{_HOOKS}.{hook}") for vendor, hook in hooks.items()],
        "extra-links": [f"{_PACKAGE}.tasks.links.OrderPageLink"],
        "config": _CONFIG,
    }


def connection_type(vendor: type[Vendor], hook_class_name: str) -> dict[str, Any]:
    """One entry of ``connection-types``: the form of a connection to a vendor.

    :param hook_class_name: full name of the hook class whose ``conn_type`` is the vendor's name.
    """
    fields = {name: _field(**field) for name, field in _COMMON.items() if vendor.webhook or not name.startswith("webhook_")}
    fields |= {setting.name: _field_of(setting) for setting in vendor.settings}
    return {
        "connection-type": vendor.name,
        "hook-class-name": hook_class_name,
        "hook-name": vendor.title,
        "ui-field-behaviour": {
            "hidden-fields": ["login", "port", "schema"],
            "relabeling": {"host": "Base URL", "password": vendor.secret_label[:1].upper() + vendor.secret_label[1:]},
            "placeholders": {
                "host": vendor.base_url,
                "password": vendor.secret_help or f"{vendor.secret_label} of your {vendor.title} account",
                **{name: str(field["schema"]["examples"][0]) for name, field in fields.items() if "examples" in field["schema"]},
            },
        },
        "conn-fields": fields,
    }


def _field(label: str, help: str, kind: str = "string", example: object = None, **schema: Any) -> dict[str, Any]:
    """One field of a form; it may be left empty. The form offers the example while the user types."""
    if example is not None:
        schema["examples"] = [example]
    return {"label": label, "description": help, "schema": {"type": [kind, "null"], **schema}}


def _field_of(setting: Setting) -> dict[str, Any]:
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
    return _field(setting.label, setting.help, setting.kind, **schema)


# Amounts are text: a JSON number would be read as a float, and money is exact.
_AMOUNT = r"^\d+(\.\d+)?$"
#: what every connection understands, see hooks/connection.py
_COMMON: dict[str, dict[str, Any]] = {
    "max_order_price": {
        "label": "Most one order may cost",
        "help": "In the currency of the wallet, e.g. 50.00. With no cap here and no max_price in a task, purchases are "
        "refused. A vendor without a quote tells the price only afterwards: then a charge above this freezes the wallet.",
        "example": "50.00",
        "pattern": _AMOUNT,
    },
    "daily_limit": {
        "label": "Most to spend in a day",
        "help": "All orders of this wallet in one calendar day, open and unclear ones too, e.g. 200.00. Empty: no limit.",
        "example": "200.00",
        "pattern": _AMOUNT,
    },
    "monthly_limit": {
        "label": "Most to spend in a month",
        "help": "The same for one calendar month, e.g. 2000.00. Empty: no limit.",
        "example": "2000.00",
        "pattern": _AMOUNT,
    },
    "min_balance": {
        "label": "Balance to keep",
        "help": "What must remain in the wallet after a purchase, e.g. 25.00; what would leave less is refused. Empty: no limit.",
        "example": "25.00",
        "pattern": _AMOUNT,
    },
    "currency": {
        "label": "Currency of the wallet",
        "help": "Three letters, e.g. USD: the currency of the limits above, and of prices where the vendor names none.",
        "example": "USD",
        "pattern": "^[A-Za-z]{3}$",
    },
    "wallet": {
        "label": "Wallet name",
        "help": "Connections that pay from the same balance must give it the same name, e.g. main: then they take turns and "
        "count together. Empty: the connection has a wallet of its own.",
        "example": "main",
    },
    "timezone": {
        "label": "Time zone",
        "help": "Where the days and months of the limits begin, and the zone of vendor times that name none, "
        "e.g. Europe/Berlin. Empty: UTC.",
        "example": "Europe/Berlin",
    },
    "requests_per_second": {
        "label": "Requests per second",
        "kind": "number",
        "help": "Pace of all calls that one process makes with this connection, e.g. 5. Empty: only what the vendor asks for.",
        "example": 5,
        "exclusiveMinimum": 0,
    },
    "timeout": {
        "label": "Timeout in seconds",
        "kind": "number",
        "help": "How long to wait for a connection and, separately, for each part of an answer, e.g. 30. Empty: 30. A purchase "
        "whose answer comes later is not lost: it is looked for, and sent again only where that cannot buy it twice.",
        "example": 30,
        "exclusiveMinimum": 0,
    },
    "settle": {
        "label": "Settle time in seconds",
        "kind": "number",
        "help": "When the answer to a purchase was lost: how long until an order that was taken shows up in the vendor's lists, "
        "e.g. 60. A longer time is safer and slower. Empty: what suits the vendor.",
        "example": 60,
        "minimum": 0,
    },
    "order_page": {
        "label": "Order page",
        "help": "Where the button Order of a task leads: an order's page in the vendor's dashboard, "
        "e.g. https://dashboard.example.com/orders/{order_id}. Empty: no button.",
        "example": "https://dashboard.example.com/orders/{order_id}",
    },
    "webhook_scheme": {
        "label": "Webhook signature",
        "kind": "object",
        "help": "Where the vendor signs in another way than its documentation says: kind, header, prefix, encoding, tolerance, "
        "see docs/webhooks.md. Empty: as documented.",
        "example": {"kind": "timestamp", "header": "X-Signature", "prefix": "v1="},
    },
    "webhook_secret": {
        "label": "Webhook secret",
        "help": "With it the vendor signs what it reports. While you change it, both: as a list in the extra.",
        "format": "password",
    },
}

_CONFIG: dict[str, Any] = {
    "proxyorders": {
        "description": "Settings of the package airflow-provider-proxyorders.",
        "options": {
            "ledger_url": {
                "description": (
                    "SQLAlchemy URL of the ledger, the durable record of every purchase that keeps a retry from buying twice. "
                    "Empty: a SQLite file proxyorders.db in AIRFLOW_HOME, which serves workers on one host only. Where "
                    "workers, schedulers or triggerers run on several hosts, name a PostgreSQL database that all of them reach."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "postgresql+psycopg://airflow:password@db.example.com:5432/proxyorders",
                "default": "",
                "sensitive": True,
            },
            "webhook_retention": {
                "description": (
                    "How many days a webhook delivery is kept after it last arrived, so that one that comes late or again is "
                    "known. Older ones are forgotten once a day."
                ),
                "version_added": "0.1.0",
                "type": "float",
                "example": "90",
                "default": "30",
            },
            "webhook_rate": {
                "description": (
                    "How many verified deliveries a second each receiver takes from one connection, and four times as many at "
                    "once; more are answered by 429 with Retry-After, and the vendor sends them again."
                ),
                "version_added": "0.1.0",
                "type": "float",
                "example": "50",
                "default": "500",
            },
        },
    },
}
