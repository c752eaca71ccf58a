"""Seeded random runs: real buyers, vendors, transport and ledger against the sandbox's own book, in virtual time.

Only sockets and time are replaced. Everything that happens (who goes first, what is lost, who is killed) is drawn from one
seed, so a run can be repeated to the letter::

    python -m tests.simulation --seeds 10000 --jobs 2 --resume campaign.json
    python -m tests.simulation --replay 4711 -v

``clockwork`` is time and workers, ``market`` the vendors and what they really took, ``network``, ``books`` and ``post`` where
things go wrong, ``scenario`` what a seed is about, ``tasks`` Airflow and ``people`` those beside it; ``checker`` and ``closing``
are the promises, ``verdict`` what excuses them; ``run`` is one seed, ``campaign`` many.
"""
