"""The outcome of a task that checks several wallets: one broken wallet stops no other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError


@dataclass
class WalletReport:
    """The wallets of a task, by connection.

    :param wallets: the task's result.
    :param errors: why a wallet, or its due renewals, could not be read.
    :param undelivered: alerts that some of the notifiers failed to send.
    """

    wallets: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)
    undelivered: list[str] = field(default_factory=list)

    def add_unreadable(self, conn_id: str, error: Exception) -> None:
        """Keep a wallet that could not be checked."""
        self.errors[conn_id] = error
        self.wallets[conn_id] = {"conn_id": conn_id, "state": None, "error": f"{type(error).__name__}: {error}"}

    def low(self) -> str | None:
        """The low wallets and the reason; ``None`` if all are well."""
        low = [facts for facts in self.wallets.values() if facts.get("state") == "low"]
        return "; ".join(f"wallet {facts['wallet']} is low: {facts['text']}" for facts in low) or None

    def partly_sent(self) -> str | None:
        """The notifiers that failed while others sent the alert; ``None`` if all did their work."""
        if not self.undelivered:
            return None
        return f"the alert went out, but not through every notifier: {'; '.join(self.undelivered)}"

    def error(self) -> ProxyOrdersError | None:
        """The error for the unreadable wallets; ``None`` if all were read. It asks for a retry if a retry can help."""
        if not self.errors:
            return None
        details = "; ".join(f"{conn_id}: {type(error).__name__}: {error}" for conn_id, error in self.errors.items())
        others = " The others were checked." if len(self.wallets) > len(self.errors) else ""
        partly_sent = self.partly_sent()
        others += f" And {partly_sent}." if partly_sent else ""
        hopeless = all(isinstance(error, ProxyOrdersError) and error.retry == "never" for error in self.errors.values())
        return ProxyOrdersError(
            f"{len(self.errors)} of {len(self.wallets)} wallets could not be checked: {details.rstrip('.')}.{others}",
            retry="never" if hopeless else "soon",
        )
