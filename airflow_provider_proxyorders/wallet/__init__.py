"""Balance check, runway and reconciliation of one wallet."""
