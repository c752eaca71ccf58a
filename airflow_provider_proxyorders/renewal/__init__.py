"""Finds expiring orders, decides whether an extension is due, and extends or replaces orders."""
