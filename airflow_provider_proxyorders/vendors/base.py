"""What a vendor is: capabilities declared as data, checks before money moves, and flows without I/O.

Two rules: a vendor never sends anything (it yields requests), and it never decides to buy (the desk does). Every
answer to a spending request goes through :meth:`Vendor.spent`, so what counts as a refusal and what as an unknown
outcome is said in one place.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

from airflow_provider_proxyorders.core.account import Account
from airflow_provider_proxyorders.core.errors import (
    AuthenticationFailed,
    InsufficientFunds,
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
from airflow_provider_proxyorders.core.model import Balance, Delivery, Quote, VendorOrder
from airflow_provider_proxyorders.core.wire import Flow, Request, Response, UnreadableBody

Kind = Literal["create", "extend"]


@dataclass(frozen=True)
class Polling:
    """When it makes sense to look at a waiting order, in seconds.

    :param first: before the first look.
    :param fastest: between looks at a young order.
    :param slowest: between looks at an old one.
    :param timeout: how long a task waits by default before it says "pending".
    """

    first: float = 1.0
    fastest: float = 2.0
    slowest: float = 60.0
    timeout: float = 3600.0


@dataclass(frozen=True)
class Capabilities:
    """What the vendor's documentation offers. Calling what is missing is refused before any request.

    :param quote: a price can be asked for before buying.
    :param list_orders: orders can be listed.
    :param reference: an order carries our reference, unique per account, so a repeat is refused by the vendor.
    :param extend: a placed order can be extended.
    :param auto_extend: the vendor can renew an order by itself, and this can be switched.
    :param webhook: the vendor reports the end of an order.
    :param price_in_order: the order itself tells what was charged.
    :param evidence: where a lost purchase leaves traces: ``order`` (a list or the order itself), ``reference``,
        or only ``wallet`` (balance and what hangs on the account).
    :param settle: seconds after which a purchase that was taken shows up in reads; "absent" needs two looks this far apart.
    """

    quote: bool = False
    list_orders: bool = False
    reference: bool = False
    extend: bool = False
    auto_extend: bool = False
    webhook: bool = False
    price_in_order: bool = False
    evidence: Literal["order", "reference", "wallet"] = "wallet"
    settle: float = 30.0
    polling: Polling = field(default_factory=Polling)


@dataclass(frozen=True)
class Setting:
    """One setting of the connection that belongs to this vendor.

    :param kind: JSON type shown in the connection form: ``string``, ``integer``, ``number`` or ``boolean``.
    :param secret: hidden in the form and masked in logs.
    """

    name: str
    label: str
    help: str
    kind: str = "string"
    default: Any = None
    choices: Sequence[str] | None = None
    secret: bool = False
    placeholder: str = ""


@dataclass(frozen=True)
class Prepared:
    """A request that passed the documented rules.

    :param body: exactly what will be sent as JSON; numbers that came as text (templates) are numbers again.
    :param warnings: one sentence each, for the task log: fields we do not know, recurring charges and the like.
    """

    body: Mapping[str, Any]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Filters:
    """Which orders to list; None means any. A vendor refuses what it cannot filter by.

    :param extra: the vendor's own query parameters, as its documentation names them.
    """

    order_ids: Sequence[str] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """What the vendor's reads prove about a purchase whose answer was lost.

    :param verdict: ``found`` (``order`` is it), ``absent`` (at this look nothing of it was there) or ``undecided``.
    :param seen: one sentence on what was looked at and seen, for the ledger and for a person.
    """

    verdict: Literal["found", "absent", "undecided"]
    seen: str
    order: VendorOrder | None = None


class Vendor:
    """Base of all vendors. A subclass fills in the class attributes and the flows it supports.

    One instance serves one account and holds no state of its own; a login lives in ``account.session``.
    """

    #: the connection type, e.g. ``iproyal``
    name: ClassVar[str]
    #: for people, e.g. ``IPRoyal``
    title: ClassVar[str]
    #: documentation of the ordering calls
    docs_url: ClassVar[str]
    #: used when the connection names no host
    base_url: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    #: vendor settings of the connection, beside those every connection has
    settings: ClassVar[Sequence[Setting]] = ()
    #: label and help of the connection's password field
    secret_label: ClassVar[str] = "API key"
    secret_help: ClassVar[str] = ""

    def __init__(self, account: Account):
        self.account = account

    # -- before money moves: no I/O -------------------------------------------------------------------------------

    def prepare_create(self, request: Mapping[str, Any], reference: str) -> Prepared:
        """Check and complete the body of a purchase.

        :param reference: our reference for vendors that take one; derived from the order key, never from the try.
        :raises InvalidRequest: for the first field that breaks a documented rule.
        """
        raise self.unsupported("placing orders")

    def prepare_extend(self, order_id: str, request: Mapping[str, Any]) -> Prepared:
        """Check and complete the body of an extension.

        :raises InvalidRequest: for the first field that breaks a documented rule.
        """
        raise self.unsupported("extending an order", "place a new order instead; it comes with different proxies")

    def order_page(self, order_id: str) -> str | None:
        """Address of the order in the vendor's dashboard, None where no such page is documented."""
        return None

    # -- flows that spend -----------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        """Place an order with a prepared body. The last request of the flow spends."""
        raise self.unsupported("placing orders")

    def extend(self, order_id: str, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        """Extend an order with a prepared body. The last request of the flow spends."""
        raise self.unsupported("extending an order")

    # -- flows that change a setting, no money --------------------------------------------------------------------

    def set_auto_extend(self, order_id: str, enabled: bool, options: Mapping[str, Any] | None = None) -> Flow[None]:
        """Switch the vendor's own renewal of an order on or off."""
        raise self.unsupported("switching automatic renewal")

    # -- flows that only read -------------------------------------------------------------------------------------

    def login(self) -> Flow[None]:
        """Make sure that the next request is authenticated. Nothing to do for vendors with a static key."""
        return
        yield

    def balance(self) -> Flow[Balance]:
        """The spendable amount of the wallet."""
        raise self.unsupported("reading the balance")

    def check_access(self) -> Flow[str]:
        """Prove by reading that the key is good and may order; returns a sentence for the person who tests the connection."""
        balance = yield from self.balance()
        return f"{self.title}: key accepted, ordering calls permitted, balance {balance}"

    def get(self, order_id: str) -> Flow[VendorOrder]:
        """One order as it stands now."""
        raise self.unsupported("reading an order")

    def get_many(self, order_ids: Sequence[str]) -> Flow[dict[str, VendorOrder]]:
        """Several orders in as few calls as the vendor allows; an order it does not know is missing in the result."""
        found: dict[str, VendorOrder] = {}
        for order_id in order_ids:
            try:
                found[order_id] = yield from self.get(order_id)
            except OrderNotFound:
                continue
        return found

    def list(self, filters: Filters) -> Flow[list[VendorOrder]]:
        """All orders that pass the filters, every page."""
        raise self.unsupported("listing orders")

    def products(self) -> Flow[list[dict[str, Any]]]:
        """The vendor's catalogue as it answers it."""
        raise self.unsupported("listing products")

    def quote(self, body: Mapping[str, Any]) -> Flow[Quote]:
        """What a prepared purchase would cost now."""
        raise self.unsupported("quoting a price")

    def quote_extension(self, order_id: str, body: Mapping[str, Any]) -> Flow[Quote]:
        """What a prepared extension would cost now."""
        raise self.unsupported("quoting a price")

    def delivery(self, order_id: str) -> Flow[Delivery]:
        """What the order yielded. Secret."""
        raise self.unsupported("reading what was delivered")

    # -- flows for purchases whose answer was lost ----------------------------------------------------------------

    def snapshot(self, kind: Kind, body: Mapping[str, Any], order_id: str | None) -> Flow[dict[str, Any]]:
        """Read, right before a purchase, what will tell later whether it landed. Strings, ints, lists and objects; no secrets."""
        return {}
        yield

    def resolve(
        self,
        kind: Kind,
        body: Mapping[str, Any],
        order_id: str | None,
        evidence: Mapping[str, Any],
        sent_at: datetime,
        owned: frozenset[str],
    ) -> Flow[Finding]:
        """Look for a purchase whose answer was lost. Reads only.

        A read that fails raises; it is never taken for "absent".

        :param evidence: what :meth:`snapshot` read before the purchase.
        :param sent_at: when it was sent, aware UTC.
        :param owned: order ids and sub-account ids that the ledger already owns; they are somebody else's purchase.
        """
        return Finding("undecided", f"{self.title} leaves no evidence that this package knows how to read")
        yield

    # -- shared by all vendors ------------------------------------------------------------------------------------

    def auth_headers(self) -> Mapping[str, str]:
        """Headers that authenticate a request."""
        return {}

    def call(self, request: Request) -> Generator[Request, Response, Response]:
        """Send a request with authentication and hand back whatever came."""
        yield from self.login()
        return (yield request.with_headers(self.auth_headers()))

    def read(self, request: Request) -> Generator[Request, Response, Any]:
        """Send a reading request and return its JSON.

        :raises VendorError: when the answer is no success or not readable.
        """
        response = yield from self.call(request)
        self.check(response, request)
        return self.readable(response, request)

    def readable(self, response: Response, request: Request) -> Any:
        """The JSON of an answer to a reading request.

        :raises UnreadableAnswer: when it is something else.
        """
        try:
            return response.data()
        except UnreadableBody as error:
            raise self.unreadable(request, error) from None

    def check(self, response: Response, request: Request) -> None:
        """Turn an unsuccessful answer into the error it means."""
        if not response.ok:
            raise self.refusal(response, request)

    def spent(self, response: Response, request: Request) -> Any:
        """The JSON of a successful answer to a spending request.

        :raises VendorError: when the vendor provably refused: nothing was bought.
        :raises OutcomeUnknown: for 408, 409, 425, 429, every 5xx, every other surprise and a success that cannot be read.
        """
        if response.ok:
            try:
                return response.data()
            except UnreadableBody as error:
                raise self.unknown(request, f"answered {response.status}, but the body is {error}", response) from None
        if 400 <= response.status < 500 and response.status not in (408, 409, 425, 429):
            raise self.refusal(response, request)
        raise self.unknown(request, f"answered {response.status} {self.words(response)}".rstrip(), response)

    def refusal(self, response: Response, request: Request) -> VendorError:
        """The error that an unsuccessful answer means, with the vendor's own words."""
        said = self.words(response)
        tail = f" {self.title} says: {said}" if said else ""
        doing = request.name or f"{request.method} {request.path}"
        status = response.status
        common = {"status": status, "vendor_text": said}
        if status == 401:
            return AuthenticationFailed(
                f"{self.title} does not accept the key of connection {self.account.conn_id!r} ({doing}: 401).{tail} "
                f"Nothing was bought. Put a valid {self.secret_label} into the connection's password.",
                **common,
            )
        if status == 403:
            return OrderingNotPermitted(self.permission_advice(doing, tail), **common)
        if status == 404:
            return OrderNotFound(f"{self.title} does not know it ({doing}: 404).{tail}", **common)
        if status == 429:
            return Throttled(
                f"{self.title} asks to slow down ({doing}: 429).{tail}", retry_after=response.retry_after, vendor_text=said
            )
        if status == 402:
            return InsufficientFunds(self.funds_advice(doing, tail), **common)
        if 400 <= status < 500 and status not in (408, 425):
            return RequestRefused(f"{self.title} refused it ({doing}: {status}).{tail} Nothing was bought.", **common)
        return VendorUnavailable(f"{self.title} cannot answer right now ({doing}: {status}).{tail}", **common)

    def permission_advice(self, doing: str, tail: str) -> str:
        """What to tell a user whose key is good but may not order."""
        return (
            f"{self.title} does not permit this with the key of connection {self.account.conn_id!r} ({doing}: 403).{tail} "
            "Nothing was bought."
        )

    def funds_advice(self, doing: str, tail: str) -> str:
        """What to tell a user whose wallet is too empty."""
        return (
            f"the wallet behind connection {self.account.conn_id!r} holds less than the price ({doing}).{tail} "
            "Nothing was bought. Top the wallet up, then clear the task."
        )

    def unknown(self, request: Request, what: str, response: Response | None = None) -> OutcomeUnknown:
        doing = request.name or f"{request.method} {request.path}"
        return OutcomeUnknown(
            f"{self.title} {what} ({doing}). The purchase may have been taken and charged; it is not sent again.",
            status=response.status if response else None,
        )

    def unreadable(self, request: Request, error: Exception) -> UnreadableAnswer:
        doing = request.name or f"{request.method} {request.path}"
        return UnreadableAnswer(
            f"{self.title}'s answer is not what its documentation describes ({doing}): {error}. This was a reading call; "
            "it moved no money."
        )

    def unsupported(self, what: str, instead: str = "") -> UnsupportedOperation:
        advice = f"; {instead}" if instead else ""
        return UnsupportedOperation(f"{self.title} offers no call for {what}{advice}. Nothing was sent.")

    def words(self, response: Response, limit: int = 200) -> str:
        """The vendor's explanation in an error answer, shortened and without this account's secrets."""
        data = response.data_or_none()
        said = self.error_text(data) if data is not None else ""
        if not said and response.body:
            said = "an HTML page" if "html" in response.content_type else " ".join(response.text.split())
        said = self.account.redact(said)
        return said if len(said) <= limit else said[: limit - 3] + "..."

    def error_text(self, data: Any) -> str:
        """Find the explanation in the JSON of an error answer; subclasses know their envelope."""
        if isinstance(data, Mapping):
            for key in ("error", "message", "detail", "errors"):
                if data.get(key):
                    value = data[key]
                    return value if isinstance(value, str) else str(value)
        return ""
