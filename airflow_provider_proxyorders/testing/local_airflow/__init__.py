"""A real Airflow on this machine, for the demo and for tests: all its processes, in one private folder, gone afterwards."""

from __future__ import annotations

from airflow_provider_proxyorders.testing.local_airflow.airflow import AirflowDidNotStart, LocalAirflow
from airflow_provider_proxyorders.testing.local_airflow.rest import ENDED, RestApi, RestError

__all__ = ["ENDED", "AirflowDidNotStart", "LocalAirflow", "RestApi", "RestError"]
