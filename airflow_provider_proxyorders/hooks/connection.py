"""The layout of an Airflow connection. Only this file knows it.

``host`` overrides the vendor's base URL, ``password`` is the key or token, ``login`` the most one order may cost, and the extra
holds limits and settings. The form of a connection shows the extra on request only, so its first limit has the place of the
login; ``max_order_price`` in the extra means the same. A misspelt limit would be without effect. So an unknown name is refused
if it resembles a setting or speaks of money. Any other one is ignored with a warning.
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

from airflow_provider_proxyorders.domain.account import Account, Caps, in_clear_text
from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidParameter
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, dump_json, exact, load_own_json
from airflow_provider_proxyorders.domain.inputs import LARGEST_AMOUNT, flag_of
from airflow_provider_proxyorders.domain.model import decimal
from airflow_provider_proxyorders.domain.names import LONGEST_CONN_ID, name_rule
from airflow_provider_proxyorders.domain.settings import CONNECTION_SETTING_NAMES, CONNECTION_SETTINGS, LIMIT_NAMES
from airflow_provider_proxyorders.vendors import Vendor, vendor_class, vendor_names
from airflow_provider_proxyorders.wire.signatures import Scheme, has_key

if TYPE_CHECKING:
    from airflow.sdk import Connection

#: An unknown name with one of these words means a limit.
MONEY = frozenset({"limit", "limits", "price", "prices", "cap", "caps", "budget", "spend", "spending", "cost", "balance", "max"})
#: Examples for messages, as they stand in the extra.
EXAMPLES = {setting.name: setting.example for setting in CONNECTION_SETTINGS}
#: The longest wait in seconds: a day. The operating system cannot count much longer ones.
LONGEST = Decimal(86400)


def vendor_for(connection: Connection, expected: str | None = None) -> Vendor:
    """The vendor behind a connection, ready to make flows.

    :param expected: the only connection type that fits, ``None`` for any vendor.
    :raises ConfigError: with the field, the rule and an example. Nothing was sent.
    """
    conn_type = connection.conn_type or ""
    if expected is not None and conn_type != expected:
        raise ConfigError(
            f"connection {connection.conn_id!r} is of type {conn_type!r}, this hook needs {expected!r}. Nothing was sent."
        )
    try:
        vendor = vendor_class(conn_type)
    except ConfigError as error:
        if conn_type in vendor_names():  # its package is broken
            raise
        text = f"connection {connection.conn_id!r}: {error}. Nothing was sent. Choose one of these types, or install its package."
        raise ConfigError(text) from None
    return vendor(account_for(connection, vendor))


def account_for(connection: Connection, vendor: type[Vendor]) -> Account:
    """Read one connection.

    :raises ConfigError: with the field, the rule and an example. Nothing was sent.
    """
    reader = _Reader(connection.conn_id or "", connection.extra)
    secret = (connection.password or "").strip()  # a pasted key often ends in a line break
    if not secret:
        raise reader.wrong("password", f"must hold the {vendor.secret_label}")
    reader.check_names([*CONNECTION_SETTING_NAMES, *(setting.name for setting in vendor.settings)])
    zone = reader.text("timezone") or "UTC"
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise reader.wrong("timezone", "must be an IANA zone") from None
    timeout = reader.number("timeout", least=Decimal("0.05"), most=LONGEST)
    rate = reader.number("requests_per_second", least=Decimal("0.001"))
    settle = reader.number("settle", least=Decimal(0), most=LONGEST)
    currency = reader.text("currency", r"[A-Za-z]{3}", "must be three letters")
    settings = {setting.name: setting.read(reader.extra.get(setting.name), reader.conn_id) for setting in vendor.settings}
    settings |= {
        "settle": settle,
        "allow_http": reader.flag("allow_http") or None,
        "order_page": reader.text("order_page", r"https?://\S+", "must be a web address"),
        "webhook_secret": reader.secrets("webhook_secret"),
        "webhook_scheme": reader.scheme("webhook_scheme", vendor.webhook or Scheme()),
    }
    named = reader.wallet()
    return Account(
        vendor=vendor.name,
        conn_id=connection.conn_id or "",
        wallet=f"{vendor.name}:{named or connection.conn_id}",
        named_wallet=f"{vendor.name}:{named}" if named else None,
        base_url=reader.base_url(connection) or vendor.base_url,
        secret=secret,
        settings={name: value for name, value in settings.items() if value is not None},
        caps=reader.caps(connection.login),
        currency=currency,
        timezone=zone,
        requests_per_second=float(rate) if rate else vendor.capabilities.requests_per_second,
        timeout=float(timeout) if timeout else 30.0,
    )


def check_limits(conn_id: str, login: object, extra: str | None) -> None:
    """Check what a form says about money.

    :param extra: JSON text, as in the field of a connection.
    :raises ConfigError: the limits of such a connection are unreadable. Nothing was sent.
    """
    _Reader(conn_id, extra).caps(login)


class _Reader:
    """Reads the extra of one connection, one clear error at a time."""

    def __init__(self, conn_id: str, text: str | None):
        self.conn_id = conn_id
        try:
            extra = load_own_json(text) if text else {}
        except UnreadableBody as error:
            raise ConfigError(f"connection {self.conn_id!r}: the extra must be JSON ({error}). Nothing was sent.") from None
        if not isinstance(extra, Mapping):
            raise ConfigError(f"connection {self.conn_id!r}: the extra must be a JSON object. Nothing was sent.")
        self.extra = {name: value for name, value in extra.items() if value is not None and value != ""}

    def wrong(self, field: str, rule: str) -> ConfigError:
        """The error for a field, with the example of the table of settings."""
        example = EXAMPLES.get(field)
        tail = f", for example {dump_json(example)}" if example is not None else ""
        end = "" if rule.endswith("?") else "."
        return ConfigError(f"connection {self.conn_id!r}: {field} {rule}{tail}{end} Nothing was sent.")

    def base_url(self, connection: Connection) -> str | None:
        """The address of the host, ``None`` for the vendor's own."""
        host, schema = (connection.host or "").strip().rstrip("/"), (connection.schema or "").strip().lower()
        if schema not in ("", "http", "https"):  # the path of a URI arrives here
            raise self.wrong("schema", "must be http or https; write the path of an address into host")
        if not host:
            return None
        if "://" not in host:
            host = f"{schema or 'https'}://{host}"
        try:
            parts = urlsplit(host)
            if connection.port and parts.port is None:
                host = parts._replace(netloc=f"{parts.netloc}:{connection.port}").geturl()
        except ValueError:
            pass  # the transport refuses an invalid address
        if in_clear_text(host) and not self.flag("allow_http"):
            raise self.wrong(
                "host",
                "must begin with https://: over http everybody on the way can read the key and buy with it; "
                "to allow that, set allow_http to true",
            )
        return host

    def check_names(self, names: list[str]) -> None:
        """Refuse a name that resembles a setting or means a limit.

        :param names: of all settings.
        """
        for name in self.extra:
            if name in names:
                continue
            words = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")
            near = difflib.get_close_matches(words, names, n=1, cutoff=0.75)
            if near:
                raise self.wrong(name, f"is not a setting; did you mean {near[0]!r}?")
            if MONEY & set(words.split("_")):
                raise self.wrong(name, f"is not a setting and would be ignored; the limits are {', '.join(LIMIT_NAMES)}")
            logging.getLogger(__name__).warning("Connection %s: unknown setting %r is ignored", self.conn_id, name)

    def wallet(self) -> str | None:
        """The name that the user gave the wallet."""
        name = self.text("wallet")
        if name is not None and (rule := name_rule(name, LONGEST_CONN_ID)):
            raise self.wrong("wallet", rule)
        return name

    def text(self, name: str, pattern: str = r".*", rule: str = "must be text") -> str | None:
        value = self.extra.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not re.fullmatch(pattern, value.strip(), re.DOTALL):
            raise self.wrong(name, rule)
        return value.strip() or None

    def flag(self, name: str) -> bool:
        try:
            return flag_of(name, self.extra.get(name), default=False)
        except InvalidParameter:
            raise self.wrong(name, "must be true or false") from None

    def secrets(self, name: str) -> Any:
        """One secret as text or several as a list; always hidden. A pasted one often ends in a line break."""
        value = self.extra.get(name)
        listed = value if isinstance(value, list) else [value]
        if value is not None and not all(isinstance(secret, str) and has_key(secret) for secret in listed or [None]):
            raise self.wrong(name, "must be non-empty text, or a list of such texts while it is being changed")
        return [secret.strip() for secret in value] if isinstance(value, list) else value and value.strip()

    def scheme(self, name: str, documented: Scheme) -> Scheme | None:
        """The vendor's documented scheme with the changes of a setting; ``None`` without changes."""
        changes = self.extra.get(name)
        try:
            return documented.changed(changes) if changes is not None else None
        except ValueError as error:
            raise self.wrong(name, str(error)) from None

    def number(self, name: str, *, least: Decimal, most: Decimal | None = None) -> Decimal | None:
        value = self.extra.get(name)
        if value is None:
            return None
        number = _number(value)
        if number is None or number < least or (most is not None and number > most):
            raise self.wrong(name, f"must be a number of at least {least:f}{f' and at most {most:f}' if most else ''}")
        return number

    def caps(self, login: object) -> Caps:
        """The limits.

        :param login: of the connection; see the module.
        """
        in_extra, first = self.amount("max_order_price"), None
        if isinstance(login, str) and login.strip():
            first = _number(login.strip())
            if first is None or not 0 <= first <= LARGEST_AMOUNT:
                rule = "is the most one order may cost ('Most one order may cost' in the form), and must be an amount"
                raise self.wrong("login", f"{rule} such as 50.00, or empty")
            if in_extra is not None and in_extra != first:
                rule = f"{first:f} and max_order_price {in_extra:f} in the extra are the same limit: leave one of them out"
                raise self.wrong("login", rule)
        return Caps(
            max_order_price=in_extra if first is None else first,
            daily_limit=self.amount("daily_limit"),
            monthly_limit=self.amount("monthly_limit"),
            min_balance=self.amount("min_balance"),
        )

    def amount(self, name: str) -> Decimal | None:
        return self.number(name, least=Decimal(0), most=LARGEST_AMOUNT)


def _number(value: object) -> Decimal | None:
    try:
        return decimal(exact(value) if isinstance(value, float) else value)
    except ValueError:
        return None
