"""The folder in which one pilot works: its own, below what the settings or the batch system name.

Pilots of one submission share one settings file, and may share a host and its /tmp. So each has a
folder of its own, with a name that nobody can guess and take first, and a lock in it that lives as
long as the pilot: what a killed one left behind is found by that, and removed by the next.
"""

import fcntl
import os
import re
import socket
import tempfile
from typing import Iterable, Optional

from pilot import folders

PREFIX = "floe-pilot-"
SWEPT_MAX = 100  # leftovers that one pilot removes
_LOCK = "lock"
_NAME_CHARS_MAX = 100
_HOST_BYTES_MAX = 256


class Place:
    """A folder, held by an open lock. own: it was made here, and goes at the end."""

    def __init__(self, folder: str, lock_fd: Optional[int]) -> None:
        self.folder = folder
        self._lock_fd = lock_fd

    def leave(self) -> None:
        """Remove the folder, if it was made here."""
        if self._lock_fd is not None:
            folders.remove(self.folder)
            os.close(self._lock_fd)
            self._lock_fd = None


def given(folder: str) -> Place:
    """A folder that is for this pilot alone already. Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return Place(folder, None)


def below(bases: Iterable[str], name: str) -> Place:
    """A new folder of our own in the first of these that can be had.

    name: what tells pilots apart for people: tag and job. Raises OSError if none can.
    """
    fault: Optional[OSError] = None
    for base in bases:
        try:
            return _new(base, name)
        except OSError as error:
            fault = fault or error
    raise fault or FileNotFoundError("no folder to work in")


def _new(base: str, name: str) -> Place:
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:_NAME_CHARS_MAX]
    folder = tempfile.mkdtemp(prefix="%s%s-" % (PREFIX, plain), dir=base)
    lock_fd = os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(lock_fd, socket.gethostname().encode("utf-8", "replace")[:_HOST_BYTES_MAX])
    return Place(folder, lock_fd)


def sweep(base: str) -> int:
    """Remove what pilots of this account and this host left in `base` when they were killed.

    Locks of another host may not show on a shared file system, so only this host's count. A folder
    without a host in it is one that is just being made. Returns how many went.
    """
    swept = 0
    try:
        names = sorted(name for name in os.listdir(base) if name.startswith(PREFIX))
    except OSError:
        return 0
    for name in names:
        if swept >= SWEPT_MAX:
            break
        swept += _sweep_one(os.path.join(base, name))
    return swept


def _sweep_one(folder: str) -> bool:
    try:
        if os.lstat(folder).st_uid != os.geteuid():
            return False
        lock_fd = os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if os.read(lock_fd, _HOST_BYTES_MAX) != socket.gethostname().encode("utf-8", "replace"):
            return False
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return folders.remove(folder)
    except OSError:
        return False
    finally:
        os.close(lock_fd)
