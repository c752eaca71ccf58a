"""Registers the secrets of a delivery, and of a login, with Airflow's masker."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.delivered import Delivery

#: Airflow's masker rebuilds its whole pattern for every secret, in the task and in the process above it. 300 secrets take a
#: second in each process, 600 five seconds, 1,000 half a minute.
MOST_MASKED = 300


def mask(delivery: Delivery) -> None:
    """Register the passwords and codes of a delivery with Airflow's masker, plain and percent-encoded as in a URL.

    It registers the first 300 different ones and logs a warning if there are more, because Airflow takes minutes beyond that.
    """
    secrets = list(dict.fromkeys(delivery.secrets()))
    forms = dict.fromkeys(form for secret in secrets[:MOST_MASKED] for form in (secret, quote(secret, safe="")))
    _compat.mask_secret([*forms])
    if len(secrets) > MOST_MASKED:
        logging.getLogger(__name__).warning(
            "Order %s holds %d different passwords or codes; Airflow hides only the first %d in logs, so keep them out of logs",
            delivery.order_id,
            len(secrets),
            MOST_MASKED,
        )


class MaskedSession(dict[str, Any]):
    """What a login leaves for the next calls; each text in it is a token, and is registered with Airflow's masker."""

    def __setitem__(self, name: str, value: Any) -> None:
        if isinstance(value, str):
            _compat.mask_secret(value)
        super().__setitem__(name, value)
