"""How an Airflow connection is laid out. Only this file knows it.

``host`` overrides the vendor's base URL, ``password`` is the key or token, and the extra holds limits and settings. A
misspelt limit would be no limit, so a name that looks like a known one is refused instead of ignored.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from airflow_provider_proxyorders.core.account import Account, Caps
from airflow_provider_proxyorders.core.errors import ConfigError
from airflow_provider_proxyorders.core.model import decimal
from airflow_provider_proxyorders.core.wire import UnreadableBody, exact, load_json
from airflow_provider_proxyorders.vendors import Vendor, vendor_class

if TYPE_CHECKING:
    from airflow.sdk import Connection

#: Settings that every connection understands, whatever the vendor.
COMMON = (
    "max_order_price",
    "daily_limit",
    "monthly_limit",
    "min_balance",
    "currency",
    "webhook_secret",
    "requests_per_second",
    "timeout",
    "timezone",
    "wallet",
    "settle",
    "order_page",
)


def vendor_for(connection: Connection, expected: str | None = None) -> Vendor:
    """The vendor behind a connection, ready to make flows.

    :param expected: the connection type that the caller is made for, None for any vendor.
    :raises ConfigError: naming the field, the rule and an example. Nothing was sent.
    """
    conn_type = connection.conn_type or ""
    if expected is not None and conn_type != expected:
        raise ConfigError(
            f"connection {connection.conn_id!r} is of type {conn_type!r}, this hook needs {expected!r}. Nothing was sent."
        )
    vendor = vendor_class(conn_type)
    return vendor(account_for(connection, vendor))


def account_for(connection: Connection, vendor: type[Vendor]) -> Account:
    """Read one connection.

    :raises ConfigError: naming the field, the rule and an example. Nothing was sent.
    """
    reader = _Reader(connection)
    if not connection.password:
        raise reader.wrong("password", f"must hold the {vendor.secret_label}")
    known = [*COMMON, *(setting.name for setting in vendor.settings)]
    reader.check_names(known)
    zone = reader.text("timezone") or "UTC"
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise reader.wrong("timezone", "must be an IANA zone", "Europe/Berlin") from None
    timeout = reader.number("timeout", least=Decimal("0.05"), example="30")
    rate = reader.number("requests_per_second", least=Decimal("0.001"), example="5")
    settle = reader.number("settle", least=Decimal(0), example="30")
    settings = {setting.name: setting.read(reader.extra.get(setting.name), reader.conn_id) for setting in vendor.settings}
    settings |= {"settle": settle, "order_page": reader.text("order_page"), "webhook_secret": reader.extra.get("webhook_secret")}
    return Account(
        vendor=vendor.name,
        conn_id=connection.conn_id or "",
        wallet=f"{vendor.name}:{reader.text('wallet') or connection.conn_id}",
        base_url=_base_url(connection) or vendor.base_url,
        secret=connection.password,
        settings={name: value for name, value in settings.items() if value is not None},
        caps=Caps(
            max_order_price=reader.amount("max_order_price"),
            daily_limit=reader.amount("daily_limit"),
            monthly_limit=reader.amount("monthly_limit"),
            min_balance=reader.amount("min_balance"),
        ),
        currency=(reader.text("currency") or "").upper() or None,
        timezone=zone,
        requests_per_second=float(rate) if rate else None,
        timeout=float(timeout) if timeout else 30.0,
    )


def _base_url(connection: Connection) -> str | None:
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        return None
    if "://" in host:
        return host
    scheme = connection.schema if connection.schema in ("http", "https") else "https"
    return f"{scheme}://{host}{f':{connection.port}' if connection.port else ''}"


class _Reader:
    """Reads the extra of one connection, one clear error at a time."""

    def __init__(self, connection: Connection):
        self.conn_id = connection.conn_id or ""
        try:
            extra = load_json(connection.extra) if connection.extra else {}
        except UnreadableBody:
            raise ConfigError(f"connection {self.conn_id!r}: the extra is not JSON. Nothing was sent.") from None
        if not isinstance(extra, Mapping):
            raise ConfigError(f"connection {self.conn_id!r}: the extra must be a JSON object. Nothing was sent.")
        self.extra = {name: value for name, value in extra.items() if value is not None and value != ""}

    def wrong(self, field: str, rule: str, example: str = "") -> ConfigError:
        tail = f", for example {example}" if example else ""
        return ConfigError(f"connection {self.conn_id!r}: {field} {rule}{tail}. Nothing was sent.")

    def check_names(self, known: list[str]) -> None:
        for name in self.extra:
            if name in known:
                continue
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            if near:
                raise self.wrong(name, f"is not a setting; did you mean {near[0]!r}?")
            logging.getLogger(__name__).warning("Connection %s: unknown setting %r is ignored", self.conn_id, name)

    def text(self, name: str) -> str | None:
        value = self.extra.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(name, "must be text")
        return value.strip() or None

    def number(self, name: str, *, least: Decimal, example: str) -> Decimal | None:
        value = self.extra.get(name)
        if value is None:
            return None
        try:
            found = decimal(exact(value) if isinstance(value, float) else value)
        except ValueError:
            found = None
        if found is None or found < least:
            raise self.wrong(name, f"must be a number of at least {least:f}", example)
        return found

    def amount(self, name: str) -> Decimal | None:
        return self.number(name, least=Decimal(0), example='"50.00"')
