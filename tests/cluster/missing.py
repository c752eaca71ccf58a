"""What the cluster needs and tests cannot fetch: Debian's Redis, and an environment with Celery."""

from __future__ import annotations

from .hosts import READY
from .services import REDIS


def missing() -> str:
    """A sentence for people; empty where the cluster can start."""
    if REDIS is None:
        return "redis-server is missing; `make cluster` installs it as root on Debian."
    if not READY.exists():
        return "the environment with Celery is missing; `make cluster` makes it."
    return ""
