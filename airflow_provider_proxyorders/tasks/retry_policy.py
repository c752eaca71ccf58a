"""The retry policy of our tasks.

A retry buys at most once, so the policy is about time only. A lasting error fails the task at once. A passing error is retried
soon. An error in the vendor's hands is retried later. An error that knows its time sets the delay: the vendor's ``Retry-After``,
or what is left until a look at the vendor can decide. So a few retries are enough for a long ``settle``, too.

Airflow lets a policy set the delay of a retry, and does not let it add one: after the last retry the task fails as it is.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError

SOON = timedelta(seconds=20)
LATER = timedelta(minutes=2)


class OrderRetryPolicy(RetryPolicy):
    """Decides retries of our errors. The task's own settings decide all others."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any | None = None) -> RetryDecision:
        if not isinstance(exception, ProxyOrdersError):
            return RetryDecision.default()
        if exception.retry == "never":
            return RetryDecision.fail(reason=f"{type(exception).__name__}: a retry cannot change it")
        delay = SOON if exception.retry == "soon" else LATER
        if exception.retry_after:
            delay = timedelta(seconds=exception.retry_after)
        return RetryDecision.retry(delay=delay, reason=f"{type(exception).__name__}: trying again, buying nothing twice")

    def serialize(self) -> dict[str, Any]:
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> OrderRetryPolicy:
        return cls()
