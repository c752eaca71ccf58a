"""Sensors: the tasks that only wait."""
