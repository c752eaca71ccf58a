"""Everything the sandbox knows, in one place, behind one lock: clock, book, goods, faults and the three vendors."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from airflow_provider_proxyorders.sandbox.charges import Book
from airflow_provider_proxyorders.sandbox.clock import Clock
from airflow_provider_proxyorders.sandbox.faults import Faults
from airflow_provider_proxyorders.sandbox.iproyal import IPRoyalShop
from airflow_provider_proxyorders.sandbox.proxy_pool import HOST, Goods
from airflow_provider_proxyorders.sandbox.proxyscrape import ProxyScrapeShop
from airflow_provider_proxyorders.sandbox.vendor_base import Answer, Call, Refusal, Shop
from airflow_provider_proxyorders.sandbox.voodoo import VoodooShop


class World:
    """The state of one sandbox.

    :param processing: seconds from an order to its end, for all vendors or by vendor; None = each vendor's default.
    :param seed: makes ids, passwords and codes the same in every run.
    :param speed: how many seconds pass in one real second; 0 stops the clock.
    """

    def __init__(
        self,
        *,
        processing: float | Mapping[str, float] | None = None,
        seed: int | None = None,
        speed: float = 1.0,
    ):
        self.lock = threading.RLock()
        self.clock, self.book, self.goods, self.faults = Clock(speed), Book(), Goods(), Faults()

        def seconds(vendor: str) -> float | None:
            return processing.get(vendor) if isinstance(processing, Mapping) else processing

        def opened(shop: type[Shop]) -> Shop:
            return shop(self.clock, self.book, self.goods, processing=seconds(shop.name), seed=seed)

        self.shops = {shop.name: opened(shop) for shop in (ProxyScrapeShop, VoodooShop, IPRoyalShop)}

    def url(self, vendor: str) -> str:
        """The base URL for a connection's host."""
        return f"http://{HOST}:{self.goods.port}/{self.shops[vendor].name}"

    def answer(self, call: Call) -> Answer:
        """Let a vendor work on a request, after everything that was due before it."""
        with self.lock:
            self.clock.run_due()
            try:
                return call.run()
            except Refusal as refusal:
                return refusal.answer

    def tick(self) -> float | None:
        """Let happen what is due; returns the real seconds until something will be again."""
        with self.lock:
            self.clock.run_due()
            return self.clock.next_in()

    def reset(self, vendor: str | None = None) -> None:
        """As at the start: one vendor with its part of the book, or everything, faults and jumps of the clock included."""
        with self.lock:
            for shop in self.shops.values():
                if vendor in (None, shop.name):
                    shop.reset()
            self.book.forget(vendor)
            if vendor is None:
                self.faults.clear()
                self.clock.forget()
