"""Files in and out of a scratch folder: inputs copied or fetched, outputs digested and kept.

Runs in the runner, behind its walls, so a description can name no file that the payload itself
could not read. Long work calls `tick` every few MB, which may raise to break it off.
"""

import errno
import hashlib
import os
import shutil
import stat
import urllib.error
import urllib.request
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote, unquote, urlsplit

from pilot import folders
from pilot.folders import Tick
from pilot.messages import canonical
from pilot.scratch import Scratch

CHUNK_BYTES = 4 << 20
FETCH_S_MAX = 60.0  # silence of a server, not the whole transfer
OUTPUTS_MAX = 1000  # files a unit
INLINE_BYTES_MAX = 32 << 10  # smaller blobs travel inside messages
Blob = Tuple[str, int, Optional[bytes], str]  # digest (hex), size, bytes | None, file name | ""


class Failed(Exception):
    """Staging went wrong; `error` is the class of the attempt's failure."""

    def __init__(self, error: str, what: str) -> None:
        super().__init__(what)
        self.error = error


def digest_of(data: bytes) -> str:
    """The name of a blob: BLAKE2b-256 of its content, hex."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def inside(scratch: str, local: str) -> str:
    """The path of a local name.

    Raises Failed("input") if it leads out of the scratch folder, be it by links that an earlier
    module made.
    """
    path = os.path.normpath(os.path.join(scratch, local))
    folder = os.path.realpath(os.path.dirname(path)) + "/"
    if not path.startswith(scratch + "/") or not folder.startswith(os.path.realpath(scratch) + "/"):
        raise Failed("input", "%r is not inside the scratch folder" % local)
    return path


def opened(scratch: str, local: str, flags: int) -> int:
    """Open a local name; it never waits for the other end of a pipe.

    A runner can reach what payloads cannot, if only by /proc/self. Links may change meanwhile, so
    where they led is looked at again when the file is open. Raises Failed("input"), OSError.
    """
    path = os.path.realpath(inside(scratch, local))
    check_inside(scratch, path, local)
    truncate = flags & os.O_TRUNC
    fd = os.open(path, flags & ~os.O_TRUNC | os.O_NONBLOCK | os.O_NOFOLLOW, 0o644)
    try:
        check_inside(scratch, os.readlink("/proc/self/fd/%d" % fd), local)
        if truncate and stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, 0)
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def enter(scratch: str, local: str) -> None:
    """Go to a folder of the scratch folder, which is made if need be. Raises Failed("input")."""
    if local in (".", ""):
        os.chdir(scratch)
        return
    path = os.path.realpath(inside(scratch, local))
    check_inside(scratch, path, local)
    try:
        os.makedirs(path, exist_ok=True)
        os.chdir(path)
    except (FileExistsError, NotADirectoryError) as fault:
        raise Failed("input", "%s: is no folder" % local) from fault
    check_inside(scratch, os.getcwd(), local)


def check_inside(scratch: str, where: str, local: str) -> None:
    """Raise Failed("input") unless the resolved path `where` is in the scratch folder."""
    if not (where + "/").startswith(os.path.realpath(scratch) + "/"):
        raise Failed("input", "%r is a link out of the scratch folder" % local)


def place(cache_fd: int, digest: str, path: str, mode: int, tick: Tick) -> None:
    """Copy a blob from the cache to where a unit expects it. Raises Failed("input-fetch")."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        source = os.open(digest, os.O_RDONLY, dir_fd=cache_fd)
    except OSError as fault:
        raise Failed("input-fetch", "blob %s: %s" % (digest[:12], fault.strerror)) from fault
    try:
        _unlink(path)
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _copy(source, target, tick)
            os.fchmod(target, (mode & 0o777) | 0o600)
        finally:
            os.close(target)
    except OSError as fault:
        raise _disk_or("input-fetch", fault) from fault
    finally:
        os.close(source)


