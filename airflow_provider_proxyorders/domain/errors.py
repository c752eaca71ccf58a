"""Everything that can go wrong, and what each case means for the money.

Two rules: every error says in its text what happened to the money, and carries the same as data, so that
Airflow's retry policy and the ledger never have to read prose::

    ProxyOrdersError
    |- InvalidRequest           a field breaks a documented rule          untouched, never retried
    |  `- InvalidParameter      a parameter of a task cannot be read      untouched, never
    |- UnsupportedOperation     the vendor has no such call               untouched, never
    |- ConfigError              the connection or a setting is wrong      untouched, never
    |- OrderKeyConflict         the key already stands for another order  untouched, never
    |- CapExceeded              a limit or the minimum balance            untouched, never
    |- NotDue                   the order is paid for far enough          untouched, never
    |- WalletHeld               another purchase must be settled first    untouched, soon
    |- LedgerError              the ledger cannot be used safely          untouched, soon or never
    |- SpendRefused             a reader tried to send a purchase (a bug) untouched, never
    |- NeverSent                the purchase provably never left          untouched, soon
    |- VendorError              the vendor said no, or cannot be read     untouched
    |  |- AuthenticationFailed, OrderingNotPermitted, OrderNotFound,
    |  |  RequestRefused, InsufficientFunds                               never
    |  `- Throttled, VendorUnavailable, UnreadableAnswer                  soon or later
    |- OutcomeUnknown           sent, and no usable answer                unknown, never sent again blindly
    |- Quarantined              a person has to decide                    unknown, never
    |- OrderNotUsable           blocked, failed, refunded, expired, partial   charged, never
    |- NotFarEnough             extended, and still ends too early        charged, never
    `- OrderPending             not finished before the deadline          charged, later (waits for the same order)
"""

from __future__ import annotations

from typing import ClassVar, Literal

MoneyState = Literal["untouched", "charged", "unknown"]
Retry = Literal["never", "soon", "later"]


class ProxyOrdersError(Exception):
    """Root of all errors of this package.

    :cvar money: what is known of the wallet: ``untouched``, ``charged`` or ``unknown``.
    :cvar retry: whether trying the task again can help: ``never``, ``soon`` or ``later``. A retry never
        buys twice whatever this says; it only wastes time where nothing can change.
    :cvar passing: whether the trouble is the vendor's and passes by itself, so a read is worth repeating in the same try.
    :ivar retry_after: seconds the vendor asks to wait; None where it asked for none.
    """

    money: ClassVar[MoneyState] = "untouched"
    retry: Retry = "never"
    passing: ClassVar[bool] = False
    retry_after: float | None = None

    def __init__(self, message: str, *, retry: Retry | None = None):
        super().__init__(message)
        if retry is not None:
            self.retry = retry

    def tell(self, sentence: str) -> None:
        """Add what happened to the money, where the text does not say it yet."""
        text = str(self)
        if "Nothing was" not in text:
            self.args = (f"{text.rstrip('. ')}. {sentence}",)


class InvalidRequest(ProxyOrdersError, ValueError):
    """A field of the request breaks a rule of the vendor's documentation. Nothing was sent.

    :param field: the field's name as the vendor's documentation writes it.
    :param rule: what the documentation asks for.
    :param example: a value that would pass.
    """

    def __init__(self, field: str, rule: str, example: object = None, *, got: object = None, vendor: str = ""):
        self.field, self.rule, self.example = field, rule, example
        text = f"{vendor + ': ' if vendor else ''}{self._subject()} {rule}"
        if got is not None:
            text += f"; got {_short(got)}"
        if example is not None:
            text += f". For example: {_short(example)}"
        super().__init__(text + ". Nothing was bought.")

    def _subject(self) -> str:
        return f"request field {self.field!r}"


class InvalidParameter(InvalidRequest):
    """A parameter of an operator, sensor, trigger or hook method cannot be read. Nothing was sent."""

    def _subject(self) -> str:
        return self.field


class UnsupportedOperation(ProxyOrdersError):
    """The vendor offers no such call. Nothing was sent."""


class ConfigError(ProxyOrdersError):
    """The connection or a setting is missing or wrong. Nothing was sent."""


class OrderKeyConflict(ProxyOrdersError):
    """The order key already stands for a purchase with another request. Nothing was sent."""


class CapExceeded(ProxyOrdersError):
    """A price cap, a spending limit or the minimum balance would be broken. Nothing was sent."""


class NotDue(ProxyOrdersError):
    """The order is paid for far enough already, perhaps since another run extended it meanwhile. Nothing was bought."""


class WalletHeld(ProxyOrdersError):
    """Another purchase on the same wallet, or another try of the same one, is under way. Nothing was sent.

    :param blocker: order key of the purchase that holds the wallet.
    """

    retry: Retry = "soon"

    def __init__(self, message: str, *, blocker: str | None = None):
        self.blocker = blocker
        super().__init__(message)


class LedgerError(ProxyOrdersError):
    """The ledger cannot be used safely, so nothing was bought."""

    retry: Retry = "soon"


class SpendRefused(ProxyOrdersError):
    """A spending request was stopped because its sender may only read. Nothing was sent."""


class NeverSent(ProxyOrdersError):
    """The purchase provably never left this machine (no connection was made). Nothing was bought."""

    retry: Retry = "soon"


class VendorError(ProxyOrdersError):
    """The vendor refused, or its answer cannot be used.

    :param status: HTTP status of the answer, None where there was no answer.
    :param vendor_text: the vendor's own words, shortened, without secrets.
    :param code: the vendor's machine-readable code, for vendors that send one.
    :param retry_after: seconds the vendor asks to wait, None where it did not say.
    """

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
    """403: the key is good but may not do this. Nothing was bought."""


class OrderNotFound(VendorError):
    """404: no such order, or it belongs to another account."""


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
    """A reading call got no answer or a 5xx. It changed nothing."""

    retry: Retry = "soon"
    passing: ClassVar[bool] = True


class UnreadableAnswer(VendorError):
    """The answer of a reading call is not what the documentation describes. It changed nothing."""

    retry: Retry = "soon"
    passing: ClassVar[bool] = True


class OutcomeUnknown(ProxyOrdersError):
    """The purchase was sent and its answer was lost or unreadable: it may have been taken and charged.

    It is never sent again on a guess; the ledger keeps it as UNKNOWN.

    :param order_key: the purchase in question, filled in by the desk.
    """

    money: ClassVar[MoneyState] = "unknown"

    def __init__(self, message: str, *, order_key: str | None = None, status: int | None = None, retry: Retry | None = None):
        self.order_key, self.status = order_key, status
        super().__init__(message, retry=retry)


class Quarantined(OutcomeUnknown):
    """Evidence cannot decide whether the purchase was taken; a person has to, once."""


class OrderNotUsable(ProxyOrdersError):
    """The order was taken and ended badly: blocked, failed, refunded, expired or delivered in part.

    Nothing is bought in its place; a new purchase needs a new order key.
    """

    money: ClassVar[MoneyState] = "charged"


class NotFarEnough(ProxyOrdersError):
    """An extension was bought and the order still ends before it was asked to be paid through."""

    money: ClassVar[MoneyState] = "charged"


class OrderPending(ProxyOrdersError):
    """The order was taken and is not usable yet. The next try waits for the same order."""

    money: ClassVar[MoneyState] = "charged"
    retry: Retry = "later"


def _short(value: object, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
