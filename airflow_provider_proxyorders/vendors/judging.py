"""How an answer is judged: a refusal, an unknown outcome, and the state of the user's money.

Two rules: only :meth:`Judging.spent` judges the answer to a spending request, so "nothing was bought" has one place and a proof;
and a message carries the vendor's explanation alone, since a whole answer may hold codes, logins or a token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    InsufficientFunds,
    OrderingNotPermitted,
    OrderNotFound,
    OutcomeUnknown,
    RequestRefused,
    Throttled,
    UnreadableAnswer,
    VendorError,
    VendorUnavailable,
)
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import OrderStatus, VendorOrder
from airflow_provider_proxyorders.wire.gate import admit, plain
from airflow_provider_proxyorders.wire.messages import Request, Response
from airflow_provider_proxyorders.wire.quoting import explanation, field_messages, without_addresses

T = TypeVar("T")

#: 4xx that can come after the purchase was taken: a time limit, a conflict (with itself), a throttle behind the counter, and
#: what load balancers say when they stopped waiting.
MAYBE_TAKEN = frozenset({408, 409, 425, 429, 460, 499})


#: How vendors say that a wallet holds too little.
_NO_FUNDS = re.compile(
    r"(insufficient|not enough|too low)\b.{0,20}\b(balance|funds|credit)|(balance|funds).{0,20}(insufficient|too low)", re.I
)
#: What a page for people in place of an answer means.
WEB_PAGE = "a web page, not the vendor's API: a firewall or a bot check in front of it; the key was probably not looked at"


class Judging:
    """The judging half of a vendor; a subclass overrides what its error envelope needs."""

    account: Account
    #: for people, e.g. ``IPRoyal``
    title: ClassVar[str]
    #: what the vendor calls the secret in the connection's password field
    secret_label: ClassVar[str] = "API key"

    def readable(self, response: Response, request: Request) -> Any:
        """The JSON of an answer to a reading request.

        :raises UnreadableAnswer: for anything else.
        """
        try:
            return self._admitted(response, delivers=request.delivers)
        except UnreadableBody as error:
            raise self.unreadable(request, error) from None

    def _admitted(self, response: Response, *, delivers: bool = False) -> Any:
        """:raises UnreadableBody: as :meth:`Response.data`."""
        return admit(response.data(), response.body, self.account.redact, delivers=delivers)

    def said(self, response: Response) -> Any:
        """The JSON of an answer that may be an error, ``None`` for other text: the status already decides."""
        try:
            return self._admitted(response)
        except UnreadableBody:
            return None

    def check(self, response: Response, request: Request) -> None:
        """Turn an unsuccessful answer into the error it means."""
        if not response.ok:
            raise self.refusal(response, request)

    def spent(self, response: Response, request: Request) -> Any:
        """The JSON of a successful answer to a spending request.

        :raises VendorError: when the vendor provably refused: nothing was bought.
        :raises OutcomeUnknown: for :data:`MAYBE_TAKEN`, every 5xx, every other surprise and a success that cannot be read.
        """
        if response.ok:
            try:
                return self._admitted(response)
            except UnreadableBody as error:
                raise self.unknown(request, f"answered {response.status}, but the body is {error}", response) from None
        if 400 <= response.status < 500 and response.status not in MAYBE_TAKEN and not is_web_page(response):
            raise self.refusal(response, request)
        said = self._elsewhere(response) or self.words(response)
        raise self.unknown(request, f"answered {response.status} {said}".rstrip(), response)

    def placed(
        self,
        response: Response,
        request: Request,
        read: Callable[[Any], VendorOrder],
        name: Callable[[Any], str] | None = None,
    ) -> VendorOrder:
        """The order in the answer to a spending request.

        :param read: makes an order of the answer's JSON.
        :param name: reads the order id alone. An otherwise unreadable answer that names a new order still means this order.
        :raises VendorError, OutcomeUnknown: as :meth:`spent`; unknown also for a success without a readable order.
        """
        data = self.spent(response, request)
        try:
            try:
                return read(data)
            except UnreadableBody:
                if name is None:
                    raise
                return VendorOrder(name(data), OrderStatus.UNKNOWN, "")
        except UnreadableBody as error:
            words = self.words(response)
            said = f" and said {words!r}" if words else ""
            raise self.unknown(request, f"answered {response.status}{said}, but {error}", response) from None

    def understood(self, request: Request, read: Callable[[], T]) -> T:
        """The answer to a reading request, read by ``read``.

        :raises UnreadableAnswer: for an answer against the documentation.
        """
        try:
            return read()
        except UnreadableBody as error:
            raise self.unreadable(request, error) from None

    def refusal(self, response: Response, request: Request, meaning: int | None = None) -> VendorError:
        """The error that an unsuccessful answer means, with the vendor's own words.

        :param meaning: the HTTP status it amounts to, for a vendor with another way to refuse.
        """
        said = self.words(response)
        tail = f" {self.title} says: {said}{'' if said.endswith(('.', '!')) else '.'}" if said else ""
        tail += "" if request.spends else " This call moves no money."  # of a purchase, the buyer tells after a look
        tail += response.cut_pause
        doing = f"{_doing(request)}: {response.status}"
        status = meaning or response.status
        if status == 429:
            return Throttled(
                f"{self.title} asks to slow down ({doing}).{tail}",
                retry_after=response.retry_after,
                vendor_text=said,
            )
        if is_web_page(response) or self._elsewhere(response):
            return self._other_than_the_api(response, doing, tail)
        kind: type[VendorError]
        if status == 401:
            kind, message = AuthenticationFailed, self.key_advice(doing, tail)
        elif status == 403:
            kind, message = OrderingNotPermitted, self.permission_advice(doing, tail)
        elif status == 404:
            kind, message = OrderNotFound, f"{self.unknown_order(request.order_id)} ({doing}).{tail}"
        elif 400 <= status < 500 and self.lacks_funds(response):
            kind, message = InsufficientFunds, self.funds_advice(doing, tail)
        elif 400 <= status < 500 and status not in (408, 425):
            kind, message = RequestRefused, f"{self.title} refused it ({doing}).{tail}"
        else:
            kind, message = VendorUnavailable, f"{self.title} cannot answer right now ({doing}).{tail}"
        data = self.said(response)
        pause = response.retry_after if kind is VendorUnavailable else None  # to come back later helps no other one
        error = kind(message, status=response.status, vendor_text=said, code=self.error_code(data), retry_after=pause)
        error.names_fields = kind is RequestRefused and _names_fields(data, request)
        return error

    def _other_than_the_api(self, response: Response, doing: str, tail: str) -> VendorUnavailable:
        """The error for an answer from something else than the vendor's API. The next try may reach the API."""
        target = self._elsewhere(response)
        what = f"{self.title} is answered for by {WEB_PAGE} ({doing}).{tail}"
        if target:
            what = (
                f"{self.title} {target} ({doing}).{tail} If the API has moved there, put that address into the host of "
                f"connection {self.account.conn_id!r}."
            )
        return VendorUnavailable(what, status=response.status, vendor_text=target, retry_after=response.retry_after)

    def _elsewhere(self, response: Response) -> str:
        """Where a redirect points to, as half a sentence; "" for any other answer."""
        if not 300 <= response.status < 400:
            return ""
        target = self.account.redact(plain(response.headers.get("location", "")))[:300]  # a key that is cut would show in part
        return f"redirects to {target or 'an address that it leaves out'}"

    def lacks_funds(self, response: Response) -> bool:
        """Whether a refusal says that the wallet holds too little. The words only choose the advice: it is a refusal anyway."""
        return response.status == 402 or _NO_FUNDS.search(self.words(response)) is not None

    def key_advice(self, doing: str, tail: str) -> str:
        """Advice for a refused key."""
        return (
            f"{self.title} does not accept the key of connection {self.account.conn_id!r} ({doing}).{tail} "
            f"Put a valid {self.secret_label} into the connection's password."
        )

    def permission_advice(self, doing: str, tail: str) -> str:
        """Advice for a good key without the permission."""
        return f"{self.title} does not permit this with the key of connection {self.account.conn_id!r} ({doing}).{tail}"

    def funds_advice(self, doing: str, tail: str) -> str:
        """Advice for a wallet below the price."""
        return (
            f"the wallet behind connection {self.account.conn_id!r} holds less than the price ({doing}).{tail} "
            "Top the wallet up, then clear the task."
        )

    def unknown_order(self, order_id: str) -> str:
        """What is said about an order that the vendor does not have; without an id of whatever was asked for."""
        what = f"order {order_id!r}" if order_id else "what was asked for"
        return f"{self.title} does not know {what} with the key of connection {self.account.conn_id!r}"

    def unknown(self, request: Request, what: str, response: Response | None = None) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"{self.title} {what} ({_doing(request)}): whether it was taken and charged is unknown."
            f"{response.cut_pause if response else ''}",
            status=response.status if response else None,
            retry_after=response.retry_after if response else None,
        )

    def unreadable(self, request: Request, error: Exception) -> UnreadableAnswer:
        return UnreadableAnswer(
            f"{self.title}'s answer is not what its documentation describes ({_doing(request)}): {error}. "
            "This call moves no money."
        )

    def words(self, response: Response, limit: int = 200) -> str:
        """The vendor's explanation in an error answer, shortened and without this account's secrets."""
        data = self.said(response)
        said = self.error_text(data) if data is not None else ""
        start = response.body.lstrip()[:1]
        if is_web_page(response):
            said = "a web page"
        elif data is None and start not in (b"{", b"["):  # broken JSON could be an order with its delivery
            said = " ".join(response.text.split())
        said = self.account.redact(plain(without_addresses(said)))
        return said if len(said) <= limit else said[: limit - 3] + "..."

    def error_text(self, data: Any) -> str:
        """The explanation in the JSON of an error answer; a subclass knows its envelope."""
        if not isinstance(data, Mapping):
            return ""
        said = explanation(data)
        more = [text for text in field_messages(data.get("errors")) if text.partition(": ")[2] not in said or not said]
        return "; ".join(dict.fromkeys([*([said] if said else []), *more]))

    def error_code(self, data: Any) -> str:
        """The machine-readable code in the JSON of an error answer, "" without a code."""
        return ""


def is_web_page(response: Response) -> bool:
    """Whether a page for people came in place of the API's answer."""
    return "html" in response.content_type or response.body.lstrip()[:1] == b"<"


def _names_fields(data: Any, request: Request) -> bool:
    """Whether an error answer is about fields of the request alone, as ``{"errors": {"field.part": ["message"]}}``."""
    errors = data.get("errors") if isinstance(data, Mapping) else None
    if not isinstance(errors, Mapping) or not errors:
        return False
    fields = {name for name, _ in request.params} | set(request.json if isinstance(request.json, Mapping) else ())
    if any(str(error).startswith("coupon") for error in errors):  # a first copy may have used it up
        return False
    return all(any(str(error).startswith((name, name.partition("[")[0])) for name in fields) for error in errors)


def _doing(request: Request) -> str:
    return request.name or f"{request.method} {request.path}"
