"""Airflow's API server as a process of its own, under a path prefix, with four users: for tests in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow
from airflow_provider_proxyorders.testing.local_airflow.airflow import _free_port
from airflow_provider_proxyorders.testing.local_airflow.rest import RestApi

ROLES = ("admin", "op", "user", "viewer")
PREFIX = "/team/af"


@contextmanager
def api_server(
    home: Path, ledger_url: str, env: dict[str, str] | None = None, dags: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The address of a running server, prefix included.

    :param env: further settings and connections.
    :param dags: sources of DAG files by name, which it knows.
    """
    home.mkdir(parents=True, exist_ok=True)
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({role: role for role in ROLES}))
    port = _free_port()
    url = f"http://127.0.0.1:{port}{PREFIX}"
    settings = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{role}:{role}" for role in ROLES),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__PROXYORDERS__LEDGER_URL": ledger_url,
    }
    airflow = LocalAirflow(home, dags_folder=home / "dags", env={**settings, **(env or {})})
    airflow.api = RestApi(url)
    airflow.run("db", "migrate")
    for name, source in (dags or {}).items():
        (home / "dags").mkdir(exist_ok=True)
        (home / "dags" / name).write_text(source)
    if dags:
        airflow.run("dags", "reserialize")
    try:
        airflow.start("api-server")
        yield url
    finally:
        airflow.stop("api-server")


def token(url: str, name: str) -> str:
    """The token of a user, for a cookie or a header."""
    body = json.dumps({"username": name, "password": name}).encode()
    request = Request(f"{url}/auth/token", body, {"Content-Type": "application/json"}, method="POST")
    with urlopen(request, timeout=30) as answer:
        made: Any = json.loads(answer.read())
        return str(made["access_token"])
