"""A month of keeping orders paid, day by day, under a real scheduler; ``python -m tests.month --orders 200 --days 30``.

The project's own ``dags/scheduled_renewal.py`` runs every day for each term, and a copy of it under another name does the same at
the same moment. Days are missed, one run is cleared and another one started by hand, the vendor renews some orders by itself, the
wallet runs dry and is topped up days later, and two DAGs check it after every day's runs. The sandbox's own book says who was
paid, when and for what; ``books.py`` compares it, to the cent, with the reports, the alerts, the ledger and the wallet.

Only the vendor's clock is fast. It stands still while runs go on and jumps from day to day between them, so it is ahead of
this machine's by up to two months, and this is what that means:

- "the next three days" is asked for as "three days and as much as the vendor is ahead", since the tasks count from this machine's
  clock. That finds the same orders: none of them ends between now and the vendor's now, but those that are over at the vendor.
- Orders begin at half past, runs at the full hour: a run that is half an hour late sees the same orders.
- Limits for a day or a month would count all of it as one day of this machine, so the connection has none.
- What was paid per day, which the checks tell beside the runway, is meaningless here and is not looked at.
- An alert's name holds its horizon by default, which differs from day to day here, so the checks name it.
"""
