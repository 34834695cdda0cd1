"""The file that a unit's standard output and error go to: bounded, both ends kept."""

import ctypes
import os
from typing import Optional

from pilot import folders
from pilot.staging import CHUNK_BYTES, INLINE_BYTES_MAX, Blob, digest_of, digest_of_fd

KEPT_BYTES_MAX = 64 << 20  # of a longer log, this much: half from its start, half from its end
_FALLOC_FL_PUNCH_HOLE = 0x02 | 0x01  # and keep the size
_BLOCK = 4096

_libc = ctypes.CDLL(None, use_errno=True)


class LogFile:
    """One file, reused by the units of a runner, open for appending."""

    def __init__(self, folder: str, out: str) -> None:
        self._path = os.path.join(folder, "log")
        self._out = out
        self.fd = -1
        self._open()

    def _open(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self.fd = os.open(self._path, flags, 0o600)
        self._punched = _BLOCK * ((KEPT_BYTES_MAX // 2) // _BLOCK)  # holes end here

    def size(self) -> int:
        """Bytes written so far, also those that were cut out since."""
        return os.fstat(self.fd).st_size

    def write(self, text: str) -> None:
        """Add a line of the pilot's own."""
        try:
            os.write(self.fd, ("floe: %s\n" % text).encode("utf-8", "replace"))
        except OSError:
            pass

    def trim(self) -> None:
        """Give the disk back what lies between the two ends that will be kept."""
        end = (self.size() - KEPT_BYTES_MAX // 2) // _BLOCK * _BLOCK
        if end - self._punched < KEPT_BYTES_MAX // 8:
            return
        length = ctypes.c_int64(end - self._punched)
        start = ctypes.c_int64(self._punched)
        if _libc.fallocate(self.fd, _FALLOC_FL_PUNCH_HOLE, start, length) == 0:
            self._punched = end

    def tail(self, most: int) -> bytes:
        """The last bytes."""
        return os.pread(self.fd, most, max(0, self.size() - most))

    def part(self, offset: int, most: int) -> bytes:
        """What was written from `offset` on; what was cut out reads as zeros."""
        return os.pread(self.fd, most, offset)

    def take(self) -> Optional[Blob]:
        """The log as a blob, None if nothing was written; the file is empty afterwards."""
        size = self.size()
        if size == 0:
            return None
        if size <= INLINE_BYTES_MAX:
            data = os.pread(self.fd, size, 0)
            os.ftruncate(self.fd, 0)
            return digest_of(data), len(data), data, ""
        if size > KEPT_BYTES_MAX:
            self._shorten(size)
        os.lseek(self.fd, 0, os.SEEK_SET)
        digest, size = digest_of_fd(self.fd)
        name = folders.free_name(self._out, digest)
        os.rename(self._path, os.path.join(self._out, name))
        self._open()
        return digest, size, None, name

    def _shorten(self, size: int) -> None:
        """Replace the file by its two ends and a line that says what is missing."""
        half = KEPT_BYTES_MAX // 2
        notice = b"\n[floe: %d bytes of this log were left out here]\n" % (size - 2 * half)
        short = os.open(self._path + ".short", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._part(short, 0, half)
            os.write(short, notice)
            self._part(short, size - half, half)
        finally:
            os.close(short)
        os.rename(self._path + ".short", self._path)
        os.close(self.fd)
        self.fd = os.open(self._path, os.O_RDWR | os.O_APPEND)

    def _part(self, target: int, start: int, length: int) -> None:
        end = start + length
        while start < end:
            data = os.pread(self.fd, min(CHUNK_BYTES, end - start), start)
            if not data:
                return
            start += os.write(target, data)
