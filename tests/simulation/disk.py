"""The disk of a simulated site: it survives the process, loses power, and can be copied."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import apsw

from federation.entry import Entry
from node.home import LOCK_NAME
from node.store.database import DATABASE_NAME
from node.store.feeds import Feeds
from node.store.highwater import FileIdentity
from tests.fakes.disk import FakeDisk, FakeFiles, PowerLost

HIGH_WATER_NAME = "floe.highwater"
# SQLite makes the first anew; the second belongs to a process.
NOT_DATA = (f"{DATABASE_NAME}-shm", LOCK_NAME)


class SimDisk(FakeDisk):
    """A FakeDisk whose high-water file is bound to what the test calls the database's inode."""

    def __init__(self, inode: int = 1) -> None:
        super().__init__()
        self.inode = inode
        self.full_at: int | None = None  # after so many operations
        self.went_dark: Callable[[], None] = lambda: None  # told when an operation meets the end
        self.files = _Files(self)

    def _operate(self) -> None:
        if self.full_at is not None and self.operations >= self.full_at:
            self.full, self.full_at = True, None
        try:
            super()._operate()
        except PowerLost:
            self.went_dark()
            raise

    @property
    def dark(self) -> bool:
        """Whether an operation met the moment at which the power, or the process, ended."""
        return self.lose_after is not None and self.operations > self.lose_after

    def die_after(self, operations: int) -> None:
        """The power goes, or the process ends, in the middle of what follows."""
        self.lose_after = self.operations + operations

    def full_after(self, operations: int) -> None:
        """There is no room left in the middle of what follows."""
        self.full_at = self.operations + operations

    def kept(self, home: Path, into: Path) -> SimDisk:
        """The disk of the next process after a kill: the kernel still has what was written."""
        copy_files(home, into)
        disk = SimDisk(self.inode)
        for name, image in self._images.items():
            disk._images[str(into / Path(name).name)] = image
        return disk

    def survived(self, into: Path, seed: int) -> SimDisk:
        """The disk after a power cut: what was not synced is lost, kept or torn."""
        self.survivors(into, seed)
        disk = SimDisk(self.inode)
        disk.adopt(into)
        return disk


class _Files(FakeFiles):
    def __init__(self, disk: SimDisk) -> None:
        super().__init__(disk)
        self._sim = disk

    def identity(self, path: Path) -> FileIdentity:
        found = super().identity(path)
        return FileIdentity(found.device, self._sim.inode, found.volume)


def stored_entries(home: Path) -> list[Entry]:
    """Everything that a database holds, whether a node runs on it or not."""
    if not (home / DATABASE_NAME).exists():
        return []
    conn = apsw.Connection(str(home / DATABASE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [entry for _, entry in Feeds(conn).in_order()]
    except apsw.SQLError:  # not even its tables were made
        return []
    finally:
        conn.close()


def copy_files(home: Path, into: Path, *, but: tuple[str, ...] = ()) -> None:
    """Copy the data of a home as it is at this moment."""
    into.mkdir(parents=True, exist_ok=True)
    for path in sorted(home.iterdir()):
        if path.is_file() and path.name not in (*NOT_DATA, *but):
            shutil.copyfile(path, into / path.name)
