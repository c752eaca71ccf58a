"""PROXY6 as px6.link/developers describes it: proxies with a comment, the key in the path, errors with HTTP 200."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any

from . import plan
from .shops import Answer, Order, Sale, Sees, Shop


def _no(number: int, text: str) -> Answer:
    return Answer(200, json.dumps({"status": "no", "error_id": number, "error": text}))


class Proxy6(Shop):
    """px6.link/developers: getprice, getproxy, buy, prolong. An order is known by its comment, which need not be unique."""

    vendor = "proxy6"
    refused = _no(300, "Error active proxy")
    poor = _no(400, "Error no money")
    unknown_order = _no(404, "Error not found")
    numbers = 5000

    def __init__(self, wallet: plan.Wallet, dice: Random, clock: float, floats: bool):
        super().__init__(wallet, dice, clock, floats)
        self.expiry = datetime.now(timezone.utc) + timedelta(days=10)
        for comment in wallet.targets:
            body = {"count": "2", "period": "30", "country": "nl", "version": "6", "descr": comment}
            self.orders.append(Order(comment, "create", -1e6, -1e6, Decimal(0), body, account=self.new_id()))

    def id_of(self, sale: Sale) -> str:
        """The comment of what is bought: the vendor's own number can be asked for nowhere."""
        return str(sale.body["descr"]) if sale.kind == "create" else self.new_id()

    def new_account(self) -> str:
        return self.new_id()

    def new_id(self) -> str:
        Proxy6.numbers += self.dice.randint(1, 3)
        return str(Proxy6.numbers)

    def price(self, sale: Sale) -> Decimal:
        if sale.kind == "create":
            return _price(sale.body)
        versions = {proxy_id: order.body["version"] for order in self.bought() for proxy_id in self.ids(order)}
        return sum(
            (_price({"count": 1, "period": sale.body["period"], "version": versions[each]}) for each in _ids_in(sale.body)),
            Decimal(0),
        )

    def sale(self, method: str, path: str, body: Any) -> Sale | None:
        if path.endswith("/buy"):
            return Sale("create", body)
        if not path.endswith("/prolong"):
            return None
        asked = _ids_in(body)
        target = next((order.order_id for order in self.bought() if set(asked) <= {*self.ids(order)}), "")
        return Sale("extend", body, target)

    def problem(self, sale: Sale, now: float) -> Answer | None:
        return _no(230, "Error ids") if sale.kind == "extend" and not sale.target else None

    # -- the wire --------------------------------------------------------------------------------------------------

    def bought(self) -> Iterator[Order]:
        return (order for order in self.orders if order.kind == "create")

    def ids(self, order: Order) -> list[str]:
        """The numbers of an order's proxies."""
        return [f"{order.account}{place}" for place in range(1, int(order.body.get("count", 2)) + 1)]

    def envelope(self, sees: Sees, **more: Any) -> Answer:
        """A good answer; each one tells the balance."""
        head = f'{{"status": "yes", "user_id": "1", "balance": "{self.shown_balance(sees)}", "currency": "USD"'
        return Answer(200, ", ".join([head, *(f'"{name}": {json.dumps(value)}' for name, value in more.items())]) + "}")

    def sold(self, order: Order) -> Answer:
        def sees(at: float, each: Order, aspect: str) -> bool:
            return at <= order.at

        body = order.body
        if order.kind == "create":
            rows = self.rows(order, order.at, sees, bare=True)
            more = {"order_id": int(order.account), "count": int(body.get("count", 2)), "country": body.get("country", "nl")}
        else:
            target = next((each for each in self.bought() if each.order_id == order.target), None)
            known = self.rows(target, order.at, sees, bare=True) if target else {}
            rows = {each: {"id": int(each), "unixtime_end": self._later(known, each, order)} for each in _ids_in(body)}
            more = {"order_id": int(order.order_id), "count": len(rows)}
        return self.envelope(sees, **more, price=float(order.amount), period=int(body.get("period", 30)), list=rows)

    def _later(self, known: Mapping[str, Any], proxy_id: str, order: Order) -> int:
        """The end of a proxy right after an extension, which may not show in reads yet."""
        before = known[proxy_id]["unixtime_end"] if proxy_id in known else int(self.expiry.timestamp())
        return int(before) + (0 if order.ready <= order.at else 30 * 86400)

    def rows(self, order: Order, now: float, sees: Sees, *, bare: bool = False) -> dict[str, Any]:
        """An order's proxies.

        :param bare: as the answer to ``buy`` has them, without comment and country.
        """
        longer = [each for each in self.orders if each.kind == "extend" and each.target == order.order_id]
        longer = [each for each in longer if each.ready <= now and sees(each.ready, each, "order")]
        rows = {}
        for place, each in enumerate(self.ids(order), 1):
            extended = sum(each in _ids_in(extension.body) for extension in longer)
            row = {
                "id": each,
                "ip": f"2001:db8:1::{place}",
                "host": "203.0.113.9",
                "port": f"{7330 + place}",
                "user": "u1",
                "pass": "p1",
                "type": "http",
                "unixtime": int(self.today(max(order.at, 0.0), now).timestamp()),
                "unixtime_end": int((self.expiry + timedelta(days=30 * extended)).timestamp()),
                "active": "1",
            }
            said = {"descr": order.body["descr"], "country": order.body["country"], "version": order.body["version"]}
            rows[each] = row if bare else {**row, **said}
        return rows

    def read(self, path: str, query: Mapping[str, list[str]], now: float, sees: Sees) -> Answer:
        if path.endswith("/getprice"):
            asked = {name: query[name][0] for name in ("count", "period", "version")}
            numbers = {name: int(asked[name]) for name in ("period", "count")}
            return self.envelope(sees, price=float(_price(asked)), **numbers)
        if not path.endswith("/getproxy"):
            return self.envelope(sees)
        wanted = query.get("descr", [None])[0]
        listed = [order for order in self.bought() if wanted in (None, order.order_id) and sees(order.at, order, "list")]
        rows = {name: row for order in listed for name, row in self.rows(order, now, sees).items()}
        return self.envelope(sees, list_count=len(rows), page=1, list=rows or [])


def _price(body: Mapping[str, Any]) -> Decimal:
    return int(body["count"]) * int(body["period"]) * plan.DAY_PRICES[int(body["version"])]


def _ids_in(body: Mapping[str, Any]) -> list[str]:
    return str(body.get("ids", "")).split(",")
