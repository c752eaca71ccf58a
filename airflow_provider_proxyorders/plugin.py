"""The Airflow plugin: mounts the webhook receiver in the API server.

One rule: every task process imports this module, so the receiver is built only when the API server asks for it.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin


class _BuiltOnRead:
    """A class attribute that is built when it is read."""

    def __get__(self, instance: Any, owner: type) -> list[dict[str, Any]]:
        from airflow_provider_proxyorders.webhooks.app import receiver

        return [{"app": receiver(), "url_prefix": "/proxyorders/webhooks", "name": "Proxy orders webhooks"}]


class ProxyOrdersPlugin(AirflowPlugin):
    """Serves ``POST /proxyorders/webhooks/{conn_id}``. The webhook's signature is the login."""

    name = "proxyorders"
    fastapi_apps: Any = _BuiltOnRead()
