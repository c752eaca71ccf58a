"""What the pretended PROXY6 has sold: proxies, each with its own end and a comment, and the answers to their purchases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any

from airflow_provider_proxyorders.domain.model import decimal
from airflow_provider_proxyorders.sandbox.proxy_pool import HOST, ProxyBatch
from airflow_provider_proxyorders.sandbox.till import Wallet
from airflow_provider_proxyorders.sandbox.vendor_base import Ask, Outcome, Refusal, SandboxVendor, cents, number
from airflow_provider_proxyorders.wire.reading import when

CURRENCY = "USD"
DAY = 86400
COUNTRIES = ("nl", "pl", "us", "de")
PERIODS = (1, 3, 7, 14, 30, 60, 90)
STOCK = 500
PAGE = 1000
#: The texts beside ``unixtime`` are Moscow time, as seen in use.
MOSCOW = timezone(timedelta(hours=3))

ERRORS: Mapping[int, str] = {
    30: "Error unknown",
    100: "Error key",
    105: "Error ip",
    110: "Error method",
    200: "Error count",
    210: "Error period",
    220: "Error country",
    230: "Error ids",
    240: "Error version",
    250: "Error descr",
    260: "Error type",
    300: "Error active proxy allow",
    400: "Error no money",
    404: "Error not found",
}


@dataclass
class Proxy:
    """One proxy.

    :param ends: unix seconds.
    :param word: its ``active`` where a test or a purchase in progress decides; else its end does.
    :param earlier: of each extension the moment, and the end before it.
    """

    proxy_id: int
    wallet: Wallet
    descr: str
    country: str
    version: int
    type: str
    begun: float
    ends: float
    login: tuple[str, str]
    word: str | None = None
    earlier: list[tuple[float, float]] = field(default_factory=list)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def active(self, now: float) -> str:
        return self.word if self.word is not None else str(int(self.ends > now))

    def shown_end(self, behind: float) -> float:
        """The end as a read shows it that knows nothing since ``behind``."""
        return next((before for moment, before in self.earlier if moment > behind), self.ends)


@dataclass
class Sale:
    """One purchase, for the answer to it."""

    number: int
    count: int
    price: Decimal
    period: int
    proxies: Sequence[Proxy]


class Proxy6Stock(SandboxVendor):
    """The half of the sandbox that holds what was sold."""

    def reset(self) -> None:
        super().reset()
        #: of one proxy for one day, by version
        self.prices = {6: Decimal("0.05"), 4: Decimal("0.10"), 3: Decimal("0.04")}
        self.proxies: list[Proxy] = []
        self.sales: dict[str, list[Sale]] = {}
        self._next = 9001

    def _hand_over(
        self, wallet: Wallet, descr: str, count: int, kind: tuple[str, int, str], term: tuple[float, float]
    ) -> list[Proxy]:
        country, version, protocol = kind
        logins = [(f"px{self._next}n{n}", self.random_text(12)) for n in range(1, count + 1)]
        proxies = [
            Proxy(self._next + n, wallet, descr, country, version, protocol, *term, login) for n, login in enumerate(logins)
        ]
        self._next += count + 1
        usable = partial(self._usable, proxies)
        self.pool.hand_out(ProxyBatch(self.name, wallet.name, descr, logins, usable))
        self.proxies += proxies
        return proxies

    def _usable(self, proxies: Sequence[Proxy]) -> bool:
        return all(each.active(self.clock.timestamp()) == "1" for each in proxies)

    def _end(self, proxies: Iterable[Proxy], outcome: Outcome) -> None:
        for each in proxies:
            each.word = {"active": None, "expired": "0"}.get(outcome.word, outcome.word)

    def _move(self, proxies: Iterable[Proxy], ends: Mapping[int, float]) -> None:
        for each in proxies:
            each.earlier.append((self.clock.timestamp(), each.ends))
            each.ends = ends[each.proxy_id]

    def _row(self, each: Proxy, behind: float, *, bought: bool = False) -> dict[str, Any]:
        end, (user, password) = each.shown_end(behind), each.login
        own = {} if bought else {"country": each.country}
        named = {} if bought else {"version": str(each.version), "descr": each.descr}
        return {
            "id": str(each.proxy_id),
            "ip": f"2001:db8:1::{each.proxy_id:x}" if each.version == 6 else HOST,
            "host": HOST,
            "port": str(self.pool.port),
            "user": user,
            "pass": password,
            "type": each.type,
            **own,
            "date": written(each.begun),
            "date_end": written(end),
            "unixtime": int(each.begun),
            "unixtime_end": int(end),
            **named,
            "active": each.active(self.clock.timestamp()),
            **each.extra,
        }

    def _sold(self, sale: Sale, ask: Ask | None = None) -> dict[str, Any]:
        rows = [self._row(each, self.clock.timestamp(), bought=True) for each in sale.proxies]
        shown = {"order_id": sale.number, "count": sale.count, "price": number(sale.price), "period": sale.period}
        return {**shown, "country": sale.proxies[0].country, "list": listed(rows, ask)}

    def _price(self, version: int, count: int, period: int) -> Decimal:
        return cents(self.prices[version] * count * period)

    def _require(self, good: bool, error: int) -> None:
        if not good:
            raise Refusal(200, no(error))

    def seed_order(self, wallet: Wallet, fields: Mapping[str, Any]) -> str:
        """Put proxies with one comment there.

        :param fields: ``descr``, ``count``, ``country``, ``version``, ``type``, ``unixtime_end`` or ``date_end``, ``status``.
        """
        rest = dict(fields)
        descr = next((str(rest.pop(name)) for name in ("descr", "order_id", "id") if rest.get(name)), None)
        descr = descr or f"shop-{self.random_text(8)}"
        now = self.clock.timestamp()
        ends = when(rest.pop("unixtime_end", None) or rest.pop("date_end", None))
        term = now - DAY, now + 30 * DAY if ends is None else ends.timestamp()
        count = int(rest.pop("count", rest.pop("quantity", 1)))
        kind = str(rest.pop("country", "nl")), int(rest.pop("version", 6)), str(rest.pop("type", "http"))
        price, word = decimal(rest.pop("price", "3.00")), str(rest.pop("status", "active"))
        proxies = self._hand_over(wallet, descr, count, kind, term)
        for each in proxies:
            each.extra = rest
        self._end(proxies, Outcome(word))
        self.sales.setdefault(descr, []).append(Sale(5120000 + self._next, count, price, 30, proxies))
        return descr

    def set_status(self, order_id: str, outcome: Outcome) -> None:
        for sale in self.sales[order_id]:
            self._end(sale.proxies, outcome)

    def says_no(self, answer: Any) -> bool:
        return isinstance(answer, Mapping) and answer.get("status") == "no"

    def order_in(self, answer: Mapping[str, Any]) -> str:
        return self.handles().get(str(answer["order_id"]), "")

    def as_named(self, order_id: str) -> str:
        return str(self.sales[order_id][-1].number if order_id in self.sales else 5999999)

    def handles(self) -> Mapping[str, str]:
        return {str(sale.number): descr for descr, sales in self.sales.items() for sale in sales}

    def created(self, order_id: str) -> Any:
        sale = self.sales[order_id][-1]
        wallet = sale.proxies[0].wallet
        envelope = {"status": "yes", "user_id": "70341", "balance": number(wallet.balance), "currency": CURRENCY}
        return {**envelope, **self._sold(sale)}

    def deliver_less(self, order_id: str, units: int) -> None:
        for sale in self.sales[order_id]:
            gone = sale.proxies[units:]
            self.proxies = [each for each in self.proxies if each not in gone]


def no(error: int) -> dict[str, Any]:
    return {"status": "no", "error_id": error, "error": ERRORS[error]}


def listed(rows: Sequence[Mapping[str, Any]], ask: Ask | None) -> Any:
    """An object by id, a list with ``nokey``; an empty object is an empty list, as PHP writes it."""
    if not rows or (ask is not None and any(name == "nokey" for name, _ in ask.params)):
        return list(rows)
    return {str(row["id"]): row for row in rows}


def written(moment: float) -> str:
    return datetime.fromtimestamp(moment, MOSCOW).strftime("%Y-%m-%d %H:%M:%S")
