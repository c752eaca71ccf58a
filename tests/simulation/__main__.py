"""The campaign command; see the package's docstring for examples."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from .campaign import State, campaign, summary
from .run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Seeded random runs against the promises.")
    parser.add_argument("--seeds", type=int, default=500, help="how many seeds (500)")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first one (1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--state", "--resume", type=Path, dest="state", help="file that keeps how far it is; an old one goes on")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed again")
    parser.add_argument("-v", "--verbose", action="store_true", help="with --replay: show everything that happened")
    options = parser.parse_args()
    if options.replay is not None:
        return replay(options.replay, options.verbose)
    state = State(options.first, options.seeds)
    if options.state is not None and options.state.exists():
        state = State.load(options.state)
        print(f"going on after {state.finished} of {state.seeds} seeds")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that its processes end with it
    try:
        campaign(state, jobs=options.jobs, path=options.state, say=lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        where = f"; go on with --resume {options.state}" if options.state else ""
        print(f"stopped after {state.finished} of {state.seeds} seeds{where}")
        return 130
    print(summary(state))
    return 1 if state.failures else 0


def replay(seed: int, verbose: bool) -> int:
    """Run one seed; a broken one, or with ``verbose`` any, shows its log with virtual times."""
    result = run(seed)
    if verbose or result.failures:
        print("\n".join(result.log))
    print(f"seed {seed} ({result.kind}): {'; '.join(result.failures) or 'every promise kept'}")
    return 1 if result.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
