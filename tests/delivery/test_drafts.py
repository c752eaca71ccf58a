"""The draft of a delivery: out of the way of readers, and removed when its writer was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_provider_proxyorders.delivery import file as module
from airflow_provider_proxyorders.delivery.file import DRAFTS, write_atomically

#: Stops between the draft and its new name, until it is killed.
WRITER = """
import os, sys, time
from airflow_provider_proxyorders.delivery import file
def stop(*_):
    print("drafted", flush=True)
    time.sleep(60)
file.os.replace = stop
file.write_atomically(sys.argv[1], b"secret-of-the-killed")
"""


def test_a_killed_writer_leaves_nothing_after_the_next_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "fresh.txt"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"drafted\n"
        (draft,) = (tmp_path / DRAFTS).iterdir()
        old = time.time() - module.LEFT_OVER_AFTER - 1
        os.utime(draft, (old, old))
        assert [path.name for path in tmp_path.glob("*.*")] == [DRAFTS]
        assert (draft.stat().st_mode & 0o777, draft.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        write_atomically(str(tmp_path / "other.txt"), b"other")
        assert draft.exists(), "its writer lives"
        writer.send_signal(signal.SIGKILL)
    write_atomically(str(target), b"fresh")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["fresh.txt", "other.txt"]


def test_a_young_draft_may_be_about_to_be_locked(tmp_path: Path) -> None:
    (tmp_path / DRAFTS).mkdir()
    (tmp_path / DRAFTS / "young").touch()
    write_atomically(str(tmp_path / "fresh.txt"), b"fresh")
    assert (tmp_path / DRAFTS / "young").exists()


def test_many_writers_in_one_folder(tmp_path: Path) -> None:
    """Each makes the folder of the drafts, and removes it when it is empty."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write_atomically(str(tmp_path / f"{number % 10}.txt"), b"x" * number), range(400)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{number}.txt" for number in range(10)]


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    (tmp_path / "fresh.txt").mkdir()
    with pytest.raises(OSError):
        write_atomically(str(tmp_path / "fresh.txt"), b"fresh")
    assert [path.name for path in tmp_path.rglob("*")] == ["fresh.txt"]
