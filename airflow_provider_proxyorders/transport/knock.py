"""Sends one delivery of our own to our own receiver, to see whether webhooks arrive. Nothing of it reaches a vendor."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.transport.endpoint import USER_AGENT


def knock(url: str, body: bytes, headers: Mapping[str, str], timeout: float = 10.0) -> int:
    """Post a body; returns the status of the answer. A redirect counts as the answer, and the environment's proxies do not count.

    :raises ConfigError: nothing answers at this address.
    """
    import requests

    session = requests.Session()
    session.trust_env = False
    try:
        with session:
            sent = {"Content-Type": "application/json", "User-Agent": USER_AGENT, **headers}
            return session.post(url, data=body, headers=sent, timeout=timeout, allow_redirects=False).status_code
    except (requests.RequestException, ValueError) as error:
        raise ConfigError(f"the receiver at {url} gives no answer ({type(error).__name__}). Nothing was stored.") from None
