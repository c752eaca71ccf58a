"""The three vendors on localhost: stateful, honest about every cent, and broken in every way on demand.

Tests, the demo and the benchmarks buy here. It shares no code with the vendor adapters, since it is the other side: what
it does comes from the vendors' documentation, and each vendor's file says what is the sandbox's own choice.
``clock`` and ``charges`` first, then ``vendor_base`` and one vendor, then ``server``.
"""

from __future__ import annotations

from airflow_provider_proxyorders.sandbox.charges import Entry
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.sandbox.server import Sandbox
from airflow_provider_proxyorders.sandbox.standalone import serve

__all__ = ["Entry", "Rule", "Sandbox", "serve"]
