"""Checks of a connection and of the ledger, with advice."""
