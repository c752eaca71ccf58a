"""A misspelt field is refused before money moves; a field that resembles nothing passes with a warning."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InvalidRequest, telling_of_the_wallet
from airflow_provider_proxyorders.vendors import Prepared
from tests.contract.replay import vendor_for
from tests.vendors import ROWS

#: Misspelt names of each vendor's fields, and what they mean.
MISSPELT = {
    "iproyal": {
        "quantitiy": "quantity",
        "qty": "quantity",
        "Quantity": "quantity",
        "cupon": "coupon_code",
        "couponCode": "coupon_code",
        "auto_extendd": "auto_extend",
        "autoextend": "auto_extend",
        "card": "card_id",
    },
    "voodoo": {"qty": "quantity", "quantities": "quantity", "feilds": "fields", "merchant_orderid": "merchant_order_id"},
    "proxyscrape": {"cupon": "coupon_code", "durration": "duration", "is_subscripton": "is_subscription", "mail": "email"},
}


def prepare(vendor: str, **more: Any) -> Prepared:
    return vendor_for(vendor).prepare_create({**ROWS[vendor].request, **more}, "af-1")


@pytest.mark.parametrize(("vendor", "name"), [(vendor, name) for vendor, names in MISSPELT.items() for name in names])
def test_a_misspelt_field_is_refused_with_the_name_that_was_meant(vendor: str, name: str) -> None:
    meant = MISSPELT[vendor][name]
    request = {field: value for field, value in ROWS[vendor].request.items() if field != meant}
    with pytest.raises(InvalidRequest, match=f"{name}.*did you mean '{meant}'") as refused, telling_of_the_wallet():
        vendor_for(vendor).prepare_create({**request, name: 3}, "af-1")
    assert str(refused.value).endswith("Nothing was bought.")
    assert refused.value.money == "untouched"


@pytest.mark.parametrize("vendor", MISSPELT)
def test_a_second_spelling_beside_the_right_one_is_refused_as_well(vendor: str) -> None:
    right = next(name for name in ROWS[vendor].request if len(name) > 3)
    with pytest.raises(InvalidRequest, match=f"did you mean '{right}'"):
        prepare(vendor, **{f"{right}{right[-1]}": 1})


@pytest.mark.parametrize("vendor", MISSPELT)
@pytest.mark.parametrize("name", ["note", "webhook_url", "priority", "zzz", "tags", "x"])
def test_a_field_that_resembles_nothing_passes_with_a_warning(vendor: str, name: str) -> None:
    prepared = prepare(vendor, **{name: "new"})
    assert prepared.body[name] == "new"
    assert any(f"{name!r} is not in the documentation" in warning for warning in prepared.warnings)
