"""What can be wrong with a connection or a ledger, and how to fix it."""
