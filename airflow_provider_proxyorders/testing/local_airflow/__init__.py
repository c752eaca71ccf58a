"""A real Airflow on this machine, for the demo and for tests: all its processes, one private folder, nothing left behind."""

from __future__ import annotations

from airflow_provider_proxyorders.testing.local_airflow.airflow import AirflowDidNotStart, LocalAirflow
from airflow_provider_proxyorders.testing.local_airflow.rest import RestApi, RestError

__all__ = ["AirflowDidNotStart", "LocalAirflow", "RestApi", "RestError"]
