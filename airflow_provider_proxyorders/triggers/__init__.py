"""Triggers wait in the triggerer and only read; a client without the right to spend makes their calls.

Read the room in this order:

- ``subscription.py``, ``subscribers.py``: one waiting trigger, and all waiting triggers of a connection.
- ``backoff.py``, ``gate.py``: the pauses of a vendor in trouble, and the only way to ask a vendor.
- ``schedule.py``, ``missing.py``, ``poller.py``: the order of the looks, orders that reads do not show, and the loop behind them.
- ``telling.py``, ``background.py``: logs, measures, and work beside the loop.
- ``orders.py``, ``wallet.py``: the triggers themselves. ``events.py``, ``balance.py``, ``inbox_listener.py``: their sources.
"""
