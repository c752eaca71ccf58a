"""``Retry-After`` with any status: the error keeps it, and all waits obey it."""

from __future__ import annotations

import time
from datetime import timedelta
from email.utils import formatdate

import pytest

from airflow_provider_proxyorders.domain.errors import Throttled, VendorError, VendorUnavailable
from airflow_provider_proxyorders.purchase.polling import PollIntervals
from airflow_provider_proxyorders.tasks.retry_policy import SOON, OrderRetryPolicy
from airflow_provider_proxyorders.triggers.backoff import Backoff
from airflow_provider_proxyorders.wire.messages import LONGEST_ASKED
from tests.hooks.connections import Shops

STATUSES = {429: Throttled, 500: VendorUnavailable, 502: VendorUnavailable, 503: VendorUnavailable, 504: VendorUnavailable}


def failure(shops: Shops, status: int, after: str | None) -> VendorError:
    """The error of a worker's balance read meanwhile."""
    hook = shops.hook("iproyal")
    shops.box.fault("iproyal", "balance", status=status, headers={"Retry-After": after} if after else {})
    with pytest.raises(STATUSES[status]) as caught:
        hook.get_balance()
    return caught.value


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", STATUSES)
def test_it_is_given_by_all_who_wait(shops: Shops, status: int, form: str) -> None:
    error = failure(shops, status, "600" if form == "seconds" else formatdate(time.time() + 600, usegmt=True))
    assert shops.box.book.count("iproyal", "balance") == 1  # it is too long to wait for in a worker
    assert error.retry_after is not None and 590 < error.retry_after <= 600
    polling = shops.hook("iproyal").vendor.capabilities.polling
    assert (PollIntervals(polling).after_trouble(error, 0) or 0) >= error.retry_after
    backoff = Backoff(polling, 8)
    backoff.fail(error, 1000.0)
    assert backoff.until >= 1000 + error.retry_after
    assert OrderRetryPolicy().evaluate(error, 1, 3).retry_delay == timedelta(seconds=error.retry_after)


@pytest.mark.parametrize(
    "after", ["1893489300", "9" * 40, formatdate(time.time() + 1e8, usegmt=True)], ids=["a moment", "huge", "a date"]
)
@pytest.mark.parametrize("status", [429, 503])
def test_one_beyond_all_bounds_is_cut_and_said(shops: Shops, status: int, after: str) -> None:
    """A unix time in the place of seconds would stop a connection for 60 years."""
    error = failure(shops, status, after)
    assert error.retry_after == LONGEST_ASKED == 86400
    assert "asks for a pause of" in str(error) and "the pause is cut to 86400 s" in str(error)


def test_without_it_the_pause_is_ours(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    error = failure(shops, 503, None)
    assert error.retry_after is None
    assert OrderRetryPolicy().evaluate(error, 1, 3).retry_delay == SOON


def test_it_says_nothing_where_coming_back_cannot_help(shops: Shops) -> None:
    hook = shops.hook("iproyal")
    shops.box.fault("iproyal", "balance", status=401, headers={"Retry-After": "600"})
    with pytest.raises(VendorError) as caught:
        hook.get_balance()
    assert caught.value.retry_after is None
