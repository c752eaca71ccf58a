"""Webhooks: a receiver that verifies, keeps and answers, and nothing else."""
