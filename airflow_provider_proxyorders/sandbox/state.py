"""All state of the sandbox in one place, behind one lock: clock, charges, delivered proxies, faults and the vendors."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from airflow_provider_proxyorders.sandbox.answers import changed
from airflow_provider_proxyorders.sandbox.charges import ChargeBook
from airflow_provider_proxyorders.sandbox.clock import Clock
from airflow_provider_proxyorders.sandbox.faults import Faults, Rule
from airflow_provider_proxyorders.sandbox.iproyal import SandboxIPRoyal
from airflow_provider_proxyorders.sandbox.proxy6 import SandboxProxy6
from airflow_provider_proxyorders.sandbox.proxy_pool import HOST, ProxyPool
from airflow_provider_proxyorders.sandbox.proxyscrape import SandboxProxyScrape
from airflow_provider_proxyorders.sandbox.vendor_base import USUAL, Answer, Ask, Call, Manner, Refusal, SandboxVendor
from airflow_provider_proxyorders.sandbox.voodoo import SandboxVoodoo

#: The pretended vendors. A new one is one more class here.
VENDORS: Sequence[type[SandboxVendor]] = (SandboxProxyScrape, SandboxVoodoo, SandboxIPRoyal, SandboxProxy6)


class SandboxState:
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
        self.clock, self.book, self.pool, self.faults = Clock(speed), ChargeBook(), ProxyPool(), Faults()
        by_vendor = processing if isinstance(processing, Mapping) else {kind.name: processing for kind in VENDORS}
        self.vendors: dict[str, SandboxVendor] = {
            kind.name: kind(self.clock, self.book, self.pool, processing=by_vendor.get(kind.name), seed=seed) for kind in VENDORS
        }

    def url(self, vendor: str) -> str:
        """The base URL for a connection's host."""
        return f"http://{HOST}:{self.pool.port}/{self.vendors[vendor].name}"

    def answer(self, call: Call, vendor: SandboxVendor | None = None, manner: Manner = USUAL) -> Answer:
        """Let a vendor work on a request, after all earlier events that are due.

        :param manner: how ``vendor`` answers this once.
        """
        with self.lock:
            self.clock.run_due()
            try:
                if vendor is not None:
                    vendor.manner = manner
                return call.run()
            except Refusal as refusal:
                return refusal.answer
            finally:
                if vendor is not None:
                    vendor.manner = USUAL

    def changed(self, rule: Rule, vendor: SandboxVendor, ask: Ask, call: Call, answer: Answer | None) -> Answer | None:
        """The answer as a fault changes it; see :func:`answers.changed`."""
        with self.lock:
            return changed(rule, vendor, ask, call, answer)

    def tick(self) -> float | None:
        """Run the events that are due; returns the real seconds until the next one."""
        with self.lock:
            self.clock.run_due()
            return self.clock.next_in()

    def reset(self, vendor: str | None = None) -> None:
        """Go back to the start: one vendor with its part of the book, or everything, faults and clock included."""
        with self.lock:
            for name, pretended in self.vendors.items():
                if vendor in (None, name):
                    pretended.reset()
            self.book.forget(vendor)
            if vendor is None:
                self.faults.clear()
                self.clock.forget()
