"""The folders of a slot: one where a unit works, one for its TMPDIR, one for what is kept of it.

The first two are the same folders for every unit of a slot, emptied between units: making and
removing folders waits for the file system's journal, and a unit that leaves nothing should cost
nothing. What a payload may have done to them (rights, attributes, replacing them) is undone.
"""

import os
import stat
from typing import Tuple

from pilot import folders

SHARED_MEMORY = "/dev/shm"
_MODE = 0o700


class Scratch:
    """work, tmp: paths that payloads see. base: the slot's folder as the runner reaches it.

    own_shared_memory: /dev/shm belongs to this slot alone.
    """

    def __init__(self, folder: str, base: str, own_shared_memory: bool) -> None:
        self.work = os.path.join(folder, "work")
        self.tmp = os.path.join(folder, "tmp")
        self.base = base
        self.out = os.path.join(base, "out")
        self._own_shared_memory = own_shared_memory
        self._inodes = (_inode(self.work), _inode(self.tmp))

    @staticmethod
    def make(folder: str) -> None:
        """Make a slot's folders; what was there before is removed."""
        folders.remove(folder)
        for name in ("work", "tmp", "out"):
            os.makedirs(os.path.join(folder, name), mode=_MODE)

    def disk_kib(self) -> int:
        """What the unit occupies now."""
        return folders.usage_kib(self.work) + folders.usage_kib(self.tmp)

    def shared_memory_kib(self) -> int:
        """What the unit keeps in files that live in memory."""
        if not self._own_shared_memory:
            return 0
        try:
            status = os.statvfs(SHARED_MEMORY)
        except OSError:
            return 0
        return (status.f_blocks - status.f_bfree) * status.f_frsize // 1024

    def clean(self) -> int:
        """Make everything as for the first unit; gives the KiB that lay there.

        Raises OSError if that cannot be done; the slot is of no use then.
        """
        disk_kib = self._clean(self.work, self._inodes[0]) + self._clean(self.tmp, self._inodes[1])
        if self._own_shared_memory:
            for name in os.listdir(SHARED_MEMORY):
                folders.remove(os.path.join(SHARED_MEMORY, name))
        else:
            self._remove_strangers()
        return disk_kib

    def _clean(self, folder: str, inode: Tuple[int, int]) -> int:
        status = os.lstat(folder)
        if (status.st_dev, status.st_ino) != inode:
            raise OSError("%s was replaced" % folder)
        disk_kib = 0
        if stat.S_IMODE(status.st_mode) != _MODE:
            os.chmod(folder, _MODE)
        if os.listdir(folder):
            disk_kib = folders.usage_kib(folder)
            if not folders.empty(folder):
                raise OSError("%s cannot be emptied" % folder)
        for name in os.listxattr(folder):
            os.removexattr(folder, name)
        return disk_kib

    def _remove_strangers(self) -> None:
        """Where payloads can reach their slot's folder: remove what they put there."""
        for name in os.listdir(self.base):
            if name not in ("work", "tmp", "out", "log"):
                folders.remove(os.path.join(self.base, name))


def _inode(path: str) -> Tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
