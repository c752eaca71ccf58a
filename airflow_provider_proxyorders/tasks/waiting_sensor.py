"""What a deferred sensor does when the triggerer cannot read what it waits for: it looks itself for a while.

Two rules: it is put aside again no sooner than after that while, or a connection that only workers know would send it to and
fro every few seconds; and what it waits for ends it at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow.sdk import PokeReturnValue

from airflow_provider_proxyorders.tasks.order_operator import POLLED_IN_WORKER

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor
    from airflow_provider_proxyorders.sensors.wallet import WalletBalanceSensor


def poll_in_worker(
    sensor: ProxyOrderSensor | WalletBalanceSensor, context: Context, reason: Any, deadline: datetime, pause: Callable[[], float]
) -> PokeReturnValue:
    """Poke until it is done, for about a minute and not beyond the deadline.

    :param reason: name of the triggerer's error.
    :param pause: seconds before the next look.
    :raises ProxyOrdersError: as a poke does.
    """
    until = min(deadline, datetime.now(timezone.utc) + timedelta(seconds=POLLED_IN_WORKER))
    left = (until - datetime.now(timezone.utc)).total_seconds()
    sensor.log.warning("The triggerer could not look (%s); the worker does for the next %.0f s", reason, max(0.0, left))
    while left > 0:
        wanted = pause()
        time.sleep(min(wanted, left))
        if wanted > left and sensor.poll_intervals.trouble:
            break  # the vendor is to be left alone for longer than this
        seen = sensor.poke(context)
        if seen.is_done:
            return seen
        left = (until - datetime.now(timezone.utc)).total_seconds()
    return PokeReturnValue(is_done=False)
