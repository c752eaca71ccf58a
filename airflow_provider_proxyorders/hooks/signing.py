"""How a connection's webhooks are signed: the vendor's way, with the changes and secrets of the connection."""

from __future__ import annotations

import json
import secrets as randoms
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.wire.signatures import BadSignature, Scheme, has_key

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors import Vendor


def scheme_of(vendor: Vendor) -> Scheme:
    """The vendor's way to sign, with the changes of the connection's setting ``webhook_scheme``."""
    assert vendor.webhook is not None
    return vendor.account.settings.get("webhook_scheme") or vendor.webhook


def secrets_of(setting: Any) -> list[str]:
    """One secret or a list of secrets. Empty secrets are dropped, because every stranger could sign with them."""
    secrets = [setting] if isinstance(setting, str) else setting if isinstance(setting, list) else []
    return [secret for secret in secrets if isinstance(secret, str) and has_key(secret)]


def signed_sample(vendor: Vendor, clock: Callable[[], float]) -> tuple[str, bytes, dict[str, str]]:
    """A delivery of our own about an order that nobody has, signed as the vendor signs, and verified as the receiver verifies.

    :returns: its order id, the body and the headers.
    :raises ConfigError: the settings of the connection cannot sign, or what they sign is refused. Nothing was sent.
    """
    conn_id, secrets = vendor.account.conn_id, secrets_of(vendor.account.webhook_secret)
    if not secrets:
        text = (
            f"connection {conn_id!r} lacks the webhook_secret, so each webhook is refused. Nothing was sent. Add it to the extra."
        )
        raise ConfigError(text)
    order_id, scheme = f"proxyorders-test-{randoms.token_hex(6)}", scheme_of(vendor)
    sample = {name: value.replace("{order_id}", order_id) for name, value in vendor.webhook_sample.items()}
    body = json.dumps(sample).encode()
    headers = {}
    try:
        for secret in secrets:
            headers = scheme.sign(body, secret, now=clock(), message_id=order_id)
            scheme.verify(body, {name.lower(): value for name, value in headers.items()}, secrets, now=clock())
    except BadSignature as error:
        raise ConfigError(f"connection {conn_id!r}: a delivery signed with its own settings is refused: {error}") from None
    return order_id, body, headers
