"""How an Airflow connection is laid out. Only this file knows it.

``host`` overrides the vendor's base URL, ``password`` is the key or token, and the extra holds limits and settings. A
misspelt limit would be no limit, so a name that looks like a known one, or that speaks of money, is refused and not ignored.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from airflow_provider_proxyorders.domain.account import Account, Caps
from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, exact, load_json
from airflow_provider_proxyorders.domain.inputs import LARGEST_AMOUNT
from airflow_provider_proxyorders.domain.model import decimal
from airflow_provider_proxyorders.vendors import Vendor, vendor_class
from airflow_provider_proxyorders.wire.signatures import has_key

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
    "webhook_scheme",
    "requests_per_second",
    "timeout",
    "timezone",
    "wallet",
    "settle",
    "order_page",
)
#: A setting whose name holds one of these words means a limit, whatever else it says.
MONEY = frozenset({"limit", "limits", "price", "prices", "cap", "caps", "budget", "spend", "spending", "cost", "balance", "max"})
#: Longer waits than this make no sense, and the operating system cannot count them all; in seconds.
LONGEST = Decimal(86400)


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
    secret = (connection.password or "").strip()  # what was pasted often brings a line break along
    if not secret:
        raise reader.wrong("password", f"must hold the {vendor.secret_label}")
    known = [*COMMON, *(setting.name for setting in vendor.settings)]
    reader.check_names(known)
    zone = reader.text("timezone") or "UTC"
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise reader.wrong("timezone", "must be an IANA zone", "Europe/Berlin") from None
    timeout = reader.number("timeout", least=Decimal("0.05"), most=LONGEST, example="30")
    rate = reader.number("requests_per_second", least=Decimal("0.001"), example="5")
    settle = reader.number("settle", least=Decimal(0), most=LONGEST, example="30")
    currency = reader.text("currency", r"[A-Za-z]{3}", "must be three letters", "USD")
    settings = {setting.name: setting.read(reader.extra.get(setting.name), reader.conn_id) for setting in vendor.settings}
    settings |= {
        "settle": settle,
        "order_page": reader.text(
            "order_page", r"https?://\S+", "must be a web address", "https://dashboard.example.com/{order_id}"
        ),
        "webhook_secret": reader.secrets("webhook_secret"),
        "webhook_scheme": reader.extra.get("webhook_scheme"),
    }
    return Account(
        vendor=vendor.name,
        conn_id=connection.conn_id or "",
        wallet=f"{vendor.name}:{reader.text('wallet') or connection.conn_id}",
        base_url=_base_url(connection) or vendor.base_url,
        secret=secret,
        settings={name: value for name, value in settings.items() if value is not None},
        caps=Caps(
            max_order_price=reader.amount("max_order_price"),
            daily_limit=reader.amount("daily_limit"),
            monthly_limit=reader.amount("monthly_limit"),
            min_balance=reader.amount("min_balance"),
        ),
        currency=currency.upper() if currency else None,
        timezone=zone,
        requests_per_second=float(rate) if rate else None,
        timeout=float(timeout) if timeout else 30.0,
    )


def _base_url(connection: Connection) -> str | None:
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        return None
    if "://" not in host:
        host = f"{connection.schema if connection.schema in ('http', 'https') else 'https'}://{host}"
    try:
        parts = urlsplit(host)
        if connection.port and parts.port is None:
            host = parts._replace(netloc=f"{parts.netloc}:{connection.port}").geturl()
    except ValueError:
        pass  # no address at all; whoever calls it says so
    return host


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
            words = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")
            near = difflib.get_close_matches(words, known, n=1, cutoff=0.75)
            if near:
                raise self.wrong(name, f"is not a setting; did you mean {near[0]!r}?")
            if MONEY & set(words.split("_")):
                raise self.wrong(name, f"is not a setting, so it would limit nothing; the limits are {', '.join(COMMON[:4])}")
            logging.getLogger(__name__).warning("Connection %s: unknown setting %r is ignored", self.conn_id, name)

    def text(self, name: str, pattern: str = r".*", rule: str = "must be text", example: str = "") -> str | None:
        value = self.extra.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not re.fullmatch(pattern, value.strip(), re.DOTALL):
            raise self.wrong(name, rule, example)
        return value.strip() or None

    def secrets(self, name: str) -> Any:
        """One secret as text or several as a list; they are never shown."""
        value = self.extra.get(name)
        listed = value if isinstance(value, list) else [value]
        if value is not None and not all(isinstance(secret, str) and has_key(secret) for secret in listed or [None]):
            raise self.wrong(name, "must be text that is not empty, or a list of such texts while it is being changed")
        return value

    def number(self, name: str, *, least: Decimal, example: str, most: Decimal | None = None) -> Decimal | None:
        value = self.extra.get(name)
        if value is None:
            return None
        try:
            found = decimal(exact(value) if isinstance(value, float) else value)
        except ValueError:
            found = None
        if found is None or found < least or (most is not None and found > most):
            raise self.wrong(name, f"must be a number of at least {least:f}{f' and at most {most:f}' if most else ''}", example)
        return found

    def amount(self, name: str) -> Decimal | None:
        return self.number(name, least=Decimal(0), most=LARGEST_AMOUNT, example='"50.00"')
