"""The tab *Doctor*: the same words as the command, within the rights of the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import pytest

from airflow_provider_proxyorders.cli.doctor import describe
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.hooks.settings import ledger as ledger_of_settings
from airflow_provider_proxyorders.wallet.reconcile import reconcile
from tests.hooks.connections import REQUESTS, Shops

from .conftest import Visitor, buy

LIMITS = {"max_order_price": "25.00", "daily_limit": "200.00"}


@pytest.fixture
def triggerer(client: object) -> Iterator[None]:
    """A triggerer that runs, by Airflow's own database."""
    from airflow.jobs.job import Job
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        now = datetime.now(timezone.utc)
        job = Job(latest_heartbeat=now, start_date=now)
        job.job_type, job.state = "TriggererJob", "running"
        session.add(job)
    yield
    with create_session() as session:
        session.execute(delete(Job).where(Job.job_type == "TriggererJob"))


def test_a_purchase_that_waits_for_a_person_is_in_the_summary(
    log_in: Callable[[str], Visitor], shops: Shops, triggerer: None
) -> None:
    conn_id = shops.connect("voodoo", extra=LIMITS)
    buy(ledger_of_settings(), "lost", Step.QUARANTINED, conn_id=conn_id)
    report = log_in("admin").post("doctor", {"conn_id": conn_id}).json()
    assert (report["good"], report["summary"]) == (True, "it works; look at: webhook, ledger")
    assert describe(report).endswith(f"{conn_id}: {report['summary']}")


def test_what_is_broken_is_in_the_summary(log_in: Callable[[str], Visitor], shops: Shops) -> None:
    conn_id = shops.connect("voodoo", password="no such key", extra=LIMITS)
    report = log_in("admin").post("doctor", {"conn_id": conn_id}).json()
    assert (report["good"], report["summary"].partition(":")[0]) == (False, "broken") and "auth" in report["summary"]


def without_teams(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on one user may read every connection."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "False")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "admin:admin")


class TestTwoUsersWithOneKey:
    """Two connections of one account, under two spellings of its host: each has a wallet of its own."""

    @pytest.fixture
    def two(self, shops: Shops, teams: None) -> None:
        shops.hook("iproyal", conn_id="voodoo_red", extra=LIMITS).buyer()
        host = shops.box.url("iproyal").replace("127.0.0.1", "localhost")
        shops.connect("iproyal", "voodoo_blue", extra=LIMITS, host=host)
        reconcile(ProxyOrdersHook("voodoo_blue").buyer())
        ProxyOrdersHook("voodoo_red").create_order(REQUESTS["iproyal"], order_key="k")

    def test_the_others_connection_stays_without_its_name(self, log_in: Callable[[str], Visitor], two: None) -> None:
        report = log_in("blues").post("doctor", {"conn_id": "voodoo_blue"})
        checks = {check["name"]: check for check in report.json()["checks"]}
        assert "another connection holds the same key" in checks["connection"]["text"]
        assert "(bought through another connection)" in checks["list"]["text"]
        assert "voodoo_red" not in report.text

    def test_one_that_may_be_read_has_it(
        self, log_in: Callable[[str], Visitor], two: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        without_teams(monkeypatch)
        report = log_in("admin").post("doctor", {"conn_id": "voodoo_blue"})
        checks = {check["name"]: check["text"] for check in report.json()["checks"]}
        assert "connection 'voodoo_red' holds the same key" in checks["connection"]
        assert "(bought through 'voodoo_red')" in checks["list"]


class TestOneWalletOfTwoTeams:
    def test_a_purchase_of_the_other_stays_without_its_key(
        self, log_in: Callable[[str], Visitor], shops: Shops, teams: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("red", "blue"):
            hook = shops.hook("voodoo", conn_id=f"voodoo_{name}", extra={**LIMITS, "wallet": "shared"})
            wallet = hook.buyer().account.wallet
        ledger = ledger_of_settings()
        for name, step in (("red", Step.QUARANTINED), ("blue", Step.DELIVERED)):
            buy(ledger, f"key of {name}", step, conn_id=f"voodoo_{name}", wallet=wallet, order_id=f"o-{name}")
        wanted = {"order_key": "key of red", "word": "adopt", "order_id": "o-blue"}
        for path in ("decision/check", "decision"):
            refused = log_in("reds").post(path, wanted)
            assert refused.status_code == 409 and "key of blue" not in refused.text
            assert "belongs to a purchase of another connection already. Nothing was changed." in refused.json()["detail"]
        report = log_in("blues").post("doctor", {"conn_id": "voodoo_blue"})
        assert "key of red" not in report.text and "voodoo_red" not in report.text
        text = next(check["text"] for check in report.json()["checks"] if check["name"] == "ledger")
        assert "connections voodoo_blue, 1 more" in text
        without_teams(monkeypatch)
        assert "order key 'key of blue'" in log_in("admin").post("decision/check", wanted).json()["detail"]
