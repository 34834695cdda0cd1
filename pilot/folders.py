"""A unit's scratch folder: measured and emptied, whatever the payload left in it."""

import glob
import os
import stat
from typing import Callable, List, Optional, Set

Tick = Callable[[], None]


def nothing() -> None:
    pass


def free_name(folder: str, digest: str) -> str:
    """A name in a folder for a file of this content; units that follow often make the same one."""
    name, others = digest, 0
    while os.path.lexists(os.path.join(folder, name)):
        others += 1
        name = "%s-%d" % (digest, others)
    return name


def usage_kib(folder: str, tick: Tick = nothing) -> int:
    """Disk blocks below a folder, in KiB; what cannot be read is left out."""
    blocks = 0
    todo = [folder]
    seen = 0
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    blocks += _blocks(entry)
                    seen += 1
                    if seen % 1000 == 0:
                        tick()
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:
            pass
    return blocks // 2


def _blocks(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks
    except OSError:
        return 0


def remove(folder: str, tick: Tick = nothing) -> bool:
    """Remove a folder and all below it; False if something would not go.

    Nested folders are first moved up into `folder`, so neither depth nor the length of a path
    matters, and folders that forbid everything are opened up first.
    """
    try:
        os.rmdir(folder)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        pass
    if _unlink(folder, None):
        return True
    try:
        empty(folder, tick)
        os.rmdir(folder)
    except OSError:
        return False
    return True


def empty(folder: str, tick: Tick = nothing) -> bool:
    """Remove all that is in a folder; False if something would not go. Raises OSError."""
    fd = _open_folder(folder, None)
    try:
        _empty(fd, tick)
        return not os.listdir(fd)
    finally:
        os.close(fd)


def _empty(top_fd: int, tick: Tick) -> None:
    serial = 0
    stuck: Set[str] = set()
    while True:
        names = [name for name in os.listdir(top_fd) if name not in stuck]
        if not names:
            return
        for name in names:
            if _unlink(name, top_fd):
                continue
            try:
                fd = _open_folder(name, top_fd)
            except OSError:
                stuck.add(name)
                continue
            try:
                serial = _lift(fd, top_fd, serial, tick)
            finally:
                os.close(fd)
            try:
                os.rmdir(name, dir_fd=top_fd)
            except OSError:
                stuck.add(name)


def _lift(fd: int, top_fd: int, serial: int, tick: Tick) -> int:
    """Empty one folder: unlink its files, move its folders to the top."""
    for at, child in enumerate(os.listdir(fd)):
        if at % 1000 == 0:
            tick()
        if _unlink(child, fd):
            continue
        while True:
            serial += 1
            try:
                os.rename(child, ".floe-%d" % serial, src_dir_fd=fd, dst_dir_fd=top_fd)
                break
            except FileExistsError:
                continue
            except OSError:
                if not _open_up(child, fd):
                    break
    return serial


def _open_up(name: str, parent_fd: int) -> bool:
    """Give ourselves all rights on a folder that refused; False if that changed nothing."""
    try:
        mode = os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode) or mode & 0o700 == 0o700:
            return False
        os.chmod(name, 0o700, dir_fd=parent_fd)
    except OSError:
        return False
    return True


def _open_folder(name: str, parent_fd: Optional[int]) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        fd = os.open(name, flags, dir_fd=parent_fd)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent_fd)
        fd = os.open(name, flags, dir_fd=parent_fd)
    if os.fstat(fd).st_mode & 0o700 != 0o700:
        os.fchmod(fd, 0o700)
    return fd


def _unlink(name: str, parent_fd: Optional[int]) -> bool:
    """Unlink a file; False for a folder (or what else refuses)."""
    try:
        os.unlink(name, dir_fd=parent_fd)
    except OSError:
        return False
    return True


def files_matching(folder: str, pattern: str, most: int) -> List[str]:
    """Paths below `folder` (relative, sorted) that a glob names; at most `most` + 1 of them.

    `*` and `?` match no slash and no leading dot, `**/` matches any depth.
    """
    base = os.path.join(glob.escape(folder), "")
    found: List[str] = []
    for path in glob.iglob(base + pattern, recursive=True):
        if os.path.isdir(path):
            continue
        found.append(path[len(folder.rstrip("/")) + 1 :])
        if len(found) > most:
            break
    return sorted(set(found))
