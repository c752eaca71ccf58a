"""The four vendors on localhost: stateful, honest about every cent, and broken in every way on demand.

Tests, the demo and the benchmarks buy here. The sandbox is the other side, so it shares no code with the vendor adapters. It
follows the vendors' documentation, and each vendor's file names the sandbox's own choices.
``clock`` and ``charges`` first, then ``vendor_base`` and one vendor, then ``server``.
"""

from __future__ import annotations

from airflow_provider_proxyorders.sandbox.charges import Entry
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.sandbox.server import Sandbox
from airflow_provider_proxyorders.sandbox.standalone import serve

__all__ = ["Entry", "Rule", "Sandbox", "serve"]
