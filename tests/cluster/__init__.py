"""Orders on two hosts with Celery while parts are killed, judged by the vendors' own books; ``make cluster``.

``services`` are PostgreSQL and Redis, ``hosts`` the two Airflow hosts, ``plan`` what a seed does, ``kills`` the disturbances,
``play`` runs it, and ``books`` judges. Every part comes from the project's own locked requirements, except Redis, which is
Debian's package.
"""

from __future__ import annotations
