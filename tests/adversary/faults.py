"""What the vendor and the network do wrong, on purchases and on reads.

Two rules: a fault is drawn by the seed, the key and the number of the request, so each key meets its own, whatever the others do;
and each is one that really happens: a time limit of a load balancer, a proxy that repeats a request, an answer from a cache.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from .plan import EDGE, Plan
from .shops import Answer, Order, Sale, Shop, Voodoo

HTML = "<html><head><title>One moment, please</title></head><body>checking your browser</body></html>"


@dataclass(frozen=True)
class Fault:
    """What happens to one purchase.

    :param takes: whether the vendor takes it, ``late`` seconds after it came.
    :param answer: ``right``, or what the worker gets in its place.
    :param signal: what happens to the process that sent it.
    :param factor: what is charged, as a multiple of the price.
    """

    name: str = ""
    takes: bool = True
    answer: str = "right"
    status: int = 0
    late: float = 0.0
    signal: int = 0
    factor: Decimal = Decimal(1)


NONE = Fault()

#: Each with its weight. "Before" means that the vendor did not take the purchase.
PURCHASES: tuple[tuple[int, Fault], ...] = (
    (3, Fault("reset before", takes=False, answer="reset")),
    (4, Fault("reset after", answer="reset")),
    (2, Fault("silence before", takes=False, answer="silence")),
    (4, Fault("silence after", answer="silence")),
    (5, Fault("taken late", answer="silence", late=EDGE)),
    (1, Fault("taken at the last moment", answer="silence", late=EDGE)),
    (2, Fault("5xx before", takes=False, answer="status", status=503)),
    (3, Fault("5xx after", answer="status", status=502)),
    (2, Fault("408 before", takes=False, answer="status", status=408)),
    (2, Fault("408 after", answer="status", status=408)),
    (2, Fault("429 before", takes=False, answer="status", status=429)),
    (1, Fault("429 after", answer="status", status=429)),
    (1, Fault("409 after", answer="status", status=409)),
    (2, Fault("refused", takes=False, answer="refused")),
    (3, Fault("refused after", answer="refused")),
    (3, Fault("names another order", answer="another")),
    (1, Fault("names another order, not taken", takes=False, answer="another")),
    (2, Fault("names no order", answer="ghost")),
    (1, Fault("names no order, not taken", takes=False, answer="ghost")),
    (2, Fault("key twice, right last", answer="twice last")),
    (2, Fault("key twice, right first", answer="twice first")),
    (2, Fault("unreadable after", answer="html")),
    (2, Fault("cut after", answer="cut")),
    (2, Fault("dear", factor=Decimal(10))),
    (2, Fault("killed before", takes=False, answer="silence", signal=signal.SIGKILL)),
    (3, Fault("killed after", answer="silence", signal=signal.SIGKILL)),
    (2, Fault("frozen before", takes=False, answer="reset", signal=signal.SIGSTOP)),
    (3, Fault("frozen after", signal=signal.SIGSTOP)),
)
#: Faults whose answer has no meaning for an extension, whose order is named by the path.
_CREATES_ONLY = ("key twice, right last", "key twice, right first")

READS = ("5xx", "429", "reset", "silence", "cut", "cut without a length", "empty", "html")


def for_purchase(plan: Plan, key: str, number: int, kind: str) -> Fault:
    """The fault of a purchase, :data:`NONE` for most.

    :param number: of the purchases that arrived for this key.
    """
    dice = plan.dice("purchase", key, number)
    if dice.random() >= plan.storm.spending:
        return NONE
    choices = [(weight, fault) for weight, fault in PURCHASES if kind == "create" or fault.name not in _CREATES_ONLY]
    if plan.faults:
        choices = [(weight, fault) for weight, fault in choices if fault.name in plan.faults]
    if not choices:
        return NONE
    fault = dice.choices([fault for _, fault in choices], [weight for weight, _ in choices])[0]
    if fault.late:
        share = 0.95 if fault.name == "taken at the last moment" else dice.uniform(0.1, 0.9)
        return replace(fault, late=share * EDGE)
    return fault


def answer_to(fault: Fault, shop: Shop, sale: Sale, order: Order | None) -> Answer:
    """The answer that a fault makes of a purchase.

    :param order: what was taken; None for nothing.
    """
    if fault.answer == "status":
        headers = {"Retry-After": "1"} if fault.status == 429 else {}
        return Answer(fault.status, HTML if fault.status == 502 else "{}", headers)
    if fault.answer == "html":
        return Answer(200, HTML)
    if fault.answer == "refused" or order is None and fault.answer in ("right", "cut"):
        return shop.duplicate if fault.takes and isinstance(shop, Voodoo) else shop.refused
    if fault.answer in ("another", "ghost"):
        return _about(shop, sale, order, another=fault.answer == "another")
    assert order is not None
    right = shop.sold(order)
    if fault.answer.startswith("twice"):
        return _twice(shop, sale, order, right, last=fault.answer.endswith("last"))
    return right


def _other(shop: Shop, sale: Sale, order: Order | None) -> Order | None:
    """The order before this one. For an extension it is none that the request names, or the answer would be right."""
    others = [each for each in shop.orders if each is not order and each.order_id != sale.target]
    before = [each for each in others if each.kind == "create"]
    return before[-1] if before else None


def _about(shop: Shop, sale: Sale, order: Order | None, *, another: bool) -> Answer:
    """An answer about another order, or about none that exists."""
    other = _other(shop, sale, order) if another else None
    if other is None:
        body = {"product_location_id": 77, **sale.body, "quantity": sale.body.get("quantity", 2)}
        now = order.at if order else 0.0
        other = Order(_ghost(shop), "create", now, now + 1e9, Decimal(0), body, account=_ghost(shop))
    return shop.sold(other)


def _ghost(shop: Shop) -> str:
    return "9999999" if shop.wallet.vendor in ("iproyal", "proxy6") else "018f7a20-3c51-7d14-8b0e-5a1f6c2d9e77"


def _twice(shop: Shop, sale: Sale, order: Order, right: Answer, *, last: bool) -> Answer:
    """The answer with the name of its order twice, once of another one."""
    other = _other(shop, sale, order)
    name = {"proxyscrape": "data", "proxy6": "order_id"}.get(shop.wallet.vendor, "id")
    quote = "" if shop.wallet.vendor == "iproyal" else '"'
    wrong = f'"{name}": {quote}{other.order_id if other else _ghost(shop)}{quote}'
    body = "{" + wrong + ", " + right.body[1:] if last else right.body[:-1] + ", " + wrong + "}"
    return Answer(right.status, body)


class Reading:
    """The faults of reading calls."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._count: dict[tuple[int, str], int] = {}
        self._last: dict[tuple[int, str], str] = {}
        self._once: set[tuple[int, str]] = set()

    def fault(self, shop: Shop, path: str) -> str:
        """The fault of the next read of a path, "" for none."""
        place = id(shop), path
        number = self._count[place] = self._count.get(place, 0) + 1
        dice = self.plan.dice("read", shop.wallet.secret, path, number)
        name = ""
        if dice.random() < self.plan.storm.reading:
            name = dice.choice((*READS, "empty list", "not found"))
        if name == "cut without a length" and self._last.get(place) == name:
            name = ""  # the same half twice in a row is no accident of the network
        if name in ("empty list", "not found"):
            name = self._only_once(shop, path, name)
        self._last[place] = name
        return name

    def _only_once(self, shop: Shop, path: str, name: str) -> str:
        """A list that is empty for one read, an order that is unknown for one read."""
        listed = path == "/orders" or path.endswith(("/subaccounts", "/getproxy"))
        single = path.endswith("/status") or path.rpartition("/")[0].endswith("/orders") and path[-1].isdigit()
        fits = listed if name == "empty list" else single
        mark = id(shop), name if listed else path
        if not fits or mark in self._once:
            return ""
        self._once.add(mark)
        return name


def spoil(name: str, shop: Shop, answer: Answer) -> Answer:
    """What a fault makes of the answer to a read."""
    spoilt: Mapping[str, Answer] = {
        "5xx": Answer(503, "{}"),
        "429": Answer(429, "error code: 1015", {"Retry-After": "1"}),
        "empty": Answer(200, ""),
        "html": Answer(200, HTML),
        "not found": shop.unknown_order,
        "empty list": _empty_list(answer),
    }
    return spoilt.get(name, answer)


def _empty_list(answer: Answer) -> Answer:
    try:
        data = json.loads(answer.body)
    except ValueError:
        return answer
    if isinstance(data, dict) and isinstance(data.get("data"), list):
        meta = {**data.get("meta", {}), "total": 0, "last_page": 1}
        return Answer(200, json.dumps({"data": [], "meta": meta}))
    if isinstance(data, dict) and "list_count" in data:
        return Answer(200, json.dumps({**data, "list_count": 0, "list": []}))
    if isinstance(data, dict) and "subaccounts" in data.get("data", {}):
        return Answer(200, json.dumps({"data": {"subaccounts": []}}))
    return answer
