"""Many seeds: in parallel, with progress, resumable, counted.

Two rules: what was done is written to the state file before it is shown, so that a campaign that is stopped goes on where it
was; and a broken promise never stops the others, it is kept with its seed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Seeds that a process does at a time, and seconds between two lines of progress.
CHUNK, EVERY = 20, 5.0


@dataclass
class State:
    """How far a campaign is; what the state file holds.

    :param done: ranges of seeds that were run, first and behind the last.
    :param failures: by seed, what was broken.
    """

    first: int
    seeds: int
    done: list[tuple[int, int]] = field(default_factory=list)
    failures: dict[int, list[str]] = field(default_factory=dict)
    stats: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def finished(self) -> int:
        return sum(end - begin for begin, end in self.done)

    def chunks(self) -> Iterator[tuple[int, int]]:
        """What is left to do."""
        done = {begin for begin, _ in self.done}
        for begin in range(self.first, self.first + self.seeds, CHUNK):
            if begin not in done:
                yield begin, min(begin + CHUNK, self.first + self.seeds)

    def add(self, chunk: Chunk) -> None:
        self.done.append((chunk.begin, chunk.end))
        self.stats.update(chunk.stats)
        self.failures.update(chunk.failures)

    def save(self, path: Path) -> None:
        """Write the state in one go, so that it is whole whenever the campaign is stopped."""
        beside = path.with_suffix(path.suffix + ".new")
        beside.write_text(json.dumps(vars(self)))
        os.replace(beside, path)

    @classmethod
    def load(cls, path: Path) -> State:
        saved = json.loads(path.read_text())
        failures = {int(seed): broken for seed, broken in saved["failures"].items()}
        done = [(begin, end) for begin, end in saved["done"]]
        return cls(saved["first"], saved["seeds"], done, failures, Counter(saved["stats"]), saved["seconds"])


@dataclass
class Chunk:
    """What came of some seeds."""

    begin: int
    end: int
    failures: dict[int, list[str]]
    stats: Counter[str]


def do(seeds: tuple[int, int]) -> Chunk:
    """Run some seeds in this process."""
    import logging

    from .run import run

    log = logging.getLogger("airflow_provider_proxyorders")
    before, chunk = log.level, Chunk(*seeds, failures={}, stats=Counter())
    log.setLevel(logging.CRITICAL)  # what it would say is in the log of the run
    try:
        for seed in range(*seeds):
            try:
                result = run(seed)
            except Exception as error:  # a mistake of the simulation itself must not hide what the other seeds find
                chunk.failures[seed] = [f"the run broke off: {type(error).__name__}: {error}"]
                continue
            chunk.stats.update(result.stats)
            chunk.stats[f"seeds, {result.kind}"] += 1
            if result.failures:
                chunk.failures[seed] = result.failures
    finally:
        log.setLevel(before)
    return chunk


def campaign(state: State, *, jobs: int, path: Path | None = None, say: Callable[[str], None] = print) -> State:
    """Run what is left of a campaign.

    :param jobs: processes.
    :param path: where the state is kept.
    :param say: receives a line of progress every few seconds.
    """
    began, last_line, before, already = time.monotonic(), time.monotonic(), state.seconds, state.finished
    for chunk in _spread(list(state.chunks()), jobs):
        state.add(chunk)
        state.seconds = before + time.monotonic() - began
        if path is not None:
            state.save(path)
        for seed, broken in chunk.failures.items():
            say(f"seed {seed}: {broken[0]}")
        if time.monotonic() - last_line > EVERY or state.finished == state.seeds:
            last_line = time.monotonic()
            rate = (state.finished - already) / max(last_line - began, 0.001)
            left = (state.seeds - state.finished) / rate
            say(
                f"{state.finished} of {state.seeds} seeds, {len(state.failures)} broken, {rate:.1f} a second, "
                f"{int(left) // 60}:{int(left) % 60:02} to go"
            )
    return state


def _spread(chunks: Sequence[tuple[int, int]], jobs: int) -> Iterable[Chunk]:
    if jobs == 1:
        yield from map(do, chunks)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(do, chunks)


def summary(state: State) -> str:
    """The counts of a campaign."""
    stats = state.stats
    lines = [
        f"{state.finished} seeds in {state.seconds:.0f} s, {len(state.failures)} broken",
        f"{stats['intended']} purchases intended, {stats['bought']} bought, by {stats['tries']} tries, of which "
        f"{stats['killed']} were killed and {stats['frozen']} held up",
        f"{stats['asked a person']} purchases needed a person",
    ]
    shown = ("intended", "bought", "tries", "killed", "frozen", "asked a person")
    lines += [f"  {name}: {count}" for name, count in sorted(stats.items()) if name not in shown and count]
    lines += [f"  seed {seed}: {broken[0]}" for seed, broken in sorted(state.failures.items())]
    if state.failures:
        lines.append(f"replay one with: {sys.executable} -m tests.simulation --replay {min(state.failures)} -v")
    return "\n".join(lines)
