"""What the body of a purchase means: who pays, what is asked for, and by what its order is known.

One rule: a method reads the body, or the evidence beside it, and nothing else. Its default is for a vendor without such a thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_proxyorders.vendors.judging import Judging


class BodyRules(Judging):
    """The part of a vendor that reads bodies of purchases."""

    def reference_in(self, body: Mapping[str, Any]) -> str | None:
        """Our reference in the body of a purchase; None for a vendor without references.

        An order shows it as ``traits["reference"]``. A webhook adopts an order only by this trait.
        """
        return None

    def units(self, body: Mapping[str, Any]) -> int | None:
        """How many proxies or codes a create body asks for; ``None``: it does not say."""
        return None

    @classmethod
    def handles(cls, handle: str, body: Mapping[str, Any]) -> dict[str, str]:
        """The vendor's own follow-up ids of an order, as its documentation names them, for the next tasks. No secrets.

        :param handle: see :class:`VendorOrder`.
        :param body: of the purchase; empty for an order from elsewhere.
        """
        return {"handle": handle}

    def part_of(self, body: Mapping[str, Any]) -> str:
        """What of its order an extension with this body extends, as a short text for its key; "" for the whole order.

        The end of the order tells nothing of a part.
        """
        return ""

    def shows_extension(self, evidence: Mapping[str, Any]) -> bool:
        """Whether the order will show this extension. Else the vendor's answer to it is the last word."""
        return True

    def pays_from_wallet(self, body: Mapping[str, Any]) -> bool:
        """Whether a purchase with this body is charged to the wallet, and not to a card."""
        return True

    def renews_by_itself(self, body: Mapping[str, Any]) -> bool:
        """Whether a purchase with this body asks the vendor to renew, and charge, the order by itself."""
        return False
