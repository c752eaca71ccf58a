"""The Airflow plugin: the webhook receiver, the page *Browse -> Proxy orders*, and what the connection form sends.

One rule: every task process imports this module, so its parts are built only when the API server asks for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_proxyorders import __version__, _compat

#: Where the page lives below Airflow's own address, and its name in the menu.
PAGE, PAGE_NAME = "proxyorders/page", "Proxy orders"
#: The operators whose tasks have the tab *Purchase*.
BUYING = ("CreateProxyOrderOperator", "ExtendProxyOrderOperator")


class _BuiltOnRead:
    """A class attribute that is built when it is read."""

    def __init__(self, build: Callable[[], Any]):
        self._build = build

    def __get__(self, instance: Any, owner: type) -> Any:
        return self._build()


def _apps() -> list[dict[str, Any]]:
    from airflow_provider_proxyorders.webhooks.app import receiver

    apps = [{"app": receiver(), "url_prefix": "/proxyorders/webhooks", "name": "Proxy orders webhooks"}]
    try:
        from airflow_provider_proxyorders.page.app import app
    except ImportError:  # the page needs parts of the API server that another Airflow may have elsewhere
        logging.getLogger(__name__).exception("The page of proxy orders is left out: it needs another Airflow")
    else:
        apps.append({"app": app(), "url_prefix": f"/{PAGE}", "name": "Proxy orders page"})
    return apps


def _middlewares() -> list[Any]:
    from airflow_provider_proxyorders.hooks.form_requests import middlewares

    return [*middlewares()]


def _pages() -> list[dict[str, Any]]:
    static = f"{PAGE}/static"  # relative, so that it holds under a path prefix
    module = {"bundle_url": f"{static}/page.js?v={__version__}", "icon": f"{static}/icon.svg"}
    page = {"name": PAGE_NAME, "url_route": "proxyorders", "destination": "nav", "category": "browse"}
    pages: list[dict[str, Any]] = [{**page, **module}]
    if _compat.tabs_of_operators():  # elsewhere the tab would be on every task; the link Purchase leads to the same
        of_task = {"name": "Purchase", "url_route": "proxyorders_purchase", "destination": "task_instance"}
        pages.append({**of_task, "applies_to": {"operator_name": [*BUYING]}, **module})
    return pages


class ProxyOrdersPlugin(AirflowPlugin):
    """Serves the page and ``POST /proxyorders/webhooks/{conn_id}``. The webhook's signature is the login."""

    name = "proxyorders"
    fastapi_apps: Any = _BuiltOnRead(_apps)
    fastapi_root_middlewares: Any = _BuiltOnRead(_middlewares)
    react_apps: Any = _BuiltOnRead(_pages)