def fetch(url: str, path: str, tick: Tick) -> None:
    """Bring a file: or http(s): input here. Raises Failed: "input" if it is not there at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _unlink(path)
    parts = urlsplit(url)
    try:
        if parts.scheme == "file":
            _fetch_file(unquote(parts.path), path, tick)
        else:
            _fetch_http(url, path, tick)
    except urllib.error.HTTPError as fault:
        gone = 400 <= fault.code < 500 and fault.code not in (408, 425, 429)
        raise Failed(
            "input" if gone else "input-fetch", "%s: HTTP status %d" % (url, fault.code)
        ) from fault
    except urllib.error.URLError as fault:
        raise Failed("input-fetch", "%s: %s" % (url, fault.reason)) from fault
    except (OSError, ValueError) as fault:
        missing = getattr(fault, "errno", None) in (errno.ENOENT, errno.EACCES, errno.EISDIR)
        if missing:
            raise Failed("input", "%s: %s" % (url, getattr(fault, "strerror", fault))) from fault
        raise _disk_or("input-fetch", fault) from fault


def _fetch_file(source_path: str, path: str, tick: Tick) -> None:
    source = os.open(source_path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EISDIR, "is no ordinary file")
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _copy(source, target, tick)
            os.fchmod(target, (status.st_mode & 0o777) | 0o600)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _fetch_http(url: str, path: str, tick: Tick) -> None:
    with urllib.request.urlopen(url, timeout=FETCH_S_MAX) as answer, open(path, "xb") as file:
        wanted = answer.headers.get("Content-Length")
        while True:
            data = answer.read(CHUNK_BYTES)
            if not data:
                break
            file.write(data)
            tick()
        if wanted is not None and wanted.isdigit() and file.tell() != int(wanted):
            raise OSError("the transfer broke off after %d of %s bytes" % (file.tell(), wanted))


class Outputs:
    """Collects what a unit produced: digests, and the bytes or a file in the `out` folder."""

    def __init__(self, scratch: Scratch, tick: Tick) -> None:
        self._scratch = scratch.work
        self._base_work = os.path.join(scratch.base, "work")
        self._out = scratch.out
        self._tick = tick
        self._found: Dict[str, Tuple[str, int, int]] = {}
        self.blobs: List[Blob] = []

    def collect(self, declared: Sequence[Mapping[str, Any]]) -> str:
        """The digest of the output list ("" if nothing is declared).

        Raises Failed("output") for a missing or outside file, "output-store" for a full disk.
        """
        if not declared:
            return ""
        for entry in declared:
            self._collect_one(entry)
        listing = [
            {"path": path, "digest": digest, "size": size, "mode": mode}
            for path, (digest, size, mode) in sorted(self._found.items())
        ]
        data = canonical(listing)
        self.blobs.append((digest_of(data), len(data), data, ""))
        return digest_of(data)

    def _collect_one(self, entry: Mapping[str, Any]) -> None:
        pattern = str(entry["path"])
        names = folders.files_matching(self._scratch, pattern, OUTPUTS_MAX)
        if not names and not entry.get("optional"):
            raise Failed("output", "%s was not made" % pattern)
        for name in names:
            if name in self._found:
                continue
            if len(self._found) >= OUTPUTS_MAX:
                raise Failed("output", "more than %d output files" % OUTPUTS_MAX)
            try:
                self._take(name, entry.get("to") or [])
            except OSError as fault:
                short = fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
                error = "output-store" if short else "output"
                raise Failed(error, "%s: %s" % (name, fault.strerror)) from fault

    def _take(self, name: str, urls: Sequence[str]) -> None:
        path = os.path.realpath(os.path.join(self._scratch, name))
        if not path.startswith(os.path.realpath(self._scratch) + "/"):
            raise Failed("output", "%s is a link out of the scratch folder" % name)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Failed("output", "%s is no ordinary file" % name)
            if status.st_size <= INLINE_BYTES_MAX:
                data = os.read(fd, INLINE_BYTES_MAX + 1)
                digest, size = digest_of(data), len(data)
                if not urls:
                    self.blobs.append((digest, size, data, ""))
            else:
                digest, size = digest_of_fd(fd, self._tick)
                if not urls:
                    self._keep(path, fd, digest, size)
            for url in urls:
                os.lseek(fd, 0, os.SEEK_SET)
                deliver(fd, url + quote(name) if url.endswith("/") else url, self._tick)
        finally:
            os.close(fd)
        self._found[name] = (digest, size, stat.S_IMODE(status.st_mode) & 0o777)

    def _keep(self, path: str, fd: int, digest: str, size: int) -> None:
        """Put a large file aside; it is only linked, and copied where links do not work."""
        file = folders.free_name(self._out, digest)
        kept = os.path.join(self._out, file)
        self.blobs.append((digest, size, None, file))
        try:
            # By the way on which both are on one mount.
            name = os.path.relpath(path, os.path.realpath(self._scratch))
            os.link(os.path.join(self._base_work, name), kept, follow_symlinks=False)
        except OSError:
            os.lseek(fd, 0, os.SEEK_SET)
            target = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                _copy(fd, target, self._tick)
            finally:
                os.close(target)

    def forget(self) -> None:
        """The unit failed: nothing of what was put aside is wanted."""
        for _, _, _, file in self.blobs:
            if file:
                _unlink(os.path.join(self._out, file))
        self.blobs.clear()


def deliver(fd: int, url: str, tick: Tick) -> None:
    """Copy an output to a file: URL: beside the place first, then renamed into it."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise Failed("output", "%s: only file: is supported" % url)
    path = unquote(parts.path)
    partial = "%s.floe-%d-%s" % (path, os.getpid(), os.urandom(4).hex())
    try:
        os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
        target = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _copy(fd, target, tick)
            os.fsync(target)
        finally:
            os.close(target)
        os.rename(partial, path)
    except OSError as fault:
        _unlink(partial)
        final = fault.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR)
        error = "output" if final else "output-store"
        raise Failed(error, "%s: %s" % (url, fault.strerror)) from fault


def digest_of_fd(fd: int, tick: Tick = folders.nothing) -> Tuple[str, int]:
    """Digest (hex) and size of an open file."""
    state = hashlib.blake2b(digest_size=32)
    size = 0
    while True:
        data = os.read(fd, CHUNK_BYTES)
        if not data:
            return state.hexdigest(), size
        state.update(data)
        size += len(data)
        tick()


def _copy(source: int, target: int, tick: Tick) -> None:
    while True:
        sent = os.sendfile(target, source, None, CHUNK_BYTES)
        if sent == 0:
            return
        tick()


def _disk_or(error: str, fault: BaseException) -> Failed:
    full = getattr(fault, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return Failed("disk" if full and error.startswith("input") else error, str(fault))


def _unlink(path: str) -> None:
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    except OSError:
        pass
