"""Several orders at a time, each asked for again while the vendor does not show it.

Two rules. An order counts as missing by the rule of ``polling.py``. The ledger notes which ones do, so later reads do not wait
for them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.domain.exact_json import dump_json, load_json
from airflow_provider_proxyorders.domain.model import VendorOrder
from airflow_provider_proxyorders.ledger import Ledger, facts
from airflow_provider_proxyorders.ledger.bulk import named_in_bodies
from airflow_provider_proxyorders.purchase.polling import Misses, miss_pause
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.transport.many import run_many
from airflow_provider_proxyorders.vendors.base import Vendor


def know_lists(vendor: Vendor, ledger: Ledger) -> None:
    """Tell a vendor with several lists what the ledger's purchases were bought under, before its lists are read."""
    if vendor.capabilities.list_by:
        vendor.account.listed_under |= named_in_bodies(ledger, vendor.name, vendor.capabilities.list_by)


def read_orders(tracker: OrderTracker, order_ids: Sequence[str]) -> dict[str, VendorOrder]:
    """The orders with these ids, as they stand; the result leaves out those that count as missing.

    :raises VendorError: the vendor cannot be read.
    """
    if not order_ids:
        return {}
    vendor, settle = tracker.vendor, tracker.settle_time
    noted = facts.missing_orders(tracker.ledger, tracker.account.wallet)
    before = frozenset(load_json(noted.get() or "[]"))
    began, misses = tracker.ledger.clock(), Misses()
    orders = _read(tracker, order_ids)
    missing = [order_id for order_id in order_ids if order_id not in orders and order_id not in before]
    while missing:
        misses.add((tracker.ledger.clock() - began).total_seconds())
        if misses.prove_missing(settle):
            break
        pause = miss_pause(vendor.capabilities.polling, misses.count, settle)
        tracker.say(f"{vendor.title} does not show {len(missing)} orders, {missing[0]} among them. Asking again in {pause:.0f} s")
        tracker.sleep(pause)
        orders |= _read(tracker, missing)
        missing = [order_id for order_id in missing if order_id not in orders]
    after = (before | frozenset(missing)) - orders.keys()
    if after != before:
        noted.put(dump_json(sorted(after)))
    return orders


def _read(tracker: OrderTracker, order_ids: Sequence[str]) -> dict[str, VendorOrder]:
    """The orders that one read of each shows, several calls at a time."""
    orders: dict[str, VendorOrder] = {}
    flows = [partial(tracker.vendor.get_many, ids) for ids in tracker.vendor.batches(order_ids)]
    with closing(run_many(tracker.http, flows)) as answers:
        for answer in answers:
            if isinstance(answer, ProxyOrdersError):
                raise answer
            orders |= answer
    return orders
