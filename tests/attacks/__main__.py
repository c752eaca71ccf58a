"""Take each guard away and see its attack succeed: ``python -m tests.attacks [-k WORD]``. It takes some minutes."""

from __future__ import annotations

import sys

import pytest

from tests.attacks.guards import GUARDS, Remover


def main(options: list[str]) -> int:
    """0 if the test of every removed guard fails."""
    remover = Remover()
    pytest.main(["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", *options, *GUARDS], plugins=[remover])
    for node, why in remover.broken.items():
        print(f"BROKEN    {node}: {why}")
    survived = [test for test in GUARDS if test not in remover.failed]
    for test in survived:
        print(f"SURVIVED  {test} without {GUARDS[test][0]}")
    print(f"{len(remover.failed)} of {len(GUARDS)} attacks succeed when their guard is taken away")
    return int(bool(survived or remover.broken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
