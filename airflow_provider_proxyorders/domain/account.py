"""One connection for the core: address, secret, pace and spending limits.

The hook builds an :class:`Account` from an Airflow connection; tests and the command line build it by hand.
"""

from __future__ import annotations

import base64
import html
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

from airflow_provider_proxyorders.domain.model import currency_code


@dataclass(frozen=True)
class Caps:
    """Spending limits of one wallet in major currency units. ``None`` means unlimited.

    :param max_order_price: the most one order may cost.
    :param daily_limit: the most to spend in a calendar day of the account's time zone.
    :param monthly_limit: the same for a calendar month.
    :param min_balance: the least balance after a purchase.
    """

    max_order_price: Decimal | None = None
    daily_limit: Decimal | None = None
    monthly_limit: Decimal | None = None
    min_balance: Decimal | None = None

    def as_text(self) -> dict[str, str]:
        """The limits that are set, by their names in the connection."""
        return {name: f"{limit:f}" for name, limit in vars(self).items() if limit is not None}


#: Ports that an address may leave out.
_USUAL_PORTS = {"http": 80, "https": 443}


def host_of(base_url: str) -> str:
    """Host and path of an address, alike for all its spellings: for letters in another case, a usual port, a slash at the end.

    >>> host_of("HTTPS://API.Example.com:443/v1/"), host_of("http://localhost:8090")
    ('api.example.com/v1', 'localhost:8090')
    """
    try:
        parts = urlsplit(base_url.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:  # the transport refuses it
        return base_url
    usual = port is None or port == _USUAL_PORTS.get(parts.scheme)
    return f"{host}{'' if usual else f':{port}'}{parts.path.rstrip('/')}"


def in_clear_text(base_url: str) -> bool:
    """Whether a key for this address travels over a network unencrypted. This host is no network."""
    try:
        parts = urlsplit(base_url.strip())
        host = parts.hostname or ""
    except ValueError:  # the transport refuses it
        return False
    if parts.scheme != "http":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")


@dataclass
class Account:
    """One connection to one vendor.

    :param conn_id: name of the connection, for messages.
    :param wallet: name of the prepaid balance; connections with the same wallet share its limits and take turns. The ledger
        decides it, see ``ledger/accounts.py``; before that it is the name that the connection would get.
    :param named_wallet: the same as the connection's own setting names it, ``None`` without the setting.
    :param former_wallets: names that the wallet had before.
    :param digest: the keyed hash by which the ledger tells the account at the vendor from others, "" before it is asked.
    :param base_url: without a trailing slash.
    :param secret: API key or token; always hidden.
    :param settings: the vendor's own settings from the connection.
    :param currency: currency of prices without one, e.g. ``USD``.
    :param timezone: IANA zone of the limits' days and of vendor times without a zone.
    :param requests_per_second: pace of all calls of one process on this account, set by the connection, else by the
        vendor; ``None`` means unlimited.
    :param timeout: seconds to wait for a connection and, separately, for each part of an answer; a whole answer gets twice that.
    :param listed_under: what the purchases of the ledger name in the field ``Capabilities.list_by``.
    :param session: what a vendor learns from its answers, above all a login's short-lived token; lives as long as the process,
        always hidden.
    """

    vendor: str
    conn_id: str
    wallet: str
    base_url: str
    secret: str = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    caps: Caps = field(default_factory=Caps)
    currency: str | None = None
    timezone: str = "UTC"
    requests_per_second: float | None = None
    timeout: float = 30.0
    named_wallet: str | None = None
    former_wallets: tuple[str, ...] = ()
    digest: str = ""
    listed_under: set[str] = field(default_factory=set)
    session: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.currency = currency_code(self.currency)

    @property
    def wallet_names(self) -> tuple[str, ...]:
        """The present name of the wallet and its former ones."""
        return self.wallet, *self.former_wallets

    @property
    def takes_webhooks(self) -> bool:
        """Whether the connection holds a secret for the verification of webhooks."""
        return bool(self.webhook_secret)

    @property
    def webhook_secret(self) -> Any:
        """One secret as text, several as a list during a change, or ``None``. Always hidden."""
        return self.settings.get("webhook_secret")

    def redact(self, text: str) -> str:
        """The text with this account's secrets replaced: as they are, URL-encoded, as HTML and in base64."""
        session, hook = self.session.values(), self.webhook_secret
        signing = hook if isinstance(hook, list) else [hook]
        secrets = {each for each in (self.secret, *signing, *session) if isinstance(each, str)}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= 4:
                for form in _forms_of(secret) if len(secret) <= LONGEST_REMEMBERED else _forms_of.__wrapped__(secret):
                    text = text.replace(form, "***")
        return text


#: Characters of a secret with remembered forms: a vendor's token may have thousands.
LONGEST_REMEMBERED = 500


@lru_cache(maxsize=256)
def _forms_of(secret: str) -> tuple[str, ...]:
    """A secret as a vendor may echo it, the longest form first."""
    raw = secret.encode("utf-8", "surrogatepass")
    in_address = quote(raw, safe="")
    lower = re.sub("%..", lambda sign: sign[0].lower(), in_address)
    forms = {secret, in_address, lower, html.escape(secret), *_base64_of(raw)}
    return tuple(sorted(forms, key=len, reverse=True))


def _base64_of(raw: bytes) -> Iterator[str]:
    """Base64 of a secret, alone and inside of a longer text, where it begins at any of three places of a group."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode().rstrip("=")
        for before in range(3):
            padded = bytes(before) + raw
            inside = encode(padded[: len(padded) // 3 * 3]).decode()[4 if before else 0 :]
            if len(inside) >= 8:
                yield inside
