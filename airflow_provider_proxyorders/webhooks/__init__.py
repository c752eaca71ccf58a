"""Webhooks: a receiver that verifies, stores and answers. Triggers read the stored webhooks."""
