"""Which failures are worth another try.

A try never buys twice, so this is about time, not money: an error that cannot change by itself fails the task at once,
one that passes is tried soon, one that the vendor must settle is tried later; and where the vendor says when, then.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

SOON = timedelta(seconds=20)
LATER = timedelta(minutes=2)


class OrderRetryPolicy(RetryPolicy):
    """Asks our errors whether a retry can help; leaves all others to the task's own settings."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any | None = None) -> RetryDecision:
        from airflow_provider_proxyorders.domain.errors import ProxyOrdersError, VendorError

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
