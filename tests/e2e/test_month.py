"""Six days of keeping orders paid, as ``make month`` does thirty: a missed day, two schedules, a dry wallet, a top-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow
from tests.month.books import summary, wrong
from tests.month.plan import WEEK, Plan
from tests.month.play import Month

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_every_order_is_paid_once_and_none_lapses_that_the_wallet_can_pay(
    airflow: LocalAirflow, box: Sandbox, ledger: Ledger, project: Path, tmp_path: Path
) -> None:
    story = Month(Plan.of(WEEK), airflow, box, ledger, tmp_path, project).play()
    assert wrong(story, box, ledger) == [], "\n".join(summary(story, box))
