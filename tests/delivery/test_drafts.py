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


@pytest.mark.parametrize("trap", ["a link", "another user's", "open to all", "a file"])
def test_a_folder_of_drafts_that_somebody_else_made_is_left_alone(tmp_path: Path, trap: str) -> None:
    """A link would have old files elsewhere removed; a folder of another user would let that user change the draft."""
    shared, elsewhere = tmp_path / "shared", tmp_path / "dags"
    shared.mkdir()
    elsewhere.mkdir()
    old = elsewhere / "precious.py"
    old.write_text("precious")
    os.utime(old, (1, 1))
    drafts = shared / DRAFTS
    if trap == "a link":
        drafts.symlink_to(elsewhere)
    elif trap == "a file":
        drafts.touch()
    else:
        elsewhere.rename(drafts)
        old = drafts / "precious.py"
        if trap == "open to all":
            drafts.chmod(0o777)
        elif os.geteuid() == 0:
            os.chown(drafts, 12345, 12345)
        else:
            pytest.skip("only root can make a folder of another user")
    write_atomically(str(shared / "fresh.txt"), b"fresh")
    assert (shared / "fresh.txt").read_bytes() == b"fresh"
    assert old.read_text() == "precious"
    assert sorted(path.name for path in shared.iterdir()) == [DRAFTS, "fresh.txt"], "its own folder of drafts is gone"
