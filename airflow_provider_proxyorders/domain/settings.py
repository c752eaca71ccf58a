"""The settings of every connection, for any vendor: one table.

The hook reads them (``hooks/connection.py``), and the connection form shows them (``provider_info.py``). Add a setting here and
in the code that uses it, then run ``make metadata``. Amounts are text: a JSON number would become a float, and money is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_AMOUNT: Mapping[str, Any] = {"pattern": r"^\d+(\.\d+)?$"}


@dataclass(frozen=True)
class ConnectionSetting:
    """One setting in the extra of a connection.

    :param label: its name in the form.
    :param help: its explanation in the form, with an example.
    :param kind: its JSON type in the form: ``string``, ``number``, ``boolean`` or ``object``.
    :param example: a valid value; ``None`` for a secret.
    :param schema: further words of JSON schema for the form.
    :param limit: whether it limits spending.
    :param webhook: whether only connections to vendors with webhooks have it.
    """

    name: str
    label: str
    help: str
    kind: str = "string"
    example: Any = None
    schema: Mapping[str, Any] = field(default_factory=dict)
    limit: bool = False
    webhook: bool = False


CONNECTION_SETTINGS: tuple[ConnectionSetting, ...] = (
    ConnectionSetting(
        "max_order_price",
        "Most one order may cost",
        "In the currency of the wallet, e.g. 50.00. Set it here or as max_price of a task: without both, purchases are refused.",
        example="50.00",
        schema=_AMOUNT,
        limit=True,
    ),
    ConnectionSetting(
        "daily_limit",
        "Most to spend in a day",
        "All orders of this wallet in one calendar day, unresolved ones included, e.g. 200.00. Empty: unlimited.",
        example="200.00",
        schema=_AMOUNT,
        limit=True,
    ),
    ConnectionSetting(
        "monthly_limit",
        "Most to spend in a month",
        "The same for one calendar month, e.g. 2000.00. Empty: unlimited.",
        example="2000.00",
        schema=_AMOUNT,
        limit=True,
    ),
    ConnectionSetting(
        "min_balance",
        "Balance to keep",
        "This much must remain in the wallet after a purchase, e.g. 25.00. A purchase that would leave less is refused. "
        "Empty: the wallet may be emptied.",
        example="25.00",
        schema=_AMOUNT,
        limit=True,
    ),
    ConnectionSetting(
        "currency",
        "Currency of the wallet",
        "Three letters, e.g. USD. The limits above are in it, and so are prices without a currency of their own.",
        example="USD",
        schema={"pattern": "^[A-Za-z]{3}$"},
    ),
    ConnectionSetting(
        "wallet",
        "Wallet name",
        "Connections with the same host and key are one wallet already. Give the same name, e.g. main, to connections that pay "
        "from one balance with different keys. They then take turns and count together. Empty: the account has its own wallet.",
        example="main",
    ),
    ConnectionSetting(
        "timezone",
        "Time zone",
        "The days and months of the limits begin in this zone, and vendor times without a zone are in it, e.g. Europe/Berlin. "
        "Empty: UTC.",
        example="Europe/Berlin",
    ),
    ConnectionSetting(
        "requests_per_second",
        "Requests per second",
        "Pace of all calls of one process with this connection, e.g. 5.",
        kind="number",
        example=5,
        schema={"exclusiveMinimum": 0},
    ),
    ConnectionSetting(
        "timeout",
        "Timeout in seconds",
        "How long opening a connection may take in all and, separately, each part of an answer, e.g. 30. Empty: 30. If the "
        "answer to a purchase comes later, the next try looks for the order. It re-sends the purchase only if that is safe.",
        kind="number",
        example=30,
        schema={"exclusiveMinimum": 0},
    ),
    ConnectionSetting(
        "settle",
        "Settle time in seconds",
        "Counts when the answer to a purchase was lost: how long the vendor may still take it, and how long a new order then "
        "takes to show up in the vendor's lists, e.g. 160. A longer time is safer and slower.",
        kind="number",
        example=160,
        schema={"minimum": 0},
    ),
    ConnectionSetting(
        "order_page",
        "Order page",
        "The button Order of a task opens this address, an order's page in the vendor's dashboard, "
        "e.g. https://dashboard.example.com/orders/{order_id}. Empty: the button stays inactive.",
        example="https://dashboard.example.com/orders/{order_id}",
    ),
    ConnectionSetting(
        "allow_http",
        "Allow a host without TLS",
        "true sends the key to an http:// host in clear text. Everybody on the way can read it and buy with it. This machine's "
        "own addresses need no permission. Empty: such a host is refused.",
        kind="boolean",
        example=True,
    ),
    ConnectionSetting(
        "webhook_scheme",
        "Webhook signature",
        "Only for a vendor that signs in another way than its documentation says: kind, header, prefix, encoding, tolerance, "
        "see docs/webhooks.md. Empty: as documented.",
        kind="object",
        example={"kind": "timestamp", "header": "X-Signature", "prefix": "v1="},
        webhook=True,
    ),
    ConnectionSetting(
        "webhook_secret",
        "Webhook secret",
        "The vendor signs its webhooks with it. While you change it, give both as a list in the extra.",
        schema={"format": "password"},
        webhook=True,
    ),
)

#: Names of all of them.
CONNECTION_SETTING_NAMES: tuple[str, ...] = tuple(setting.name for setting in CONNECTION_SETTINGS)
#: Names of those that limit spending.
LIMIT_NAMES: tuple[str, ...] = tuple(setting.name for setting in CONNECTION_SETTINGS if setting.limit)
