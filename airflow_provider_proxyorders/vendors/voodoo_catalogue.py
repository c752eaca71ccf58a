"""Voodoo's catalogue: one file with an entry for each item.

One rule: the page docs.voodoo.center/catalog says what an entry holds and leaves the names of its fields open. So a name is a
setting of the connection. Without it, nothing is read from the entry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.account import in_clear_text
from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidRequest, UnreadableAnswer, UnsupportedOperation
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, load_json
from airflow_provider_proxyorders.domain.model import Money, Quote
from airflow_provider_proxyorders.vendors.catalogue_file import CatalogueFile
from airflow_provider_proxyorders.vendors.contract import Setting
from airflow_provider_proxyorders.wire.gate import admit
from airflow_provider_proxyorders.wire.reading import optional_amount, optional_number, optional_text

#: For accounts without prices of their own.
FOR_ALL = "catalog.lmdb.zst"
#: create-order: a service takes no quantity, a top-up needs one, and that of keys is a count.
KINDS = KEY, TOP_UP, SERVICE = "key", "topup", "service"

_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_CLIENT_ID = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,100}")

SETTINGS: Sequence[Setting] = (
    Setting(
        "catalogue_url",
        "Address of the catalogue",
        "The folder with the files of the catalogue. No key is sent there, and only https is taken, as for the host.",
        default="https://downloads.voodoo.center",
        placeholder="https://downloads.voodoo.center",
    ),
    Setting(
        "catalogue_client_id",
        "Client id",
        "The name of the account's own file, with personal prices. Empty, or without such a file: the file for all accounts.",
        placeholder="client-1029",
    ),
    Setting(
        "catalogue_max_age",
        "Longest use of the catalogue",
        "For how many seconds a host uses a downloaded catalogue, e.g. 3600. Voodoo leaves open how often it writes a new one.",
        kind="integer",
        default=3600,
        placeholder="3600",
    ),
    Setting(
        "catalogue_price_field",
        "Field with the price",
        "The field of a catalogue entry with the price of one unit. Voodoo's pages leave its name open. Empty: no price is told "
        "before a purchase.",
        placeholder="price",
    ),
    Setting(
        "catalogue_type_field",
        "Field with the product type",
        "The field of a catalogue entry with key, topup or service, for the rule of quantities. Empty: a quote skips that rule.",
        placeholder="product_type",
    ),
    Setting(
        "catalogue_least_field",
        "Field with the least quantity",
        "The field of a catalogue entry with the least quantity. Empty: a quote skips that bound.",
        placeholder="min_quantity",
    ),
    Setting(
        "catalogue_most_field",
        "Field with the greatest quantity",
        "The field of a catalogue entry with the greatest quantity. Empty: a quote skips that bound.",
        placeholder="max_quantity",
    ),
)


class VoodooCatalogue(CatalogueFile):
    """``catalog.lmdb.zst``, or ``{client_id}.lmdb.zst`` with personal prices (/catalog)."""

    @property
    def host(self) -> str:
        address, conn_id = str(self.vendor.setting("catalogue_url")).strip().rstrip("/"), self.account.conn_id
        if not _ADDRESS.fullmatch(address):
            raise ConfigError(
                f"connection {conn_id!r}: catalogue_url must be an address such as https://downloads.example.com. "
                "Nothing was sent."
            )
        if in_clear_text(address) and not self.account.settings.get("allow_http"):
            raise ConfigError(
                f"connection {conn_id!r}: catalogue_url must begin with https://: over http the prices can be changed on the "
                "way; to allow that, set allow_http to true. Nothing was sent."
            )
        return address

    @property
    def names(self) -> Sequence[str]:
        client_id = self.vendor.setting("catalogue_client_id")
        if client_id is None:
            return (FOR_ALL,)
        if not _CLIENT_ID.fullmatch(client_id):
            raise ConfigError(
                f"connection {self.account.conn_id!r}: catalogue_client_id must be letters, digits, dots, dashes and "
                "underscores. Nothing was sent."
            )
        return f"{client_id}.lmdb.zst", FOR_ALL

    @property
    def longest_use(self) -> float:
        return float(self.vendor.setting("catalogue_max_age"))

    def item_id(self, key: bytes) -> int:
        if len(key) != 8:
            raise UnreadableBody(f"a catalogue with a key of {len(key)} bytes, expected are 8")
        return int.from_bytes(key, "big")

    def entry(self, key: bytes, value: bytes) -> dict[str, Any]:
        entry = admit(load_json(value), value, self.account.redact)
        if not isinstance(entry, dict):
            raise UnreadableBody("no JSON object")
        return {**entry, "item_id": self.item_id(key)}

    def item_of(self, body: Mapping[str, Any]) -> int:
        if self.vendor.setting("catalogue_price_field") is None:
            raise UnsupportedOperation(
                "Voodoo tells prices in its catalogue only, and its pages leave open which field of an entry holds the price of "
                f"one unit. Nothing was sent. Name the field as catalogue_price_field in connection {self.account.conn_id!r}"
            )
        return int(body["item_id"])

    def quote(self, body: Mapping[str, Any], entry: Mapping[str, Any] | None) -> Quote:
        if entry is None:
            raise InvalidRequest("item_id", "must be an item of the catalogue", got=body["item_id"], vendor=self.vendor.title)
        named = {
            "product type": self.vendor.setting("catalogue_type_field"),
            "least quantity": self.vendor.setting("catalogue_least_field"),
            "greatest quantity": self.vendor.setting("catalogue_most_field"),
        }
        kind = optional_text(entry, named["product type"])
        least, most = optional_number(entry, named["least quantity"]), optional_number(entry, named["greatest quantity"])
        quantity = self._quantity(body, kind, least, most)
        field = self.vendor.setting("catalogue_price_field")
        price = optional_amount(entry, field)
        if price is None:
            raise UnreadableAnswer(
                f"the catalogue entry of item {entry['item_id']} holds no amount in its field {field!r}, which "
                "catalogue_price_field names. This call moves no money.",
                retry="never",
            )
        read = zip(named, (kind if kind in KINDS else None, least, most), strict=True)
        unchecked = [what for what, value in read if value is None]
        details = {"price of one": f"{price:f}", "quantity": f"{quantity:f}"}
        return Quote(
            Money(price * quantity, self.account.currency),
            {**details, **({"not checked": ", ".join(unchecked)} if unchecked else {})},
        )

    def _quantity(self, body: Mapping[str, Any], kind: str | None, least: Decimal | None, most: Decimal | None) -> Decimal:
        """The quantity that is paid for.

        :raises InvalidRequest: it breaks the rule of its kind, or a bound of the item.
        """
        asked, rule = optional_number(body, "quantity"), ""
        quantity = Decimal(1) if asked is None else asked
        if kind == SERVICE and asked is not None:
            rule = "must be left out for a service"
        elif kind == TOP_UP and asked is None:
            rule = "is required for a top-up: the amount"
        elif kind == KEY and quantity != quantity.to_integral_value():
            rule = "must be a whole number for keys"
        elif least is not None and quantity < least and kind != SERVICE:
            rule = f"must be at least {least:f} for this item"
        elif most is not None and quantity > most and kind != SERVICE:
            rule = f"must be at most {most:f} for this item"
        if rule:
            raise InvalidRequest("quantity", rule, got=asked, vendor=self.vendor.title)
        return quantity
