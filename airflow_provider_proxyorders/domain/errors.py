"""All errors of the package, each with the state of the money.

Two rules. The text of every error says what happened to the money. The error carries the same as data, for Airflow's retry policy
and the ledger::

    ProxyOrdersError
    |- InvalidRequest           a field breaks a documented rule          untouched, never
    |  `- InvalidParameter      a parameter of a task is unreadable       untouched, never
    |- UnsupportedOperation     the vendor lacks this call                untouched, never
    |- ConfigError              the connection or a setting is wrong      untouched, never
    |- OrderKeyConflict         the key already stands for another order  untouched, never
    |- CapExceeded              a limit or the minimum balance            untouched, never
    |- NotDue                   the order is paid for far enough          untouched, never
    |- WalletHeld               another purchase must be settled first    untouched, soon
    |- LedgerError              the ledger is unsafe to use               untouched, soon or never
    |- SpendRefused             a reader tried to send a purchase (a bug) untouched, never
    |- NeverSent                the purchase provably never left          untouched, soon
    |- VendorError              a refusal, or an unreadable answer        untouched; unknown while a copy may show late
    |  |- AuthenticationFailed, OrderingNotPermitted, OrderNotFound,
    |  |  RequestRefused, InsufficientFunds                               never
    |  `- Throttled, VendorUnavailable, UnreadableAnswer                  soon or later
    |- OutcomeUnknown           sent, without a usable answer             unknown, sent again only with proof
    |- Quarantined              a person has to decide                    unknown, never
    |- OrderNotUsable           blocked, failed, refunded, expired, partial   charged, never
    |- NotFarEnough             extended, and still ends too early        charged, never
    `- OrderPending             still unfinished at the deadline          charged, later (waits for the same order)
       `- OrderMissing          taken, and reads no longer show it        charged, later (reads the same order)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

MoneyState = Literal["untouched", "charged", "unknown"]
Retry = Literal["never", "soon", "later"]


class ProxyOrdersError(Exception):
    """Root of all errors of this package.

    :ivar money: the state of the wallet: ``untouched``, ``charged`` or ``unknown``.
    :cvar retry: whether another try of the task can help: ``never``, ``soon`` or ``later``. A retry buys at most once in each
        case; ``never`` only saves time.
    :cvar passing: whether the trouble is the vendor's and passes by itself, so the same try may repeat a read.
    :ivar retry_after: seconds until another try can help, such as the vendor's requested wait; ``None`` if unknown.
    """

    money: MoneyState = "untouched"
    retry: Retry = "never"
    passing: ClassVar[bool] = False
    retry_after: float | None = None

    def __init__(self, message: str, *, retry: Retry | None = None):
        super().__init__(message)
        if retry is not None:
            self.retry = retry

    def tell(self, sentence: str) -> None:
        """Add the sentence about the money to a text without one."""
        text = str(self)
        if "Nothing was" not in text and "bought nothing" not in text:
            self.args = (f"{text.rstrip('. ')}. {sentence}",)


@contextmanager
def telling_of_the_wallet() -> Iterator[None]:
    """Around a call that can buy: a refused request or parameter also says that nothing was bought."""
    try:
        yield
    except InvalidRequest as error:
        error.tell("Nothing was bought.")
        raise


class InvalidRequest(ProxyOrdersError, ValueError):
    """A field of the request breaks a rule of the vendor's documentation. Nothing was sent.

    :param field: the field's name as the vendor's documentation writes it.
    :param rule: the demand of the documentation.
    :param example: a valid value.
    """

    def __init__(self, field: str, rule: str, example: object = None, *, got: object = None, vendor: str = ""):
        self.field, self.rule, self.example = field, rule, example
        text = f"{vendor + ': ' if vendor else ''}{self._subject()} {rule}"
        if got is not None:
            text += f"; got {_short(got)}"
        if example is not None:
            text += f". For example: {_short(example)}"
        super().__init__(f"{text}.")

    def _subject(self) -> str:
        return f"request field {self.field!r}"


class InvalidParameter(InvalidRequest):
    """A parameter of an operator, sensor, trigger or hook method is unreadable. Nothing was sent."""

    def _subject(self) -> str:
        return self.field


class UnsupportedOperation(ProxyOrdersError):
    """The vendor lacks this call. Nothing was sent."""


class ConfigError(ProxyOrdersError):
    """The connection or a setting is missing or wrong. Nothing was sent."""


class OrderKeyConflict(ProxyOrdersError):
    """The order key already stands for a purchase with another request. Nothing was sent."""


class CapExceeded(ProxyOrdersError):
    """A price cap, a spending limit or the minimum balance would be broken. Nothing was sent."""


class NotDue(ProxyOrdersError):
    """The order is already paid for far enough, perhaps by another run. Nothing was bought."""


class WalletHeld(ProxyOrdersError):
    """Another purchase on the same wallet, or another try of the same one, is under way. Nothing was sent.

    :param blocker: order key of the purchase with the turn on the wallet.
    :param retry_after: seconds after which another try can go on, or ``None``.
    """

    retry: Retry = "soon"

    def __init__(self, message: str, *, blocker: str | None = None, retry_after: float | None = None):
        self.blocker, self.retry_after = blocker, retry_after
        super().__init__(message)


class LedgerError(ProxyOrdersError):
    """The ledger is unsafe to use, so nothing was bought."""

    retry: Retry = "soon"


class SpendRefused(ProxyOrdersError):
    """A spending request was stopped: its sender may only read. Nothing was sent."""


class NeverSent(ProxyOrdersError):
    """The purchase provably stayed on this machine (the connection failed). This try bought nothing."""

    retry: Retry = "soon"


class VendorError(ProxyOrdersError):
    """The vendor refused, or its answer is unusable.

    :param status: HTTP status of the answer; ``None`` without an answer.
    :param vendor_text: the vendor's own words, shortened, without secrets.
    :param code: the vendor's machine-readable code, if any.
    :param retry_after: the vendor's requested wait in seconds, or ``None``.
    :ivar names_fields: the refusal names fields of the request, so each copy of the request is refused alike.
    """

    names_fields = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        vendor_text: str = "",
        code: str = "",
        retry: Retry | None = None,
        retry_after: float | None = None,
    ):
        self.status, self.vendor_text, self.code, self.retry_after = status, vendor_text, code, retry_after
        super().__init__(message, retry=retry)


class AuthenticationFailed(VendorError):
    """401: the key or token is missing, wrong, revoked or expired. Nothing was bought."""


class OrderingNotPermitted(VendorError):
    """403: the key is good but lacks this right. Nothing was bought."""


class OrderNotFound(VendorError):
    """404: the order is missing, or belongs to another account."""


class RequestRefused(VendorError):
    """The vendor read the request and refused it. Nothing was bought."""


class InsufficientFunds(RequestRefused):
    """The wallet holds less than the price. Nothing was bought."""


class Throttled(VendorError):
    """429 on a reading call."""

    retry: Retry = "later"
    passing: ClassVar[bool] = True

    def __init__(self, message: str, *, retry_after: float | None = None, status: int = 429, vendor_text: str = ""):
        super().__init__(message, status=status, vendor_text=vendor_text, retry_after=retry_after)


class VendorUnavailable(VendorError):
    """A reading call got silence or a 5xx. Nothing was changed."""

    retry: Retry = "soon"
    passing: ClassVar[bool] = True


class UnreadableAnswer(VendorError):
    """The answer of a reading call differs from the documentation. Nothing was changed."""

    retry: Retry = "soon"
    passing: ClassVar[bool] = True


class OutcomeUnknown(ProxyOrdersError):
    """The purchase was sent and its answer was lost or unreadable: the vendor may have taken and charged it.

    The ledger keeps it as UNKNOWN. Only proof leads to another sending.

    :param order_key: the key of the purchase, filled in by the buyer.
    :param retry_after: seconds after which another try can find out more, such as the vendor's requested wait, or ``None``.
    """

    money: MoneyState = "unknown"

    def __init__(
        self,
        message: str,
        *,
        order_key: str | None = None,
        status: int | None = None,
        retry: Retry | None = None,
        retry_after: float | None = None,
    ):
        self.order_key, self.status, self.retry_after = order_key, status, retry_after
        super().__init__(message, retry=retry)


class Quarantined(OutcomeUnknown):
    """Evidence cannot decide whether the vendor took the purchase. A person decides, once."""


class OrderNotUsable(ProxyOrdersError):
    """The order was taken and ended badly: blocked, failed, refunded, expired or delivered in part.

    A new purchase needs a new order key.
    """

    money: MoneyState = "charged"


class NotFarEnough(ProxyOrdersError):
    """An extension was bought, and the order still ends before the requested date."""

    money: MoneyState = "charged"


class OrderPending(ProxyOrdersError):
    """The order was taken and is still unfinished. The next try waits for the same order."""

    money: MoneyState = "charged"
    retry: Retry = "later"


class OrderMissing(OrderPending):
    """The order was taken, and the vendor's reads do not show it any more. The next try reads the same order."""


def _short(value: object, limit: int = 120) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of thousands of digits, or an object that is nested too deep
        return f"a value of type {type(value).__name__} that is too large to show"
    return text if len(text) <= limit else text[: limit - 3] + "..."
