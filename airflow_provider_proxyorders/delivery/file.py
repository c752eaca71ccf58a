"""Replaces a secret file in one step.

Three rules. Readers see either the whole old file or the whole new one, and on this machine only its owner may read it. A draft
lies in a hidden folder of its own, so a reader of the files beside the target meets none. The draft of a killed writer goes with
the next delivery.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import suppress

#: The folder of the drafts, beside the target: a rename stays within one file system.
DRAFTS = ".proxyorders-drafts"
#: Seconds after which a draft without a lock is left over. Its writer locks it within a moment.
LEFT_OVER_AFTER = 60.0


def write_atomically(path: str, content: bytes) -> None:
    """Put a secret file in place in one step, readable by its owner only (mode 0600); missing folders are made (mode 0700).

    :raises OSError: it cannot be written; an old file stays as it was.
    """
    target = os.path.abspath(path)
    drafts = os.path.join(os.path.dirname(target), DRAFTS)
    handle, draft = _new_draft(drafts)
    try:
        with os.fdopen(handle, "wb") as file:
            _lock(handle)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(draft, target)
    except BaseException:
        os.unlink(draft)
        raise
    finally:
        _remove_left_over(drafts)
        with suppress(OSError):  # another writer uses it
            os.rmdir(drafts)


def _new_draft(drafts: str) -> tuple[int, str]:
    """Make an empty draft with mode 0600; returns its descriptor and path."""
    for _ in range(100):
        os.makedirs(drafts, mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):  # another writer has just removed the folder
            return tempfile.mkstemp(dir=drafts)
    return tempfile.mkstemp(dir=drafts)


def _lock(handle: int) -> bool:
    """Lock a draft until its writer ends, however it ends; False if another process holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_left_over(drafts: str) -> None:
    with suppress(OSError):
        for name in os.listdir(drafts):
            path = os.path.join(drafts, name)
            with suppress(OSError), open(path, "rb") as file:
                if time.time() - os.stat(path).st_mtime > LEFT_OVER_AFTER and _lock(file.fileno()):
                    os.unlink(path)
