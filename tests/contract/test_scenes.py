"""P1 for vendor authors: the scenes of ``testing`` hold for every vendor, and notice a vendor or a guard that buys twice."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import RequestRefused
from airflow_provider_proxyorders.testing import SCENES, verify_never_twice
from tests.vendors import NAMES, VENDORS


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("vendor", NAMES)
def test_every_vendor_buys_once(vendor: str, scene: str) -> None:
    verify_never_twice(vendor, scene)


def test_a_vendor_that_calls_a_lost_answer_a_refusal_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(self: Any, request: Any, what: str, response: Any = None) -> Exception:
        return RequestRefused("no")

    monkeypatch.setattr(VENDORS["voodoo"], "unknown", careless)
    with pytest.raises(AssertionError):
        verify_never_twice("voodoo", "a gateway answers, the order was taken")


def test_a_repeat_that_the_vendor_takes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor declares a unique reference, but no reference is in its body: the repeat is a second order."""
    monkeypatch.setattr(VENDORS["voodoo"], "reference_in", lambda self, body: None)
    with pytest.raises(AssertionError, match="bought 2 times"):
        verify_never_twice("voodoo", "the answer is lost, the order was taken")
