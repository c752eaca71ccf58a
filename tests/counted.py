"""What a ledger counts for the limits of a wallet."""

from decimal import Decimal

from airflow_provider_proxyorders.ledger import spending
from airflow_provider_proxyorders.ledger.ledger import Ledger


def counted(ledger: Ledger, wallet: str) -> Decimal:
    """The amount that counts for a wallet's limits, over all days, in major units."""
    return sum(spending.by_day(ledger.engine, wallet, "0000-01-01").values(), Decimal(0))
