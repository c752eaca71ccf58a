"""Where a delivery goes, and how its file is replaced in one step.

Four rules. Readers see either the whole old file or the whole new one, and on this machine only its owner may read it. A draft
lies in a hidden folder of its own, so a reader of the files beside the target meets none. The draft of a killed writer goes with
the next delivery. Where another user made that folder, or a link in its place, nothing in it is written or removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import tempfile
import time
from contextlib import suppress

from airflow_provider_proxyorders.domain.errors import InvalidParameter

#: The folder of the drafts, beside the target: a rename stays within one file system.
DRAFTS = ".proxyorders-drafts"
#: Seconds after which a draft without a lock is left over. Its writer locks it within a moment.
LEFT_OVER_AFTER = 60.0

#: A path on this machine may also be written as an address.
LOCAL = ("", "file", "local")
EXAMPLE = "/var/proxies/fresh.txt"
_VARIABLE = re.compile(r"\$\w|\$\{")
#: Links one behind the other.
_MOST_LINKS = 40


def whole_path(path: str) -> str:
    """The path as every task can use it: one on this machine becomes absolute, with ``~`` replaced by the home folder.

    :raises InvalidParameter: it names a folder or a bucket, or holds a variable of the shell, or the home of an unknown user.
    """
    scheme, mark, rest = path.partition("://")
    if not mark:
        scheme, rest = "", path
    if _VARIABLE.search(path):  # a value from the environment may be secret, and the path is shown
        rule = (
            "must be without variables of the shell; use a template such as {{ var.value.folder }}, or os.environ in the DAG file"
        )
        raise InvalidParameter("path", rule, EXAMPLE, got=path)
    if rest.endswith("/") or (scheme not in LOCAL and not rest.partition("/")[2]):
        raise InvalidParameter("path", "must name a file, and it names a folder or a bucket", EXAMPLE, got=path)
    if scheme not in LOCAL:
        return path
    home = os.path.expanduser(rest)
    if home.startswith("~"):
        raise InvalidParameter("path", "begins with the home of an unknown user", EXAMPLE, got=path)
    return f"{scheme}{mark}{os.path.abspath(home)}"


def write_atomically(path: str, content: bytes) -> None:
    """Put a secret file in place in one step, readable by its owner only (mode 0600); missing folders are made (mode 0700).

    A link stays, and the file behind it is replaced.

    :raises OSError: it cannot be written; an old file stays as it was.
    """
    target = _behind_links(os.path.abspath(path))
    folder = os.path.dirname(target)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _require_file(target)
    handle, draft = _new_draft(folder)
    drafts = os.path.dirname(draft)
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


def _new_draft(folder: str) -> tuple[int, str]:
    """Make an empty draft with mode 0600; returns its descriptor and path."""
    drafts = os.path.join(folder, DRAFTS)
    for _ in range(100):
        with suppress(FileExistsError):  # it was there, whoever made it
            os.mkdir(drafts, mode=0o700)
        with suppress(FileNotFoundError):  # another writer has just removed the folder
            if not _is_private(drafts):
                break
            return tempfile.mkstemp(dir=drafts)
    return tempfile.mkstemp(dir=tempfile.mkdtemp(prefix=f"{DRAFTS}-", dir=folder))


def _is_private(drafts: str) -> bool:
    """Whether only this user can have put something into the folder. A link could lead to other files of this user."""
    around = os.lstat(drafts)
    return stat.S_ISDIR(around.st_mode) and around.st_uid == os.geteuid() and not around.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


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


def _behind_links(path: str) -> str:
    """The file that a path means.

    :raises OSError: the link belongs to another user in a folder for all, so it may lead anywhere.
    """
    for _ in range(_MOST_LINKS):
        if not os.path.islink(path):
            return path
        folder = os.path.dirname(path)
        around, owner = os.stat(folder), os.lstat(path).st_uid
        # the rule of Linux for links in folders such as /tmp (fs.protected_symlinks)
        if around.st_mode & stat.S_ISVTX and around.st_mode & stat.S_IWOTH and owner not in (os.geteuid(), around.st_uid):
            raise OSError(errno.EACCES, "it is a link of another user in a folder that all can write to")
        path = os.path.normpath(os.path.join(folder, os.readlink(path)))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _require_file(target: str) -> None:
    """:raises OSError: something else than a file is there, such as a folder or a device."""
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a device, a pipe or a socket")
