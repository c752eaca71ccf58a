"""What the pretended Voodoo Center sells, and its catalogue as the file that docs.voodoo.center/catalog describes.

The page leaves the names of an entry's fields open; those here are the sandbox's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from airflow_provider_proxyorders.sandbox.vendor_base import cents, dump, number

ProductType = Literal["key", "topup", "service"]


@dataclass(frozen=True)
class Item:
    """One thing for sale.

    :param price: of one unit.
    :param fields: what the buyer must fill in: None for text, else the display names of the numbered choices.
    """

    item_id: int
    name: str
    product_type: ProductType
    price: Decimal
    least: Decimal = Decimal(1)
    most: Decimal = Decimal(1)
    fields: Mapping[str, Mapping[int, str] | None] = field(default_factory=dict)

    def entry(self, price: Decimal) -> dict[str, Any]:
        """The item in a catalogue in which it has this price."""
        return {
            "id": self.item_id,
            "name": self.name,
            "product_type": self.product_type,
            "price": number(price),
            "subscriber_price": number(cents(price * Decimal("0.9"))),
            "stock": 250,
            "min_quantity": number(self.least),
            "max_quantity": number(self.most),
            "fields": [
                {"name": name, "choices": [{"id": choice, "name": shown} for choice, shown in (choices or {}).items()]}
                for name, choices in self.fields.items()
            ],
        }


REGIONS = {1: "Europe", 2: "North America", 3: "South America", 4: "Asia", 5: "Oceania"}
ITEMS = (
    Item(5120, "Example key 5 EUR", "key", Decimal("4.50"), most=Decimal(100)),
    Item(6001, "Example top-up", "topup", Decimal("1.00"), most=Decimal(500), fields={"player_id": None, "region": REGIONS}),
    Item(7007, "Example service", "service", Decimal("9.00"), fields={"account": None}),
)


def exported(items: Iterable[Item], prices: Mapping[str, Any]) -> bytes | None:
    """The file of a catalogue: LMDB, the id in 8 bytes before each entry, packed with zstd.

    :param prices: other prices than the usual ones, by item id.
    :returns: ``None`` where the libraries that write such a file are not installed.
    """
    try:
        import lmdb
        import zstandard
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "catalogue")
        with lmdb.open(str(path), subdir=False, lock=False, map_size=2**30) as database, database.begin(write=True) as writing:
            for item in items:
                price = Decimal(str(prices.get(str(item.item_id), item.price)))
                writing.put(item.item_id.to_bytes(8, "big"), dump(item.entry(price)).encode())
        packed: bytes = zstandard.compress(path.read_bytes())
        return packed
