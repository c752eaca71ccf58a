"""Triggers: they wait in the triggerer and only read; their transport has no way to spend."""
