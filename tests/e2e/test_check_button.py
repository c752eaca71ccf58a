"""Airflow's button *Test connection* works for a connection as the form saves it, at the first press."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow, RestError

from .conftest import VENDORS, connection

pytestmark = pytest.mark.e2e


def press(airflow: LocalAirflow, conn_id: str) -> Any:
    """The request of Airflow's page: the connection as the API shows it, empty text for each empty field, port 0 for none."""
    shown = airflow.api.call("GET", f"/connections/{conn_id}")
    names = ("conn_type", "description", "host", "login", "password", "schema")
    body = {name: shown[name] or "" for name in names}
    body |= {"connection_id": conn_id, "extra": shown["extra"] or "{}", "port": int(shown["port"] or 0)}
    return airflow.api.call("POST", "/connections/test", body)


@pytest.mark.parametrize("vendor", VENDORS)
def test_works_from_the_first_save_on(airflow: LocalAirflow, box: Sandbox, vendor: str) -> None:
    saved = connection(box, vendor)
    conn_id = f"made_in_the_form_{vendor}"
    form = {"connection_id": conn_id, **{name: saved[name] for name in ("conn_type", "host", "password")}}
    airflow.api.call("POST", "/connections", {**form, "extra": json.dumps(saved["extra"])})
    try:
        answer = press(airflow, conn_id)
        assert answer["status"] is True and "key accepted" in answer["message"], answer
        box.fault(vendor=vendor, action="status", status=401)
        answer = press(airflow, conn_id)
        assert answer["status"] is False and box.token(vendor) not in answer["message"]
    finally:
        airflow.api.call("DELETE", f"/connections/{conn_id}")


def test_a_key_is_not_sent_to_another_host(airflow: LocalAirflow, box: Sandbox) -> None:
    """Airflow's own check stays: the stored key goes to the stored host only."""
    shown = airflow.api.call("GET", "/connections/voodoo_default")
    body = {"connection_id": "voodoo_default", "conn_type": "voodoo", "host": "http://127.0.0.1:9", "password": "***", "port": 0}
    assert shown["password"] == "***"
    with pytest.raises(RestError, match="differs from the stored connection"):
        airflow.api.call("POST", "/connections/test", body)
