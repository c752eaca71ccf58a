"""The pretended IPRoyal reseller API: orders with a term that can be extended, also by the vendor itself.

Documentation: docs.iproyal.com/proxies/isp/api/orders, .../api/products, /proxies/mobile/api/orders (automatic extension),
/proxies/datacenter/api/user (balance, cards). The sandbox's own choices, since the documentation leaves them open:

- Success is 200. Errors have the shapes of public clients (401, 403 and 404 ``{"message"}``, 422 with ``errors``, also for too
  little balance).
- ``expire_date`` is UTC and null before delivery. The term counts from delivery, and an extension adds to the rest of it.
- An extension of some proxies is priced by their number and moves no date. ``selection`` without a plan gets the first one.
- An order can be extended while it is ``confirmed``. A renewal is charged at the moment of expiry; without money the order
  expires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

from airflow_provider_proxyorders.sandbox.iproyal.catalogue import Plan, Selection, check_answer, invalid, select
from airflow_provider_proxyorders.sandbox.iproyal.orders import DAY, Order, seeded
from airflow_provider_proxyorders.sandbox.iproyal.reads import (
    SandboxIPRoyalReading,
    change_product,
    require_product,
    show_extensions_after,
    show_parts,
)
from airflow_provider_proxyorders.sandbox.proxy_pool import ProxyBatch
from airflow_provider_proxyorders.sandbox.till import Wallet
from airflow_provider_proxyorders.sandbox.vendor_base import Answer, Ask, Call, Outcome, Refusal, dump, whole

POOR = "Insufficient balance."


class SandboxIPRoyal(SandboxIPRoyalReading):
    name = "iproyal"
    default_token = "ip-test-token"
    success = "confirmed"
    own_times = frozenset({"created_at", "updated_at"})
    refusals = {
        "balance": (422, {"message": POOR, "errors": {"balance": [POOR]}}),
        "duplicate": (409, {"message": "This order was sent before."}),
        "forbidden": (403, {"message": "Ordering is not activated."}),
        "invalid": (422, {"message": "The selected location is out of stock.", "errors": {}}),
    }

    def route(self, ask: Ask) -> Call | None:
        match (ask.method, *ask.parts):
            case ("POST", "orders"):
                return Call("create", partial(self._create, ask))
            case ("POST", "orders", "toggle-auto-extend"):
                return Call("set_auto_extend", partial(self._toggle, ask))
            case ("POST", "orders", order_id, "extend"):
                return Call("extend", partial(self._extend, ask, order_id))
        return super().route(ask)

    # -- operations that change something -------------------------------------------------------------------------

    def _create(self, ask: Ask) -> Answer:
        wallet, body = self._buyer(ask), ask.json
        selection = select(self.products, body)
        answers = _answers(selection, body.get("product_question_answers"))
        auto_extend = body.get("auto_extend", True)
        if not isinstance(auto_extend, bool):
            raise invalid("auto_extend", "The auto extend field must be true or false.")
        paid_by = self._payment(wallet, body.get("card_id"), selection.price)
        order = Order(self.next_id, wallet, selection.product, selection.plan, selection.quantity)
        order.place(selection)
        order.answers = answers
        if auto_extend:
            order.auto_extend = _settings(order, selection.plan.plan_id, paid_by, body.get("card_id"))
        self._keep(order)
        reference = answers[0]["answer"] if answers else None
        price = self.to_pay(selection.price)
        self.till.charge(wallet, str(order.order_id), "create", price, body, reference, paid_by)
        order.price = price if paid_by == "balance" else Decimal(0)
        answer = Answer(order.wire(self.pool.port))
        self.clock.after(self.processing, partial(self._provided, order, self.next_outcome()))
        return answer

    def _extend(self, ask: Ask, order_id: str) -> Answer:
        wallet, body = self._buyer(ask), ask.json
        order = self._order(wallet, order_id)
        if order.status != "confirmed" or order.expires is None:
            raise invalid("order_id", f"The order is {order.status} and cannot be extended.")
        part = body.get("proxies") or []
        if part and (not isinstance(part, list) or len(part) > order.quantity or self.partial == "refused"):
            raise invalid("proxies", "The selected proxies are invalid.")
        selection = self._again(order, body.get("product_plan_id"), len(part))
        paid_by = self._payment(wallet, body.get("card_id"), selection.price)
        self.till.charge(wallet, str(order.order_id), "extend", self.to_pay(selection.price), body, None, paid_by)
        prolong = self._prolong if not part or self.partial == "date" else self._prolong_part
        if self.extend_processing:
            self.clock.after(self.extend_processing, partial(prolong, order, selection.plan))
        else:
            prolong(order, selection.plan)
        return Answer(order.wire(self.pool.port))

    def _toggle(self, ask: Ask) -> Answer:
        wallet, body = self._buyer(ask), ask.json
        order = self._order(wallet, str(body.get("order_id", "")))
        enabled, plan = body.get("is_enabled"), body.get("product_plan_id")
        if not isinstance(enabled, bool):
            raise invalid("is_enabled", "The is enabled field is required.")
        if plan is not None and whole(plan) not in order.product.plans:
            raise invalid("product_plan_id", "The selected product plan id is invalid.")
        payment = body.get("payment_type")
        if enabled and payment not in ("balance", "card"):
            raise invalid("payment_type", "The selected payment type is invalid.")
        if enabled and payment == "card":
            self._payment(wallet, body.get("card_id") or 0, Decimal(0))
        order.auto_extend = _settings(order, plan or order.plan.plan_id, str(payment), body.get("card_id")) if enabled else None
        said = {"product_plan_id": plan, "payment_type": payment, "card_id": body.get("card_id")}
        return Answer(order.auto_extend or {"order_id": order.order_id, "is_enabled": False, **said})

    def _payment(self, wallet: Wallet, card_id: Any, price: Decimal) -> str:
        if card_id is not None:
            if not any(card.get("id") == card_id for card in self.cards.get(wallet.name, [])):
                raise invalid("card_id", "The selected card id is invalid.")
            return "card"
        if wallet.balance < price:
            raise Refusal(*self.refusals["balance"])
        return "balance"

    # -- the life of an order -------------------------------------------------------------------------------------

    def _provided(self, order: Order, outcome: Outcome) -> None:
        if self.orders.get(order.order_id) is order and order.status == "in-progress":
            self._end(order, outcome)

    def _end(self, order: Order, outcome: Outcome) -> None:
        """``partial`` is no word of this vendor: it delivers fewer proxies than were ordered, as ``confirmed``."""
        order.status = "confirmed" if outcome.word == "partial" else outcome.word
        if outcome.word == "partial":
            self._deliver(order, int(outcome.details.get("delivered", order.quantity // 2)))
        elif order.status == "confirmed" and order.batch is None:
            self._deliver(order, order.quantity)
        if order.status == "refunded":
            self.till.pay_back(order.wallet, str(order.order_id), order.price)
            order.price = Decimal(0)

    def _deliver(self, order: Order, count: int) -> None:
        stem = f"ip{order.order_id}{self.random_text(4)}"
        logins = [(f"{stem}n{n}", self.random_text(12)) for n in range(1, count + 1)]
        order.batch = self.pool.hand_out(
            ProxyBatch(self.name, order.wallet.name, str(order.order_id), logins, partial(order.usable, self.clock))
        )
        if order.expires is None:
            self._until(order, self.clock.timestamp() + order.plan.days * DAY)

    def _prolong(self, order: Order, plan: Plan) -> None:
        assert order.expires is not None
        order.earlier.append((self.clock.timestamp(), order.expires, len(order.extended)))
        order.extended.append({"plan_name": plan.name, "created_at": order.written(self.clock.timestamp())})
        self._until(order, order.expires + plan.days * DAY)

    def _prolong_part(self, order: Order, plan: Plan) -> None:
        """The order keeps its date; whether its history tells of a part is a choice of the test."""
        if self.partial == "history":
            order.extended.append({"plan_name": plan.name, "created_at": order.written(self.clock.timestamp())})

    def _until(self, order: Order, expires: float) -> None:
        order.expires = expires
        self.clock.at(expires, partial(self._run_out, order, expires))

    def _run_out(self, order: Order, expires: float) -> None:
        if self.orders.get(order.order_id) is not order or order.status != "confirmed" or order.expires != expires:
            return
        if not self._renewed(order, order.auto_extend or {"is_enabled": False}):
            order.status = "expired"

    def _renewed(self, order: Order, settings: Mapping[str, Any]) -> bool:
        if not settings.get("is_enabled", True):
            return False
        try:
            selection = self._again(order, settings.get("product_plan_id") or order.plan.plan_id)
            paid_by = self._payment(order.wallet, settings.get("card_id"), selection.price)
        except Refusal:  # no money, no card
            return False
        self.till.charge(order.wallet, str(order.order_id), "auto_extend", selection.price, paid_by=paid_by)
        self._prolong(order, selection.plan)
        return True

    def _keep(self, order: Order) -> None:
        self.orders[order.order_id] = order
        if order.order_id < self.next_id:  # put there by hand between older ones
            self.orders = dict(sorted(self.orders.items()))
        self.next_id = max(self.next_id, order.order_id + 1)

    # -- control --------------------------------------------------------------------------------------------------

    def seed_order(self, wallet: Wallet, fields: Mapping[str, Any]) -> str:
        order = seeded(wallet, {"id": self.next_id, **fields}, self.products)
        self._keep(order)
        if order.status == "confirmed":
            proxies = order.proxies
            self._deliver(order, order.quantity if proxies is None else len(proxies))
        if order.expires is not None:
            self._until(order, order.expires)
        return str(order.order_id)

    def set_status(self, order_id: str, outcome: Outcome) -> None:
        self._end(self.orders[int(order_id)], outcome)

    def created(self, order_id: str) -> Any:
        return self.orders[int(order_id)].wire(self.pool.port)

    def unused_id(self) -> str:
        return str(self.next_id + 1000)

    def deliver_less(self, order_id: str, units: int) -> None:
        order = self.orders[int(order_id)]
        if order.batch is not None:
            order.batch = replace(order.batch, logins=order.batch.logins[:units])

    def add_card(self, wallet: Wallet, fields: Mapping[str, Any]) -> None:
        """Store a card with a wallet; purchases with it leave the balance alone."""
        card = {
            "id": 31,
            "provider": "stripe",
            "custom_name": None,
            "payment_method": "card",
            "card_type": "visa",
            "currency": "USD",
            "last_four_digits": "4242",
            "expiry_date": "2031/05",
            "update_url": None,
            "cancel_url": None,
            "products_with_order_ids": [],
            "has_royal_auto_extend_enabled": False,
            "updated_at": self.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        self.cards.setdefault(wallet.name, []).append({**card, **fields})

    own_commands = {
        "card": add_card,
        "extend_processing": show_extensions_after,
        "partial_extensions": show_parts,
        "product": change_product,
        "product_required": require_product,
    }


def _answers(selection: Selection, answers: Any) -> list[dict[str, str]]:
    """The answers as the order shows them; a list answers the questions in turn."""
    questions = selection.product.questions
    by_id = dict(zip(map(str, questions), answers, strict=False)) if isinstance(answers, list) else answers or {}
    shown = []
    for question_id, (text, required) in questions.items():
        said = by_id.get(str(question_id)) if isinstance(by_id, dict) else None
        check_answer(selection.product, question_id, said)
        if said is not None:
            shown.append({"question": text, "answer": said if isinstance(said, str) else dump(said)})
        elif required:
            raise invalid(f"product_question_answers.{question_id}", "The answer is required.")
    return shown


def _settings(order: Order, plan: int, payment: str, card_id: Any) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "is_enabled": True,
        "product_plan_id": plan,
        "payment_type": payment,
        "card_id": card_id if payment == "card" else None,
    }
