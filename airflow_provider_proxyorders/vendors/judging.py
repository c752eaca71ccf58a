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
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, dump_json
from airflow_provider_proxyorders.domain.model import VendorOrder
from airflow_provider_proxyorders.wire.messages import Request, Response
from airflow_provider_proxyorders.wire.reading import optional_text

T = TypeVar("T")

#: How proxies are listed: a name or a number, and a port.
_ADDRESS = re.compile(r"[\w\]]:\d{2,5}\b")
#: 4xx that can come after the purchase was taken: a time limit, a conflict (with itself), a throttle behind the counter, and
#: what load balancers say when they stopped waiting.
MAYBE_TAKEN = frozenset({408, 409, 425, 429, 460, 499})


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
        :raises OutcomeUnknown: for :data:`MAYBE_TAKEN`, every 5xx, every other surprise and a success that cannot be read.
        """
        if response.ok:
            try:
                return response.data()
            except UnreadableBody as error:
                raise self.unknown(request, f"answered {response.status}, but the body is {error}", response) from None
        if 400 <= response.status < 500 and response.status not in MAYBE_TAKEN:
            raise self.refusal(response, request)
        raise self.unknown(request, f"answered {response.status} {self.words(response)}".rstrip(), response)

    def placed(self, response: Response, request: Request, read: Callable[[Any], VendorOrder]) -> VendorOrder:
        """The order in the answer to a spending request.

        :param read: makes an order of the answer's JSON.
        :raises VendorError, OutcomeUnknown: as :meth:`spent`; unknown also for a success without a readable order.
        """
        data = self.spent(response, request)
        try:
            return read(data)
        except UnreadableBody as error:
            order_id = optional_text(data, "id")
            named = f" naming order {order_id}" if order_id else ""  # what a person would look for
            raise self.unknown(request, f"answered {response.status}{named}, but {error}", response) from None

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
        tail += " Nothing was bought." if request.spends else " This call moves no money."
        doing = f"{_doing(request)}: {response.status}"
        status = meaning or response.status
        if status == 429:
            return Throttled(
                f"{self.title} asks to slow down ({doing}).{tail}",
                retry_after=response.retry_after,
                vendor_text=said,
            )
        kind: type[VendorError]
        if status == 401:
            kind, message = AuthenticationFailed, self.key_advice(doing, tail)
        elif status == 403:
            kind, message = OrderingNotPermitted, self.permission_advice(doing, tail)
        elif status == 404:
            kind, message = OrderNotFound, f"{self.title} does not know it ({doing}).{tail}"
        elif 400 <= status < 500 and self.lacks_funds(response):
            kind, message = InsufficientFunds, self.funds_advice(doing, tail)
        elif 400 <= status < 500 and status not in (408, 425):
            kind, message = RequestRefused, f"{self.title} refused it ({doing}).{tail}"
        else:
            kind, message = VendorUnavailable, f"{self.title} cannot answer right now ({doing}).{tail}"
        code = self.error_code(response.data_or_none())
        pause = response.retry_after if kind is VendorUnavailable else None  # to come back later helps no other one
        return kind(message, status=response.status, vendor_text=said, code=code, retry_after=pause)

    def lacks_funds(self, response: Response) -> bool:
        """Whether a refusal says that the wallet holds too little."""
        return response.status == 402

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

    def unknown(self, request: Request, what: str, response: Response | None = None) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"{self.title} {what} ({_doing(request)}): whether it was taken and charged is unknown.",
            status=response.status if response else None,
        )

    def unreadable(self, request: Request, error: Exception) -> UnreadableAnswer:
        return UnreadableAnswer(
            f"{self.title}'s answer is not what its documentation describes ({_doing(request)}): {error}. "
            "This call moves no money."
        )

    def words(self, response: Response, limit: int = 200) -> str:
        """The vendor's explanation in an error answer, shortened and without this account's secrets."""
        data = response.data_or_none()
        said = self.error_text(data) if data is not None else ""
        start = response.body.lstrip()[:1]
        if data is None and ("html" in response.content_type or start == b"<"):
            said = "an HTML page"
        elif data is None and start not in (b"{", b"["):  # broken JSON could be an order with its delivery
            said = " ".join(response.text.split())
            if _ADDRESS.search(said):
                said = "text that holds addresses"  # of proxies, perhaps with their passwords
        said = self.account.redact(said)
        return said if len(said) <= limit else said[: limit - 3] + "..."

    def error_text(self, data: Any) -> str:
        """The explanation in the JSON of an error answer; a subclass knows its envelope."""
        if isinstance(data, Mapping):
            for key in ("error", "message", "detail", "errors"):
                if data.get(key):
                    value = data[key]
                    return value if isinstance(value, str) else dump_json(value)
        return ""

    def error_code(self, data: Any) -> str:
        """The machine-readable code in the JSON of an error answer, "" without a code."""
        return ""


def _doing(request: Request) -> str:
    return request.name or f"{request.method} {request.path}"
