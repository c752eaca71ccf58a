"""The products and prices of the pretended IPRoyal.

Documentation: docs.iproyal.com/proxies/isp/api/products and .../orders (calculate-pricing). The products and prices are
the sandbox's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.sandbox.vendor_base import Refusal, cents, number, whole


@dataclass(frozen=True)
class Plan:
    """:param days: the term; the vendor tells it in the name only."""

    plan_id: int
    name: str
    days: int
    price: Decimal
    least: int = 1
    most: int = 1000


@dataclass
class Product:
    """One product.

    :param discounts: percent off from a quantity on, smallest quantity first.
    :param kinds: the type of a question that takes another answer than a text: boolean, or select with its options; by its id.
    :param listed: whether the catalogue shows it; orders of it go on without.
    """

    product_id: int
    name: str
    plans: dict[int, Plan]
    locations: dict[int, str]
    questions: dict[int, tuple[str, bool]]
    discounts: tuple[tuple[int, int], ...]
    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    listed: bool = True

    def wire(self) -> dict[str, Any]:
        return {
            "id": self.product_id,
            "name": self.name,
            "plans": [
                {
                    "id": plan.plan_id,
                    "name": plan.name,
                    "price": number(plan.price),
                    "min_quantity": plan.least,
                    "max_quantity": plan.most,
                }
                for plan in self.plans.values()
            ],
            "locations": [
                {"id": number_, "name": name, "out_of_stock": False, "available_proxies_count": 410, "child_locations": []}
                for number_, name in self.locations.items()
            ],
            "questions": [
                {"id": number_, "text": text, "is_required": required, **self.kinds.get(str(number_), {})}
                for number_, (text, required) in self.questions.items()
            ],
            "quantity_discounts": [
                {"quantity_from": quantity, "discount_percent": percent} for quantity, percent in self.discounts
            ],
        }


def default_products() -> dict[int, Product]:
    isp = Product(
        9,
        "ISP",
        plans={22: Plan(22, "30 Days", 30, Decimal("3.00")), 23: Plan(23, "60 Days", 60, Decimal("5.50"))},
        locations={77: "Netherlands", 78: "Germany"},
        questions={5: ("Anything special?", False)},
        discounts=((50, 5),),
    )
    return {isp.product_id: isp}


@dataclass(frozen=True)
class Selection:
    """A wanted purchase, checked against the catalogue.

    :param lines: location id and quantity of each part.
    """

    product: Product
    plan: Plan
    lines: tuple[tuple[int, int], ...]

    @property
    def quantity(self) -> int:
        return sum(quantity for _, quantity in self.lines)

    @property
    def percent(self) -> int:
        return max((percent for least, percent in self.product.discounts if self.quantity >= least), default=0)

    @property
    def price(self) -> Decimal:
        return cents(self.plan.price * self.quantity * (100 - self.percent) / 100)

    def quote(self) -> dict[str, Any]:
        """The documented answer of calculate-pricing; the sandbox leaves out VAT and coupons."""
        better = next(({"quantity": n, "discount": p} for n, p in self.product.discounts if n > self.quantity), None)
        return {
            "pre_discount_price": number(cents(self.plan.price * self.quantity)),
            "price_with_vat": number(self.price),
            "vat": None,
            "price": number(self.price),
            "pre_discount_price_per_item": number(self.plan.price),
            "price_per_item": number(cents(self.price / self.quantity)),
            "plan_discount_percent": 0,
            "location_discount_percent": 0,
            "coupon_discount_percent": 0,
            "quantity_discount_percent": self.percent,
            "total_discount_percent": self.percent,
            "quantity_required_for_next_discount": better,
            "message": None,
        }


def select(products: Mapping[int, Product], fields: Mapping[str, Any]) -> Selection:
    """Check the fields of a purchase or a quote.

    :raises Refusal: 422 naming the field, in the shape that public clients report.
    """
    product = products.get(whole(fields.get("product_id")) or 0)
    if product is None:
        raise invalid("product_id", "The selected product id is invalid.")
    chosen = fields.get("selection")
    plan = product.plans.get(whole(fields.get("product_plan_id")) or 0)
    if plan is None and fields.get("product_plan_id") is None and chosen:
        plan = next(iter(product.plans.values()))
    if plan is None:
        raise invalid("product_plan_id", "The selected product plan id is invalid.")
    rows = chosen.get("locations") if isinstance(chosen, dict) else None
    if not isinstance(rows, list) or not rows:
        rows = [fields]
    lines = []
    for row in rows:
        location = whole(row.get("product_location_id")) if isinstance(row, Mapping) else None
        if location is None or location not in product.locations:
            raise invalid("product_location_id", "The selected product location id is invalid.")
        quantity = whole(row.get("quantity"))
        if quantity is None or quantity < 1:
            raise invalid("quantity", "The quantity field is required.")
        lines.append((location, quantity))
    selection = Selection(product, plan, tuple(lines))
    if not plan.least <= selection.quantity <= plan.most:
        raise invalid("quantity", f"The quantity must be between {plan.least} and {plan.most}.")
    return selection


def invalid(field: str, text: str) -> Refusal:
    return Refusal(422, {"message": text, "errors": {field: [text]}})


def check_answer(product: Product, question_id: int, said: Any, asked: bool = False) -> None:
    """Read an answer as Laravel does: a truth value is true or false in JSON, 1 or 0 in a query.

    :param asked: whether it came in a query.
    :raises Refusal: 422 for an answer of another type.
    """
    kind = product.kinds.get(str(question_id), {})
    if said is None or not kind:
        return
    truths = ("1", "0") if asked else (True, False)
    options = [option["value"] for option in kind.get("options", ())]
    if (kind["type"] == "boolean" and said not in truths) or (kind["type"] == "select" and said not in options):
        raise invalid(f"product_question_answers.{question_id}", f"The answer must be of type {kind['type']}.")
