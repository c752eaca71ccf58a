"""Registers the secrets of a delivery with Airflow's masker."""

from __future__ import annotations

import logging
from urllib.parse import quote

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.model import Delivery

#: Airflow's masker rebuilds its whole pattern for every secret, in the task and in the process above it. 300 secrets take a
#: second in each process, 600 five seconds, 1,000 half a minute.
MOST_MASKED = 300


def mask(delivery: Delivery) -> None:
    """Register the passwords and codes of a delivery with Airflow's masker, plain and percent-encoded as in a URL.

    It registers the first 300 different ones and logs a warning if there are more, because Airflow takes minutes beyond that.
    """
    secrets = dict.fromkeys(delivery.secrets())
    forms = dict.fromkeys([*secrets, *(quote(secret, safe="") for secret in secrets)])
    _compat.mask_secret([*forms][:MOST_MASKED])
    if len(secrets) > MOST_MASKED:
        logging.getLogger(__name__).warning(
            "Order %s holds %d different passwords or codes; Airflow hides only the first %d in logs, so keep them out of logs",
            delivery.order_id,
            len(secrets),
            MOST_MASKED,
        )
