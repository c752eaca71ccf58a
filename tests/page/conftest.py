"""The page's API in this process: Airflow's own database, log-in and rights, the plugin's apps, and real ledgers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.model import Actor, Money, OrderStatus, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Intent, Ledger, open_ledger
from airflow_provider_proxyorders.plugin import ProxyOrdersPlugin
from tests.hooks import connections
from tests.hooks.connections import Shops
from tests.ledgers import sqlite_ledger

ROLES = ("admin", "op", "user", "viewer")
#: Users of teams, for tests with several teams.
TEAMS = {"reds": "red", "blues": "blue"}
PAGE = "/proxyorders/page/api"


@dataclass
class Visitor:
    """A logged-in user of the page."""

    client: Any
    headers: dict[str, str]

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"{PAGE}/{path}", params=query, headers=self.headers)

    def post(self, path: str, body: Any) -> Any:
        return self.client.post(f"{PAGE}/{path}", json=body, headers={"X-Proxyorders": "1", **self.headers})


@pytest.fixture(scope="module")
def airflow_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The plugin's part of an API server, behind Airflow's log-in, with four users.

    The rest of the server takes ten times as long to build; the tests in a browser have a whole one.
    """
    folder = tmp_path_factory.mktemp("api")
    passwords = folder / "passwords.json"
    passwords.write_text(json.dumps({name: name for name in (*ROLES, *TEAMS)}))
    settings = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{role}:{role}" for role in ROLES),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-the-tests-that-is-long-enough-for-a-signature-0123456789",
        "AIRFLOW__API__SECRET_KEY": "another-secret-of-the-tests",
        "_AIRFLOW_PROCESS_CONTEXT": "server",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        from airflow.api_fastapi.app import init_auth_manager, purge_cached_app
        from airflow.utils.db import initdb
        from fastapi import FastAPI

        initdb()
        api = FastAPI()
        for part in ProxyOrdersPlugin.fastapi_apps:
            api.mount(part["url_prefix"], part["app"])
        init_auth_manager(api)
        yield api
        purge_cached_app()


@pytest.fixture(scope="module")
def client(airflow_app: Any) -> Iterator[Any]:
    from fastapi.testclient import TestClient

    with TestClient(airflow_app) as client:
        yield client


@pytest.fixture(scope="module")
def log_in(client: Any) -> Callable[[str], Visitor]:
    """Logs a user in by name, which is also the password."""
    tokens: dict[str, str] = {}

    def visitor(name: str) -> Visitor:
        if name not in tokens:
            answer = client.post("/auth/token", json={"username": name, "password": name})
            assert answer.status_code == 201, answer.text
            tokens[name] = answer.json()["access_token"]
        client.cookies.clear()
        return Visitor(client, {"Authorization": f"Bearer {tokens[name]}"})

    return visitor


@pytest.fixture
def teams(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two teams with a connection each; a third connection is outside of Airflow's database."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    users = ",".join(f"{name}:op:{team}" for name, team in TEAMS.items())
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", users)
    from airflow.models import Connection
    from airflow.models.team import Team
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        session.add_all(Team(name=team) for team in TEAMS.values())
        session.flush()
        session.add_all(Connection(f"voodoo_{team}", "voodoo", team_name=team) for team in TEAMS.values())
    yield
    with create_session() as session:
        session.execute(delete(Connection).where(Connection.team_name.in_(TEAMS.values())))
        session.execute(delete(Team).where(Team.name.in_(TEAMS.values())))


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    """Connections to the sandbox, and a ledger of their own, for real purchases in this process."""
    yield from connections.shops(tmp_path, monkeypatch)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The ledger that the page reads, on each database."""
    url = sqlite_ledger(tmp_path) if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", url)
    return open_ledger(url)


def task(dag_id: str = "buying", map_index: int = -1) -> Actor:
    return Actor(dag_id, "manual__2026-11-28", "order", map_index, 1, "worker-1")


def buy(
    ledger: Ledger,
    order_key: str,
    step: Step,
    *,
    conn_id: str = "voodoo_default",
    actor: Actor | None = None,
    order_id: str | None = None,
    vendor_status: str = "active",
    reason: str = "",
    **more: Any,
) -> Purchase:
    """A purchase that has come as far as a step."""
    actor = actor or task()
    vendor = conn_id.partition("_")[0]
    intent = Intent(
        order_key,
        more.pop("kind", "create"),
        vendor,
        conn_id,
        more.pop("wallet", f"{vendor}:{conn_id}"),
        "f" * 64,
        more.pop("request", {"quantity": 2}),
        Money.parse(more.pop("amount", "12.50"), "USD"),
        more.pop("target", None),
        takes_turn=False,
    )
    purchase = ledger.intend(intent, actor)
    if step is Step.INTENDED:
        return purchase
    purchase = ledger.claim(purchase, actor, evidence={}, sent_seconds=0)
    if step in (Step.SENT,):
        return purchase
    if step is Step.REJECTED:
        return ledger.record(purchase, step, "the vendor said no", actor)
    if step in (Step.UNKNOWN, Step.QUARANTINED):
        purchase = ledger.record(purchase, Step.UNKNOWN, "no answer", actor)
        return purchase if step is Step.UNKNOWN else ledger.record(purchase, step, reason or "evidence cannot decide", actor)
    status = OrderStatus(step.value) if step is not Step.PLACED else OrderStatus.PENDING
    order = VendorOrder(
        order_id or f"id-{order_key}",
        status,
        vendor_status,
        price=Money.parse("11.00", "USD"),
        reason=reason,
        expires_at=more.pop("expires_at", datetime.now(timezone.utc) + timedelta(days=30)),
        delivered=2,
    )
    return ledger.record(purchase, step, "as the vendor says", actor, vendor_order=order, confirmed=True)
