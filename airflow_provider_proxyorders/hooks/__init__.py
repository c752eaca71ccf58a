"""The hooks: an Airflow connection becomes an account, and the account a buyer."""
