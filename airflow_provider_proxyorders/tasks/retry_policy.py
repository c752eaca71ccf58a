"""The retry policy of our tasks.

A retry buys at most once, so the policy is about time only. A lasting error fails the task at once. A passing error is retried
soon. An error in the vendor's hands is retried later. A ``Retry-After`` of the vendor sets the delay.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError, VendorError

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
        if isinstance(exception, VendorError) and exception.retry_after:
            delay = timedelta(seconds=exception.retry_after)
        return RetryDecision.retry(delay=delay, reason=f"{type(exception).__name__}: trying again, buying nothing twice")

    def serialize(self) -> dict[str, Any]:
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> OrderRetryPolicy:
        return cls()
