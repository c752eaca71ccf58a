"""The part of the provider that knows money and orders and nothing of Airflow."""
