"""The Airflow plugin: mounts the webhook receiver in the API server.

One rule: Airflow imports this in every task process, so nothing is built before the API server asks for it.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin


class _WhenAsked:
    """A class attribute that is built when it is read."""

    def __get__(self, instance: Any, owner: type) -> list[dict[str, Any]]:
        from airflow_provider_proxyorders.webhooks.app import receiver

        return [{"app": receiver(), "url_prefix": "/proxyorders/webhooks", "name": "Proxy orders webhooks"}]


class ProxyOrdersPlugin(AirflowPlugin):
    """Takes ``POST /proxyorders/webhooks/{conn_id}``; the signature is the log-in."""

    name = "proxyorders"
    fastapi_apps: Any = _WhenAsked()
