"""A disk that loses power, fills up and is slow to sync, below SQLite and the high-water file.

Files lie in a real folder, so that the running process reads what it wrote; beside it the disk
remembers what would survive a power cut. `survivors` writes that into another folder.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from node.store.highwater import FileIdentity, LocalFiles

SECTOR_BYTES = 512
_names = itertools.count(1)


class PowerLost(Exception):
    """The power is gone: nothing more reaches the disk."""


@dataclass(slots=True)
class _Image:
    """One file as the platters hold it, and what was written to it since its last sync."""

    durable: bytearray | None = None  # None: not even its name would survive
    pending: list[Callable[[bytearray, random.Random], None]] = field(default_factory=list)
    deleted: bool = False  # gone, but its name may come back after a power cut


class FakeDisk:
    """The disk below one folder. `vfs` names it for apsw, `files` serves the high-water file."""

    def __init__(self, *, sync_s: float = 0.0, lose_after: int | None = None) -> None:
        """sync_s: how long a sync takes; lose_after: the power goes at this operation."""
        self.sync_s = sync_s
        self.lose_after = lose_after
        self.full = False
        self.operations = 0
        self.syncs = 0
        self.vfs = f"fake-disk-{next(_names)}"
        self.files = FakeFiles(self)
        self._burying = False
        self._images: dict[str, _Image] = {}
        self._vfs = _Vfs(self.vfs, self)

    def close(self) -> None:
        """Every connection to it must be closed before."""
        self._vfs.unregister()

    @contextlib.contextmanager
    def burying(self) -> Iterator[None]:
        """Close the connections of a dead process in here: nothing that they do reaches the disk.

        SQLite folds its log into the database when the last connection closes. A dead process does
        not, and a disk without power would refuse it.
        """
        self._burying = True
        try:
            yield
        finally:
            self._burying = False

    # What file systems call

    def write(self, path: str, offset: int, data: bytes) -> None:
        self._operate()
        self._image(path).pending.append(_Write(offset, data))

    def truncate(self, path: str, size: int) -> None:
        self._operate()

        def shorten(content: bytearray, _rng: random.Random) -> None:
            del content[size:]

        self._image(path).pending.append(shorten)

    def sync(self, path: str) -> None:
        self._operate()
        self.syncs += 1
        if self.sync_s:
            time.sleep(self.sync_s)
        image = self._image(path)
        if image.durable is None and path.endswith(("-wal", "-journal")):
            self._sync_folder(Path(path).parent)  # as SQLite does for a new journal
        content = image.durable if image.durable is not None else bytearray()
        whole = _AllOfIt()
        for change in image.pending:
            change(content, whole)
        image.durable, image.pending = content, []

    def delete(self, path: str, *, synced: bool) -> None:
        self._operate()
        if synced:
            self._images.pop(path, None)
        else:
            self._image(path).deleted = True

    def _sync_folder(self, folder: Path) -> None:
        for path, image in list(self._images.items()):
            if image.deleted and Path(path).parent == folder:
                del self._images[path]

    def replace(self, path: str, content: bytes) -> None:
        """Another file takes this name, synced before and after."""
        self._operate()
        self.syncs += 2
        if self.sync_s:
            time.sleep(2 * self.sync_s)
        self._images[path] = _Image(bytearray(content))
        self._sync_folder(Path(path).parent)

    def check_room(self, path: str, end: int) -> None:
        """Raises OSError ENOSPC for a write that makes its file longer on a full disk."""
        if self.full and (not os.path.exists(path) or end > os.path.getsize(path)):
            raise OSError(errno.ENOSPC, "no space left on device", path)

    # What tests call

    def adopt(self, folder: Path) -> None:
        """Take what lies in a folder, left by an earlier disk, as durable."""
        for path in folder.iterdir():
            self._images[str(path)] = _Image(bytearray(path.read_bytes()))

    def survivors(self, into: Path, seed: int = 0) -> None:
        """Write what a power cut now would leave: synced content and any part of the rest."""
        rng = random.Random(seed)
        into.mkdir(parents=True)
        for path, image in sorted(self._images.items()):
            if image.deleted and rng.random() < 0.5:
                continue
            if image.durable is None and rng.random() < 0.5:
                continue
            content = bytearray(image.durable or b"")
            for change in image.pending:
                if rng.random() < 0.5:
                    change(content, rng)
            (into / Path(path).name).write_bytes(content)

    def _operate(self) -> None:
        self.operations += 1
        if self.lose_after is not None and self.operations > self.lose_after:
            raise PowerLost(f"at operation {self.operations}")

    def _image(self, path: str) -> _Image:
        image = self._images.get(path)
        if image is None or image.deleted:
            image = self._images[path] = _Image()
        return image


class _AllOfIt(random.Random):
    """Chance that tears nothing."""

    def random(self) -> float:
        return 1.0


@dataclass(frozen=True, slots=True)
class _Write:
    offset: int
    data: bytes

    def __call__(self, content: bytearray, rng: random.Random) -> None:
        data = self.data
        if rng.random() < 0.3 and len(data) > SECTOR_BYTES:  # torn between two sectors
            data = data[: rng.randrange(len(data) // SECTOR_BYTES) * SECTOR_BYTES]
        if len(content) < self.offset + len(data):
            content.extend(bytes(self.offset + len(data) - len(content)))
        content[self.offset : self.offset + len(data)] = data


class _Vfs(apsw.VFS):
    def __init__(self, name: str, disk: FakeDisk) -> None:
        self._disk = disk
        super().__init__(name, "unix")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _VfsFile(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        if self._disk._burying:
            return
        self._disk.delete(filename, synced=syncdir)
        super().xDelete(filename, syncdir)


class _VfsFile(apsw.VFSFile):
    def __init__(self, disk: FakeDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._disk._burying:
            return
        if self._path:
            try:
                self._disk.check_room(self._path, offset + len(data))
            except OSError:
                raise apsw.FullError("disk full") from None
            self._disk.write(self._path, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        if self._disk._burying:
            return
        if self._path:
            self._disk.truncate(self._path, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        # The real sync is left out: these tests judge by the remembered image.
        if self._path and not self._disk._burying:
            self._disk.sync(self._path)


class FakeFiles:
    """The high-water file's operations on a FakeDisk."""

    def __init__(self, disk: FakeDisk) -> None:
        self._disk = disk
        self._real = LocalFiles()

    def read(self, path: Path) -> bytes | None:
        return self._real.read(path)

    def create(self, path: Path, content: bytes) -> None:
        self._disk.check_room(str(path) + ".new", len(content))
        self._disk.replace(str(path), content)
        path.write_bytes(content)

    def write_at(self, path: Path, offset: int, data: bytes) -> None:
        self._disk.check_room(str(path), offset + len(data))
        self._disk.write(str(path), offset, data)
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(data)
        self._disk.sync(str(path))

    def identity(self, path: Path) -> FileIdentity:
        """The same for a file and what survives of it: a power cut moves no inode."""
        return FileIdentity(1, 1, 1) if path.exists() else self._real.identity(path)
