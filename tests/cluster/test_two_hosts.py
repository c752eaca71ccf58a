"""Two hosts with Celery, in short; ``make cluster`` has all disturbances. It needs what `make cluster` sets up."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.cluster.missing import missing
from tests.cluster.plan import waves
from tests.cluster.play import running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.skipif(bool(missing()), reason=missing())]


def test_a_killed_worker_of_two_hosts_buys_nothing_twice() -> None:
    """One worker of two dies with all it runs. The other host goes on, and the vendors' books have each order once."""
    (wave,) = waves(0, ["worker"], orders=8)
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder, running(Path(folder), print) as play:
        result = play.play(wave)
    assert not result.is_broken, result
    assert result.hosts == {"host-a", "host-b"}
