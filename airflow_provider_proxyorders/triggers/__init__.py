"""Triggers wait in the triggerer and only read: their HTTP client has no way to spend.

Read the room in this order:

- ``subscription.py``, ``subscribers.py``: one trigger that waits for an order, and all of a connection.
- ``backoff.py``, ``gate.py``: how a vendor in trouble is left alone, and the only way to ask one.
- ``schedule.py``, ``poller.py``: which order is looked at next, and the loop that looks.
- ``telling.py``, ``background.py``: logs, measures, and work beside the loop.
- ``orders.py``, ``wallet.py``: the triggers themselves; ``events.py``, ``balance.py``, ``inbox_listener.py``: what feeds them.
"""
