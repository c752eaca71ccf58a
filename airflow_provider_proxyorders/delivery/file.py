"""Replaces a secret file in one step.

Readers see either the whole old file or the whole new one, and on this machine only its owner may read it.
"""

from __future__ import annotations

import os
import tempfile


def write_atomically(path: str, content: bytes) -> None:
    """Put a secret file in place in one step, readable by its owner only (mode 0600); missing folders are made (mode 0700).

    :raises OSError: it cannot be written; an old file stays as it was.
    """
    target = os.path.abspath(path)
    folder = os.path.dirname(target)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=folder, prefix=".", suffix=".new")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        os.unlink(draft)
        raise
