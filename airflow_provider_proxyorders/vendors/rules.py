"""The half of a vendor without requests: declarations, checks before money moves, and the meaning of answers.

One rule: nothing here sends or yields a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import UnsupportedOperation, VendorError
from airflow_provider_proxyorders.domain.model import VendorOrder
from airflow_provider_proxyorders.vendors.bodies import BodyRules
from airflow_provider_proxyorders.vendors.catalogue_file import CatalogueFile
from airflow_provider_proxyorders.vendors.contract import Capabilities, Operation, Prepared, Setting
from airflow_provider_proxyorders.wire.reading import when
from airflow_provider_proxyorders.wire.signatures import Scheme


class VendorRules(BodyRules):
    """The half of a vendor that works without requests."""

    #: the connection type, e.g. ``iproyal``
    name: ClassVar[str]
    #: documentation of the ordering calls
    docs_url: ClassVar[str]
    #: used when the connection names no host
    base_url: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    #: The name of the ids in :meth:`snapshot` that only grow, so an id that was seen once is no new one. The ledger keeps each id
    #: once, and :meth:`resolve` and :meth:`contradiction` get a container of all that had been seen.
    seen_ids: ClassVar[str | None] = None
    #: vendor settings of the connection, beside those every connection has
    settings: ClassVar[Sequence[Setting]] = ()
    #: how the vendor signs its webhooks; None without webhooks
    webhook: ClassVar[Scheme | None] = None
    #: the body of a webhook about a finished order, to test a connection's settings; ``{order_id}`` stands for the id
    webhook_sample: ClassVar[Mapping[str, str]] = {}
    #: where the catalogue holds a value for a request, as a path through its lists, and the field of the request
    catalogue_fields: ClassVar[Mapping[str, str]] = {}
    #: whether a 401 can mean that a short-lived login ran out, so that :meth:`login` helps
    renews_login: ClassVar[bool] = False
    #: Its pages say that it pays back what it did not deliver.
    refunds_undelivered: ClassVar[bool] = False
    #: a catalogue that is one file outside of the API; None where it comes from a call, or is not documented
    catalogue_file: ClassVar[type[CatalogueFile] | None] = None
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

    def is_duplicate(self, error: VendorError) -> bool:
        """Whether a refusal can mean that the vendor already has an order with our reference."""
        return False

    def proves_landed(self, error: VendorError, body: Mapping[str, Any]) -> bool:
        """Whether a refusal says that the reference in this body is taken. For a reference of ours alone that is proof."""
        return False

    def contradiction(self, kind: Operation, body: Mapping[str, Any], evidence: Mapping[str, Any], order: VendorOrder) -> str:
        """Why an order cannot be the one of a purchase, as half a sentence; "" if it fits as far as it can be read.

        It judges the answer to a purchase, the first reads of an order, adoptions and late answers. An answer may name another
        order, for example the one before. What the order does not show contradicts nothing.

        :param body: of the purchase.
        :param evidence: the reading of :meth:`Vendor.snapshot` before the purchase.
        """
        return ""

    def confirms(self, order: VendorOrder) -> bool:
        """Whether a read of an order without a contradiction settles that it is the purchase's own."""
        return True

    def extended(self, evidence: Mapping[str, Any], order: VendorOrder) -> bool:
        """Whether an order shows the extension that was bought after ``evidence`` was read.

        :param evidence: the reading of :meth:`Vendor.snapshot`: ``expires_at`` (ISO) and ``extensions`` (a count).
        """
        before, recorded = when(evidence.get("expires_at")), evidence.get("extensions")
        if before and order.expires_at and order.expires_at > before:
            return True
        return isinstance(recorded, int) and order.extensions is not None and order.extensions > recorded

    def with_marks(self, evidence: dict[str, Any], marks: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """The reading of :meth:`Vendor.snapshot` within the bounds of earlier ones: one read may be empty or short.

        :param marks: what earlier readings of the wallet saw; empty at first.
        :returns: the evidence, and the marks for the next reading.
        """
        return evidence, marks

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
