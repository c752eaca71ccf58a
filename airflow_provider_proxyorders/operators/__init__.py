"""Operators: the tasks that buy and extend."""
