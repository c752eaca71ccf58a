"""One connection for the core: address, secret, pace and spending limits.

The hook builds an :class:`Account` from an Airflow connection; tests and the command line build it by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

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


@dataclass
class Account:
    """One connection to one vendor.

    :param conn_id: name of the connection, for messages.
    :param wallet: name of the prepaid balance; connections with the same wallet share its limits and take turns.
    :param base_url: without a trailing slash.
    :param secret: API key or token; always hidden.
    :param settings: the vendor's own settings from the connection.
    :param currency: currency of prices without one, e.g. ``USD``.
    :param timezone: IANA zone of the limits' days and of vendor times without a zone.
    :param requests_per_second: pace of all calls of one process on this account, set by the connection, else by the
        vendor; ``None`` means unlimited.
    :param timeout: seconds to wait for a connection and, separately, for each part of an answer; a whole answer gets twice that.
    :param session: a login's short-lived token; lives as long as the process, always hidden.
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
    session: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.currency = currency_code(self.currency)

    @property
    def takes_webhooks(self) -> bool:
        """Whether the connection holds a secret for the verification of webhooks."""
        return bool(self.webhook_secret)

    @property
    def webhook_secret(self) -> Any:
        """One secret as text, several as a list during a change, or ``None``. Always hidden."""
        return self.settings.get("webhook_secret")

    def redact(self, text: str) -> str:
        """The text with this account's secrets replaced."""
        secrets = {self.secret, *(str(v) for v in self.session.values() if isinstance(v, str))}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= 4:
                text = text.replace(secret, "***")
        return text
