"""The pretended ProxyScrape: wallet-paid orders that end in a sub-account with a proxy list.

Documentation: docs.proxyscrape.com/api/account/api-ordering. The sandbox's own choices, since the documentation leaves them open:
the products and prices, the code of a successful create (200), and the answer about a missing sub-account (404). Blocked and
failed orders keep the money; refunded ones give it back to the wallet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

from airflow_provider_proxyorders.domain.model import decimal
from airflow_provider_proxyorders.sandbox.clock import Clock
from airflow_provider_proxyorders.sandbox.proxy_pool import HOST, ProxyBatch
from airflow_provider_proxyorders.sandbox.till import Wallet
from airflow_provider_proxyorders.sandbox.vendor_base import (
    Answer,
    Ask,
    Call,
    Outcome,
    Refusal,
    SandboxVendor,
    cents,
    number,
    whole,
)

CURRENCY = "USD"
DAY = 86400
LOCATIONS = ("mixed", "us", "gb", "de", "fr", "ca", "es", "it", "br", "th")
DURATIONS = {"30d": 30, "60d": 60, "90d": 90}

NO_PACKAGE = "Missing or invalid pricing configuration."
NO_FUNDS = "Insufficient wallet balance."
NO_IDENTITY = "Could not determine account email from authenticated identity."
NO_ORDERING = "API ordering is not enabled for this account. Contact support to request access."
NO_READING = (
    "Reading order status via the API-ordering endpoint is not enabled for this account. Contact support to request access."
)


@dataclass(frozen=True)
class Package:
    """What a purchase comes to.

    :param days: the term; None where it does not run out.
    :param size: proxies in the list of a datacenter sub-account.
    """

    price: Decimal
    days: int | None = None
    size: int = 0


@dataclass(frozen=True)
class Prices:
    """What the products cost, in major units.

    :param per_proxy: for 30 days.
    :param per_gb: of residential traffic.
    :param per_month: 30 days of unlimited traffic.
    :param per_serp: one package.
    """

    per_proxy: Decimal = Decimal("0.05")
    per_gb: Decimal = Decimal("3.00")
    per_month: Decimal = Decimal("120.00")
    per_serp: Decimal = Decimal("10.00")

    def package(self, body: Mapping[str, Any]) -> Package | None:
        """What the body orders; None where nothing like it is for sale."""
        duration = body.get("duration")
        days = DURATIONS.get(duration) if isinstance(duration, str) else None
        if duration is not None and days is None:
            return None
        kind = body.get("type")
        if kind == "new_datacenter_shared":
            return self._datacenter(body)
        if kind == "new_residential":
            volume = body.get("bandwidth")
            if isinstance(volume, bool) or not isinstance(volume, (int, Decimal)) or volume <= 0:
                return None
            return Package(cents(self.per_gb * volume), days)
        if kind == "new_residential_unlimited":
            return Package(cents(self.per_month * days / 30), days) if days else None
        return Package(self.per_serp, days) if kind == "new_serp_api" else None

    def _datacenter(self, body: Mapping[str, Any]) -> Package | None:
        pools = {name[8:-1]: size for name, size in body.items() if name.startswith("proxies[") and name.endswith("]")}
        days = whole(body.get("days"))
        if len(pools) != 1 or days is None or days not in DURATIONS.values() or body.get("bandwidth", 0) != 0:
            return None
        (location, size), *_ = pools.items()
        size = whole(size)
        if location not in LOCATIONS or size is None or size < 1:
            return None
        return Package(cents(self.per_proxy * size * days / 30), days, size)


@dataclass
class Account:
    """One sub-account.

    :param expires: unix seconds.
    :param opened: unix seconds; 0 = before everything.
    :param lines: its proxy list where a test gave one; else it is made from ``batch``.
    :param extra: fields that the documentation does not name.
    """

    entry: dict[str, Any]
    expires: float | None = None
    opened: float = 0.0
    valid: bool = True
    batch: ProxyBatch | None = None
    lines: list[str] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def usable(self, clock: Clock) -> bool:
        return self.valid and (self.expires is None or self.expires > clock.timestamp())


@dataclass
class Order:
    order_id: str
    wallet: Wallet
    type: str
    package: Package
    created: int
    updated: int
    status: str = "paid"
    block_reason: str | None = None
    account: Account | None = None
    refunded: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        blocked = {} if self.block_reason is None else {"block_reason": self.block_reason}
        return {
            "order_id": self.order_id,
            "status": self.status,
            "type": self.type,
            "created_at": self.created,
            "updated_at": self.updated,
            "price": f"{self.package.price:f}",
            "currency": CURRENCY,
            "paid_with_credit": True,
            "subaccount": self.account and self.account.entry,
            **blocked,
            **self.extra,
        }


def _tell_ends(vendor: SandboxProxyScrape, _: Wallet, value: Any) -> None:
    vendor.tells_ends = bool(value)


class SandboxProxyScrape(SandboxVendor):
    name = "proxyscrape"
    default_token = "ps-test-token"
    default_processing = 0.5
    success = "processed"
    id_field = "data"
    balance_at = ("data", "balance")
    own_times = frozenset({"created_at", "updated_at", "time_added"})
    refusals = {
        "balance": (400, {"success": False, "error": NO_FUNDS}),
        "duplicate": (409, {"success": False, "error": "This order was sent before."}),
        "forbidden": (403, {"success": False, "error": NO_ORDERING}),
        "invalid": (400, {"success": False, "error": NO_PACKAGE}),
    }

    def reset(self) -> None:
        super().reset()
        self.prices = Prices()
        self.orders: dict[str, Order] = {}
        #: the sub-accounts of each wallet by their id
        self.accounts: dict[str, dict[str, Account]] = {}
        #: whether the overview of a sub-account tells its end
        self.tells_ends = False

    def route(self, ask: Ask) -> Call | None:
        match (ask.method, *ask.parts):
            case ("POST", "v4", "account", "orders", "create"):
                return Call("create", partial(self._create, ask))
            case ("GET", "v4", "account", "orders", "balance"):
                return Call("balance", partial(self._balance, ask))
            case ("GET", "v4", "account", "orders", order_id, "status"):
                return Call("get", partial(self._status, ask, order_id))
            case ("GET", "v4", "account", "subaccounts"):
                return Call("subaccounts", partial(self._subaccounts, ask))
            case ("GET", "v4", "account", account_id, product, "overview"):
                return Call("overview", partial(_overview, self, ask, account_id, product))
            case ("GET", "v4", "account", account_id, "datacenter_shared", "proxy-list"):
                return Call("delivery", partial(self._proxy_list, ask, account_id))
        return None

    # -- operations -----------------------------------------------------------------------------------------------

    def _create(self, ask: Ask) -> Answer:
        wallet = self.asker(ask)
        if not wallet.may_order:
            raise _refusal(403, NO_ORDERING)
        package = self.prices.package(ask.json)
        if package is None:
            raise _refusal(400, NO_PACKAGE)
        if wallet.balance < package.price:
            raise _refusal(400, NO_FUNDS)
        package = replace(package, price=self.to_pay(package.price))
        now = int(self.clock.timestamp())
        order = Order(self.random_uuid(), wallet, ask.json["type"], package, created=now, updated=now)
        self.orders[order.order_id] = order
        self.till.charge(wallet, order.order_id, "create", package.price, ask.json)
        self.clock.after(self.processing, partial(self._processed, order, self.next_outcome()))
        return Answer({"success": True, "data": order.order_id})

    def _status(self, ask: Ask, order_id: str) -> Answer:
        wallet = self._reader(ask)
        order = self.orders.get(order_id)
        if order is None or order.wallet is not wallet or not self.shows(order_id):
            raise _refusal(404, "Order not found.")
        return Answer({"success": True, "data": order.wire()})

    def _balance(self, ask: Ask) -> Answer:
        wallet = self._reader(ask)
        return Answer({"success": True, "data": {"balance": number(self.shown_balance(wallet)), "currency": CURRENCY}})

    def _subaccounts(self, ask: Ask) -> Answer:
        wallet = self.asker(ask)
        accounts = [each for each in self.accounts.get(wallet.name, {}).values() if self._listed(each)]
        listed = [{**account.entry, "is_hidden": False, **account.extra} for account in accounts if account.valid]
        return Answer({"data": {"subaccounts": listed}})

    def _listed(self, account: Account) -> bool:
        return not self.manner.unseen and account.opened <= self.clock.timestamp() - self.manner.lag

    def _proxy_list(self, ask: Ask, account_id: str) -> Answer:
        account = self.accounts.get(self.asker(ask).name, {}).get(account_id)
        if account is None or account.entry.get("AccountType") != "datacenter_shared":
            raise _refusal(404, "Not found.")
        if not account.usable(self.clock):
            raise Refusal(401, {"status": "unauthorized", "info": "Your subscription is expired."})
        lines = account.lines
        if lines is None:
            logins = account.batch.logins if account.batch else ()
            lines = [f"{HOST}:{self.pool.port}:{user}:{password}" for user, password in logins]
        if ask.param("format") == "normal":
            lines = [":".join(line.split(":")[:2]) for line in lines]
        limit = ask.param("limit")
        return Answer(text="\n".join(lines[: int(limit)] if limit and limit.isdigit() else lines))

    # -- the life of an order --------------------------------------------------------------------------

    def _processed(self, order: Order, outcome: Outcome) -> None:
        if self.orders.get(order.order_id) is order and order.status == "paid":
            self._end(order, outcome)

    def _end(self, order: Order, outcome: Outcome) -> None:
        order.status, order.updated = outcome.word, int(self.clock.timestamp())
        if outcome.word == "blocked":
            order.block_reason = str(outcome.details.get("block_reason", "held back by the sandbox"))
        if outcome.word == "processed" and order.account is None:
            number_of = len(self.accounts.get(order.wallet.name, {})) + 1
            order.account = self._open(
                order.wallet,
                {
                    "AccountID": self.random_uuid(),
                    "AccountType": order.type.removeprefix("new_"),
                    "label": f"Account {number_of} (Premium)",
                    "time_added": order.updated,
                },
                order.package,
                order.order_id,
            )
            order.account.opened = self.clock.timestamp()
        if order.account is not None:
            order.account.valid = outcome.word not in ("refunded", "blocked", "failed")
        if not order.refunded and outcome.details.get("refund", outcome.word == "refunded"):
            order.refunded = True
            self.till.pay_back(order.wallet, order.order_id, order.package.price)

    def _open(self, wallet: Wallet, entry: dict[str, Any], package: Package, order_id: str) -> Account:
        account = Account(entry)
        if package.days is not None:
            account.expires = self.clock.timestamp() + package.days * DAY
        stem = self.random_text(8)
        logins = [(f"ps{stem}n{n}", self.random_text(12)) for n in range(1, package.size + 1)]
        account.batch = self.pool.hand_out(
            ProxyBatch(self.name, wallet.name, order_id, logins, partial(account.usable, self.clock))
        )
        self.accounts.setdefault(wallet.name, {})[entry["AccountID"]] = account
        return account

    # -- control --------------------------------------------------------------------------------------------------

    def seed_order(self, wallet: Wallet, fields: Mapping[str, Any]) -> str:
        rest = dict(fields)
        order_id = str(rest.pop("order_id", None) or rest.pop("id", None) or self.random_uuid())
        rest.pop("id", None)
        now = int(self.clock.timestamp())
        package = Package(decimal(rest.pop("price", "25.00")), 30, int(rest.pop("quantity", 5)))
        created = rest.pop("created_at", now)
        order = Order(
            order_id, wallet, str(rest.pop("type", "new_datacenter_shared")), package, created, rest.pop("updated_at", created)
        )
        status, updated = str(rest.pop("status", "processed")), order.updated
        details: dict[str, Any] = {"refund": False}
        if "block_reason" in rest:
            details["block_reason"] = rest.pop("block_reason")
        if rest.get("subaccount"):
            order.account = self._open(wallet, dict(rest.pop("subaccount")), package, order_id)
        if status != "paid":
            self._end(order, Outcome(status, details))
        if order.account is not None:
            order.account.opened = 0.0
        # the remaining fields are answered unchanged, also a missing sub-account of an order with one
        order.updated, order.extra = updated, rest
        self.orders[order_id] = order
        return order_id

    def seed_account(self, wallet: Wallet, fields: Mapping[str, Any]) -> str:
        """Add a sub-account outside of any order.

        :param fields: the documented object; ``proxies`` may hold the lines of its list, or their number.
        """
        rest = dict(fields)
        lines = rest.pop("proxies", 0)
        entry = {
            "AccountID": str(rest.pop("AccountID", None) or self.random_uuid()),
            "AccountType": rest.pop("AccountType", "datacenter_shared"),
            "label": rest.pop("label", "Account 1 (Premium)"),
            "time_added": rest.pop("time_added", int(self.clock.timestamp())),
        }
        size = 0 if isinstance(lines, (list, tuple)) else int(lines)
        account = self._open(wallet, entry, Package(Decimal(0), None, size), "")
        account.lines = [str(line) for line in lines] if isinstance(lines, (list, tuple)) else None
        account.extra = rest
        return str(entry["AccountID"])

    own_commands = {"subaccount": seed_account, "overview": _tell_ends}

    def handles(self) -> Mapping[str, str]:
        return {order.account.entry["AccountID"]: order.order_id for order in self.orders.values() if order.account}

    def set_status(self, order_id: str, outcome: Outcome) -> None:
        self._end(self.orders[order_id], outcome)

    def created(self, order_id: str) -> Any:
        return {"success": True, "data": self.orders[order_id].order_id}

    def deliver_less(self, order_id: str, units: int) -> None:
        account = self.orders[order_id].account
        if account is not None and account.batch is not None:
            account.batch = replace(account.batch, logins=account.batch.logins[:units])

    # -- identity -------------------------------------------------------------------------------------------------

    def not_found(self) -> Answer:
        return Answer({"success": False, "error": "Not found."}, 404)

    def asker(self, ask: Ask) -> Wallet:
        token = ask.headers.get("api-token")
        if not token:
            scheme, _, bearer = ask.headers.get("Authorization", "").partition(" ")
            token = bearer.strip() if scheme.lower() == "bearer" else None
        wallet = self.by_token.get(token or "")
        if wallet is None:
            raise _refusal(401, NO_IDENTITY)
        return wallet

    def _reader(self, ask: Ask) -> Wallet:
        """The wallet of a reader of orders and balance. The balance's undocumented refusal has the text for orders."""
        wallet = self.asker(ask)
        if not wallet.may_read:
            raise _refusal(403, NO_READING)
        return wallet


def _overview(vendor: SandboxProxyScrape, ask: Ask, account_id: str, product: str) -> Answer:
    """The ends of a sub-account's services. Seen in use only; off by default."""
    account = vendor.accounts.get(vendor.asker(ask).name, {}).get(account_id)
    if not vendor.tells_ends or account is None or account.entry.get("AccountType") != product:
        raise _refusal(404, "Not found.")
    service = {"expiration_time": account.expires and int(account.expires), "bandwidth_used": 0}
    return Answer({"data": {"services": {product: service}}})


def _refusal(status: int, text: str) -> Refusal:
    return Refusal(status, {"success": False, "error": text})
