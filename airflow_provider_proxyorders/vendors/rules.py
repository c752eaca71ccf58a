"""The half of a vendor without requests: declarations, checks before money moves, and the meaning of answers.

One rule: nothing here sends or yields a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import UnsupportedOperation, VendorError
from airflow_provider_proxyorders.domain.model import VendorOrder
from airflow_provider_proxyorders.vendors.contract import Capabilities, Prepared, Setting
from airflow_provider_proxyorders.vendors.judging import Judging
from airflow_provider_proxyorders.wire.reading import when
from airflow_provider_proxyorders.wire.signatures import Scheme


class VendorRules(Judging):
    """The half of a vendor that works without requests."""

    #: the connection type, e.g. ``iproyal``
    name: ClassVar[str]
    #: documentation of the ordering calls
    docs_url: ClassVar[str]
    #: used when the connection names no host
    base_url: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    #: vendor settings of the connection, beside those every connection has
    settings: ClassVar[Sequence[Setting]] = ()
    #: how the vendor signs its webhooks; None without webhooks
    webhook: ClassVar[Scheme | None] = None
    #: whether a 401 can mean that a short-lived login ran out, so that :meth:`login` helps
    renews_login: ClassVar[bool] = False
    #: help of the connection's password field
    secret_help: ClassVar[str] = ""

    def __init__(self, account: Account):
        self.account = account

    def prepare_create(self, request: Mapping[str, Any], reference: str) -> Prepared:
        """Check and complete the body of a purchase.

        :param reference: our reference, derived from the order key alone, so every try sends the same.
        :raises InvalidRequest: for the first field that breaks a documented rule.
        """
        raise self.unsupported("placing orders")

    def prepare_extend(self, order_id: str, request: Mapping[str, Any]) -> Prepared:
        """Check and complete the body of an extension.

        :raises InvalidRequest: for the first field that breaks a documented rule.
        """
        raise self.unsupported("extending an order", "place a new order instead; it comes with different proxies")

    def order_page(self, order_id: str) -> str | None:
        """Address of the order in the vendor's dashboard; None without a documented page."""
        return None

    def names(self, order: VendorOrder) -> frozenset[str]:
        """Every order id under which the ledger may hold this order."""
        return frozenset({order.order_id})

    def reference_in(self, body: Mapping[str, Any]) -> str | None:
        """Our reference in the body of a purchase; None for a vendor without references.

        An order shows it as ``traits["reference"]``. A webhook adopts an order only by this trait.
        """
        return None

    def is_duplicate(self, error: VendorError) -> bool:
        """Whether a refusal can mean that the vendor already has an order with our reference."""
        return False

    def extended(self, evidence: Mapping[str, Any], order: VendorOrder) -> bool:
        """Whether an order shows the extension that was bought after ``evidence`` was read.

        :param evidence: the reading of :meth:`Vendor.snapshot`: ``expires_at`` (ISO) and ``extensions`` (a count).
        """
        before, recorded = when(evidence.get("expires_at")), evidence.get("extensions")
        if before and order.expires_at and order.expires_at > before:
            return True
        return isinstance(recorded, int) and order.extensions is not None and order.extensions > recorded

    def read_webhook(self, data: Any) -> tuple[str, str | None, str]:
        """Order id, our reference (or None), and the vendor's word for the status, from a verified delivery.

        :raises UnreadableBody: for a delivery without an order id.
        """
        raise self.unsupported("webhooks")

    def setting(self, name: str) -> Any:
        """A declared setting of this vendor as the connection has it, else its default.

        :raises ConfigError: for a value of another kind, or outside the choices.
        """
        declared = next(setting for setting in self.settings if setting.name == name)
        return declared.read(self.account.settings.get(name), self.account.conn_id)

    def auth_headers(self) -> Mapping[str, str]:
        """Headers that authenticate a request."""
        return {}

    def unsupported(self, what: str, instead: str = "") -> UnsupportedOperation:
        advice = f"; {instead}" if instead else ""
        return UnsupportedOperation(f"{self.title} offers no call for {what}{advice}. Nothing was sent.")
