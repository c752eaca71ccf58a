"""Take each guard away and see its attack succeed: ``python -m tests.attacks [-k WORD]``. It takes some minutes."""

from __future__ import annotations

import sys

import pytest

from tests.attacks.guards import GUARDS, Remover


def main(options: list[str]) -> int:
    """0 if the test of every removed guard fails; with ``-k`` of those that it names."""
    remover = Remover()
    pytest.main(["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", *options, *GUARDS], plugins=[remover])
    for node, why in remover.broken.items():
        print(f"BROKEN    {node}: {why}")
    survived = [test for test in GUARDS if test in remover.run - remover.failed]
    for test in survived:
        print(f"SURVIVED  {test} without {GUARDS[test][0]}")
    print(f"{len(remover.failed)} of {len(remover.run)} attacks succeed when their guard is taken away")
    return int(bool(survived or remover.broken or not remover.run))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
