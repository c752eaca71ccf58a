"""Which orders end, whether an extension is due, and what replaces an order that cannot be extended."""
