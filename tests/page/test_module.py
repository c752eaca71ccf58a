"""The weight of the page: a small module for the browser, and nothing at all in a task process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from airflow import __version__ as airflow_version
from airflow.plugins_manager import _get_ui_plugins

from airflow_provider_proxyorders import page
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator, ExtendProxyOrderOperator
from airflow_provider_proxyorders.plugin import BUYING

MOST_BYTES = 40 * 1024
#: As a worker does: the DAG's operators, and the plugin with what Airflow reads of it in a task.
_AS_A_WORKER = """
import sys
import airflow_provider_proxyorders.operators.orders, airflow_provider_proxyorders.operators.wallet
import airflow_provider_proxyorders.sensors.orders, airflow_provider_proxyorders.triggers.orders
from airflow_provider_proxyorders.plugin import ProxyOrdersPlugin
ProxyOrdersPlugin.listeners, ProxyOrdersPlugin.macros, ProxyOrdersPlugin.operator_extra_links
print([name for name in sys.modules if name.startswith(("airflow_provider_proxyorders.page", "fastapi"))])
"""


def test_the_module_is_small() -> None:
    assert (Path(page.__file__).parent / "static" / "page.js").stat().st_size <= MOST_BYTES


def test_a_task_process_imports_nothing_of_the_page() -> None:
    done = subprocess.run([sys.executable, "-c", _AS_A_WORKER], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["[]"]), done.stdout + done.stderr


def test_airflow_takes_the_page_and_from_3_4_on_the_tab_of_a_task() -> None:
    _views, apps = _get_ui_plugins()
    tab = [("Purchase", "task_instance")] if [*map(int, airflow_version.split(".")[:2])] >= [3, 4] else []
    assert [(app["name"], app["destination"]) for app in apps] == [("Proxy orders", "nav"), *tab]
    assert {operator.__name__ for operator in (CreateProxyOrderOperator, ExtendProxyOrderOperator)} == {*BUYING}
