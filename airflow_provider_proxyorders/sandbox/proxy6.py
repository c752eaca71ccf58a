"""The pretended PROXY6: proxies bought, listed by their comment, and extended one by one.

Documentation: px6.link/developers. Every call is a GET with the key in its path, and an error is 200 with ``status: no``. Numbers
come as text here and there, and an empty map is a list. The sandbox's own choices, since the page leaves them open:

- the countries, the periods and the prices; a price counts proxies and days;
- ``descr`` finds exactly the comment; the list is in the order of the purchases;
- an extension counts from the old end, for an ended proxy from now;
- while a purchase is in progress (``processing``, 0 by default), ``active`` is ``pending``, a word of no page.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from functools import partial
from typing import Any

from airflow_provider_proxyorders.sandbox.proxy6_stock import (
    COUNTRIES,
    CURRENCY,
    DAY,
    ERRORS,
    PAGE,
    PERIODS,
    STOCK,
    Proxy6Stock,
    Sale,
    listed,
    no,
    written,
)
from airflow_provider_proxyorders.sandbox.till import Wallet
from airflow_provider_proxyorders.sandbox.vendor_base import Answer, Ask, Call, Refusal, number


class SandboxProxy6(Proxy6Stock):
    name = "proxy6"
    default_token = "px6-test-token"
    default_processing = 0.0
    success = "active"
    id_field = "order_id"
    balance_at = ("balance",)
    own_times = frozenset({"unixtime", "unixtime_end"})
    refusals = {
        "balance": (200, {"status": "no", "error_id": 400, "error": ERRORS[400]}),
        "duplicate": (200, {"status": "no", "error_id": 30, "error": ERRORS[30]}),
        "forbidden": (200, {"status": "no", "error_id": 105, "error": ERRORS[105]}),
        "invalid": (200, {"status": "no", "error_id": 220, "error": ERRORS[220]}),
    }

    def reset(self) -> None:
        super().reset()
        self.extend_processing = 0.0
        self.per_second: int | None = None
        self._asked: deque[float] = deque()

    def route(self, ask: Ask) -> Call | None:
        match (ask.method, *ask.parts):
            case ("GET", "api", _):
                return Call("balance", partial(self._answer, ask, self._balance))
            case ("GET", "api", _, "getprice"):
                operation = "quote" if ask.param("count") else "products"
                return Call(operation, partial(self._answer, ask, self._getprice))
            case ("GET", "api", _, "getproxy"):
                return Call("get" if ask.param("descr") else "list", partial(self._answer, ask, self._getproxy))
            case ("GET", "api", _, "buy"):
                return Call("create", partial(self._answer, ask, self._buy))
            case ("GET", "api", _, "prolong"):
                return Call("extend", partial(self._answer, ask, self._prolong))
        return None

    def not_found(self) -> Answer:
        return Answer(no(110))

    # -- operations -----------------------------------------------------------------------------------------------

    def _answer(self, ask: Ask, work: Any) -> Answer:
        wallet = self.asker(ask)
        if self._too_fast():
            return Answer(status=429, text="Too many requests")
        shown, fields = wallet.balance, work(ask, wallet)
        written: Any = f"{shown:.2f}"
        if work in (self._buy, self._prolong):
            written = number(wallet.balance)
        elif self.manner.lag:
            written = f"{self.shown_balance(wallet):.2f}"
        return Answer({"status": "yes", "user_id": "70341", "balance": written, "currency": CURRENCY, **fields})

    def _too_fast(self) -> bool:
        if self.per_second is None:
            return False
        now = self.clock.timestamp()
        while self._asked and self._asked[0] <= now - 1:
            self._asked.popleft()
        self._asked.append(now)
        return len(self._asked) > self.per_second

    def _balance(self, ask: Ask, wallet: Wallet) -> dict[str, Any]:
        self._require(wallet.may_read, 105)
        return {}

    def _getprice(self, ask: Ask, wallet: Wallet) -> dict[str, Any]:
        self._require(wallet.may_read, 105)
        if ask.param("count") is None and ask.param("period") is None:
            return {"data": {str(v): {str(days): number(day * days) for days in PERIODS} for v, day in self.prices.items()}}
        count, period, version = self._terms(ask)
        price = self._price(version, count, period)
        return {"price": number(price), "price_single": number(self.prices[version]), "period": period, "count": count}

    def _getproxy(self, ask: Ask, wallet: Wallet) -> dict[str, Any]:
        self._require(wallet.may_read, 105)
        now, behind = self.clock.timestamp(), self.clock.timestamp() - self.manner.lag
        descr, state = ask.param("descr"), ask.param("state") or "all"
        mine = [each for each in self.proxies if each.wallet is wallet and each.begun <= behind and not self.manner.unseen]
        mine = [each for each in mine if descr is None or each.descr == descr]
        if state in ("active", "expired"):
            mine = [each for each in mine if (each.active(now) != "0") is (state == "active")]
        page, limit = int(ask.param("page") or 1), min(int(ask.param("limit") or PAGE), PAGE)
        rows = [self._row(each, behind) for each in mine[(page - 1) * limit : page * limit]]
        return {"list_count": len(rows), "page": page, "list": listed(rows, ask)}

    def _buy(self, ask: Ask, wallet: Wallet) -> dict[str, Any]:
        self._require(wallet.may_order, 105)
        count, period, version = self._terms(ask)
        country, descr, kind = ask.param("country"), ask.param("descr") or "", ask.param("type") or "http"
        self._require(country in COUNTRIES, 220)
        self._require(len(descr) <= 50, 250)
        self._require(kind in ("http", "socks"), 260)
        self._require(count <= STOCK, 300)
        price = self._price(version, count, period)
        self._require(wallet.balance >= price, 400)
        price, now = self.to_pay(price), self.clock.timestamp()
        sold = self._hand_over(wallet, descr, count, (str(country), version, kind), (now, now + period * DAY))
        sale = Sale(5120000 + self._next, count, price, period, sold)
        self.sales.setdefault(descr, []).append(sale)
        self.till.charge(wallet, descr, "create", price, _request(ask, count, period, version), descr)
        if self.processing:
            for each in sold:
                each.word = "pending"
            self.clock.after(self.processing, partial(self._end, sold, self.next_outcome()))
        else:
            self._end(sold, self.next_outcome())
        return self._sold(sale, ask)

    def _prolong(self, ask: Ask, wallet: Wallet) -> dict[str, Any]:
        self._require(wallet.may_order, 105)
        ids, period = ask.listed("ids") or [], _whole(ask.param("period"))
        self._require(period in PERIODS, 210)
        self._require(bool(ids) and all(each.isdigit() for each in ids), 230)
        chosen = [each for each in self.proxies if str(each.proxy_id) in ids and each.wallet is wallet]
        self._require(len(chosen) == len(set(ids)), 404)
        price = sum((self._price(each.version, 1, period) for each in chosen), Decimal(0))
        self._require(wallet.balance >= price, 400)
        price, now = self.to_pay(price), self.clock.timestamp()
        request = {"period": period, "ids": ",".join(ids)}
        self.till.charge(wallet, chosen[0].descr, "extend", price, request)
        ends = {each.proxy_id: max(each.ends, now) + period * DAY for each in chosen}
        rows = [{"id": key, "date_end": written(end), "unixtime_end": int(end)} for key, end in ends.items()]
        if self.extend_processing:
            self.clock.after(self.extend_processing, partial(self._move, chosen, ends))
        else:
            self._move(chosen, ends)
        self._next += 1
        shown = {"order_id": 5120000 + self._next, "price": number(price), "period": period, "count": len(rows)}
        return {**shown, "list": listed(rows, ask)}

    def _terms(self, ask: Ask) -> tuple[int, int, int]:
        count, period = _whole(ask.param("count")), _whole(ask.param("period"))
        version = _whole(ask.param("version") or "6")
        self._require(count > 0, 200)
        self._require(period in PERIODS, 210)
        self._require(version in self.prices, 240)
        return count, period, version

    def _set_extend_processing(self, wallet: Wallet, seconds: Any) -> None:
        self.extend_processing = float(seconds)

    def _set_per_second(self, wallet: Wallet, most: Any) -> None:
        self.per_second = None if most is None else int(most)

    own_commands = {"extend_processing": _set_extend_processing, "per_second": _set_per_second}

    def asker(self, ask: Ask) -> Wallet:
        wallet = self.by_token.get(ask.parts[1]) if len(ask.parts) > 1 else None
        if wallet is None:
            raise Refusal(200, no(100))
        return wallet


def _request(ask: Ask, count: int, period: int, version: int) -> dict[str, Any]:
    """The parameters of a purchase, in the types of a prepared body."""
    return {**dict(ask.params), "count": count, "period": period, "version": version}


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdigit() else 0
