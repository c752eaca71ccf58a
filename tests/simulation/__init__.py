"""Seeded random runs: real desks, vendors, transport and ledger against the sandbox's own book, in virtual time.

Only the socket is replaced, and time. Everything that happens (who goes first, what is lost, who is killed) is drawn from
one seed, so a run can be repeated to the letter::

    python -m tests.simulation --seeds 10000 --jobs 2
    python -m tests.simulation --replay 4711 -v

``clockwork`` is time and workers, ``market`` the vendors and what they really took, ``network`` and ``books`` where things go
wrong, ``scenario`` what a seed is about, ``tasks`` Airflow and the person, ``checker`` the promises, ``campaign`` many seeds.
"""
