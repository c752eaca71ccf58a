"""Which errors Airflow tries again, and when: a try never buys twice, so only time is at stake."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction

from airflow_provider_proxyorders.domain import errors
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError, Throttled
from airflow_provider_proxyorders.ledger import StaleClaim
from airflow_provider_proxyorders.tasks.retry_policy import LATER, SOON, OrderRetryPolicy
from airflow_provider_proxyorders.wire.messages import LONGEST_ASKED

#: what the head of errors.py says of each
SAID: dict[str, str] = {
    **dict.fromkeys(
        ("InvalidRequest", "InvalidParameter", "UnsupportedOperation", "ConfigError", "OrderKeyConflict", "CapExceeded"), "never"
    ),
    **dict.fromkeys(("AuthenticationFailed", "OrderingNotPermitted", "OrderNotFound", "RequestRefused"), "never"),
    **dict.fromkeys(("InsufficientFunds", "SpendRefused", "OutcomeUnknown", "Quarantined", "OrderNotUsable"), "never"),
    **dict.fromkeys(("NotDue", "NotFarEnough"), "never"),
    **dict.fromkeys(("WalletHeld", "LedgerError", "NeverSent", "VendorUnavailable", "UnreadableAnswer"), "soon"),
    **dict.fromkeys(("Throttled", "OrderPending", "OrderMissing"), "later"),
}
CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, ProxyOrdersError) and name not in ("ProxyOrdersError", "VendorError")
}


def made(name: str) -> ProxyOrdersError:
    kind: Any = CLASSES[name]
    return kind("quantity", "must be positive") if name in ("InvalidRequest", "InvalidParameter") else kind("what happened")  # type: ignore[no-any-return]


def decision(error: BaseException) -> Any:
    return OrderRetryPolicy().evaluate(error, 1, 3)


def test_every_error_is_thought_of() -> None:
    assert set(CLASSES) == set(SAID)


@pytest.mark.parametrize("name", sorted(SAID))
def test_each_error(name: str) -> None:
    decided = decision(made(name))
    if SAID[name] == "never":
        assert decided.action is RetryAction.FAIL
    else:
        assert decided.action is RetryAction.RETRY
        assert decided.retry_delay == (SOON if SAID[name] == "soon" else LATER)
    assert name in decided.reason and "what happened" not in decided.reason


@pytest.mark.parametrize("retry", ["never", "soon", "later"])
def test_an_error_may_know_better_than_its_class(retry: Any) -> None:
    decided = decision(errors.LedgerError("gone", retry=retry))
    assert decided.action is (RetryAction.FAIL if retry == "never" else RetryAction.RETRY)


@pytest.mark.parametrize("asked", [0.5, 90.0, LONGEST_ASKED])
def test_the_pause_that_a_vendor_asks_for(asked: float) -> None:
    decided = decision(Throttled("slow down", retry_after=asked))
    assert decided.retry_delay == timedelta(seconds=asked)
    assert datetime.now(timezone.utc) + decided.retry_delay


@pytest.mark.parametrize("asked", [None, 0.0])
def test_without_one(asked: float | None) -> None:
    assert decision(Throttled("slow down", retry_after=asked)).retry_delay == LATER


def test_a_claim_that_went_stale_is_tried_again() -> None:
    assert decision(StaleClaim("another worker")).action is RetryAction.RETRY


@pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x"), KeyboardInterrupt(), TimeoutError()])
def test_all_others_are_the_tasks_own_business(error: BaseException) -> None:
    assert decision(error).action is RetryAction.DEFAULT


def test_it_survives_being_written_down() -> None:
    again = OrderRetryPolicy.deserialize(OrderRetryPolicy().serialize())
    assert again.evaluate(errors.NeverSent("x"), 1, 3).retry_delay == SOON
