"""Copies of a home: made while the node runs, put back into an empty home only.

A backup is a folder: floe.sqlite, blobs/, config.toml, keys/ if asked for, and manifest.json with
the size and digest of every file, written last: without it a backup is not whole. The database is
one snapshot, and is copied before the blobs, so that every blob which its records name is there.

What is put back is by definition not known to be the newest copy, so the site goes on in a new
generation, a random step away (see highwater.py).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from federation.ids import SiteID
from keys.identity import parse, show
from keys.signing import BadKey
from node.store.blobs import CHUNK_BYTES, DIGEST_BYTES, Blobs
from node.store.database import (
    BUSY_MS,
    DATABASE_NAME,
    Database,
    DiskFull,
    StoreError,
    sync_folder,
)
from node.store.feeds import Feeds
from node.store.highwater import Heads, HighWater, leap_generations

FORMAT = 1
MANIFEST = "manifest.json"
SETTINGS: Final = ("config.toml", "client.toml")  # neither holds a secret
HIGHWATER_NAME = "floe.highwater"
PAGES_A_STEP = 2_000
_NO_MANIFEST = (
    OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, BadKey,
)  # fmt: skip

Tell = Callable[[str, int, int], None]
"""Told (what, done, total) now and then."""


class BackupError(StoreError):
    """The backup cannot be made or used; the message says why."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup holds."""

    folder: Path
    files: int
    size_bytes: int
    heads: Heads
    damaged: tuple[str, ...]  # blobs that were damaged in the home already, and left out


class Led(NamedTuple):
    """Shards by who can lead them on when this site's old generation is gone."""

    alone: int  # whose only voter was their leader
    shared: int  # whose council has other sites


def _silent(what: str, done: int, total: int) -> None:
    return None


def back_up(
    home: Path,
    to: Path,
    site: SiteID,
    blobs: Blobs,
    *,
    with_blobs: bool = True,
    with_keys: bool = False,
    tell: Tell = _silent,
    vfs: str | None = None,
) -> Copied:
    """Copy a home, whose node may be running, into the new folder `to`. Blocks for long.

    with_keys: also the site's secret key; whoever holds such a backup can speak for the site.
    Raises BackupError, DiskFull; `to` is then removed.
    """
    if to.exists() and any(to.iterdir()):
        raise BackupError(f"{to} is not empty: name a new folder")
    made = not to.exists()
    try:
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _back_up(home, to, site, blobs, with_blobs, with_keys, tell, vfs)
    except BaseException as error:
        shutil.rmtree(to, ignore_errors=True)
        if not made:
            to.mkdir(mode=0o700, exist_ok=True)
        if isinstance(error, apsw.FullError) or _is_full(error):
            raise DiskFull(f"no room for the backup in {to.parent}") from error
        raise


def _back_up(
    home: Path,
    to: Path,
    site: SiteID,
    blobs: Blobs,
    with_blobs: bool,
    with_keys: bool,
    tell: Tell,
    vfs: str | None,
) -> Copied:
    heads = _copy_database(home / DATABASE_NAME, to / DATABASE_NAME, site, tell, vfs)
    damaged: list[str] = []
    if with_blobs:
        damaged = _copy_blobs(blobs, to / "blobs", tell)
    for name in SETTINGS:
        _copy_if_there(home / name, to / name)
    if with_keys:
        _copy_folder(home / "keys", to / "keys")
    files = {str(path.relative_to(to)): _describe(path) for path in _files(to)}
    manifest = {
        "icefloe_backup": FORMAT,
        "site": show(site),
        "generation": heads.generation,
        "heads": {"control": heads.control.seq, "results": heads.results.seq},
        "made_ms": time.time_ns() // 1_000_000,
        "keys": with_keys,
        "blobs": with_blobs,
        "damaged": damaged,
        "files": files,
    }
    _write(to / MANIFEST, json.dumps(manifest, indent=1).encode())
    size = sum(file["size"] for file in files.values())
    return Copied(to, len(files), size, heads, tuple(damaged))


def read_manifest(folder: Path) -> dict[str, Any]:
    """A backup's manifest. Raises BackupError for a folder that is no whole backup."""
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        version = found["icefloe_backup"]
        parse(str(found["site"]))
        int(found["generation"])
        whole = all(map(_is_inside, found["files"].keys()))
    except _NO_MANIFEST as error:
        raise BackupError(f"{folder} is no whole backup: {error}") from None
    if version != FORMAT:
        raise BackupError(f"{folder} was made by a version of Icefloe that this one cannot read")
    if not whole:
        raise BackupError(f"{folder} is no backup of ours: it names files outside itself")
    return found


def _is_there(path: Path) -> bool:
    """Whether this is a file, and no link to one."""
    try:
        return path.is_file() and not path.is_symlink()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _is_inside(name: str) -> bool:
    """Whether a name leads to a file below the backup's folder, and below a home."""
    path = Path(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def check_backup(folder: Path, tell: Tell = _silent) -> dict[str, Any]:
    """Compare every file of a backup with its manifest; the manifest. Raises BackupError."""
    manifest = read_manifest(folder)
    files = manifest["files"]
    for done, (name, noted) in enumerate(files.items()):
        if not _is_there(folder / name):
            raise BackupError(f"{name[:200]} is missing from the backup {folder}")
        if _describe(folder / name) != noted:
            raise BackupError(f"{name} in the backup {folder} is damaged")
        tell("checking", done + 1, len(files))
    return manifest


def restore(
    folder: Path,
    home: Path,
    *,
    tell: Tell = _silent,
    leap: Callable[[], int] = leap_generations,
    host: str | None = None,
    network_home: bool = False,
) -> int:
    """Put a backup into an empty home; the generation in which the site goes on. Blocks for long.

    The site's key has to be put into HOME/keys by hand if the backup has none.
    Raises BackupError, DiskFull; an empty home is then left empty.
    """
    if home.exists() and any(home.iterdir()):
        raise BackupError(f"{home} is not empty: a backup is put back into an empty home only")
    manifest = check_backup(folder, tell)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        for done, name in enumerate(manifest["files"]):
            _copy(folder / name, home / name)
            tell("copying", done + 1, len(manifest["files"]))
        return _bind(home, manifest, leap, host, network_home)
    except BaseException as error:
        for path in home.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if _is_full(error):
            raise DiskFull(f"no room for the backup in {home}") from error
        raise


def led(home: Path, manifest: dict[str, Any]) -> Led:
    """What the site led when its backup, now in `home`, was made. Raises apsw.Error."""
    connection = apsw.Connection(str(home / DATABASE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found: list[tuple[Any, ...]] = connection.execute(
            "SELECT coalesce(sum(length(council) = length(leader)), 0),"
            " coalesce(sum(length(council) > length(leader)), 0) FROM shard WHERE leader = ?",
            (parse(manifest["site"]),),
        ).fetchall()
    finally:
        connection.close()
    return Led(*map(int, found[0]))


def _bind(
    home: Path,
    manifest: dict[str, Any],
    leap: Callable[[], int],
    host: str | None,
    network_home: bool,
) -> int:
    """Check the copied database and note the generation that comes."""
    database = Database.open(home, network_home=network_home)
    try:
        held = Feeds(database.writer).own_heads(SiteID(parse(manifest["site"])))
        if database.writer.execute("PRAGMA quick_check").get != "ok":
            raise BackupError("the database of the backup is damaged")
        generation = max(held.generation, int(manifest["generation"])) + 1 + leap()
        highwater = HighWater(home / HIGHWATER_NAME, database.path, host=host)
        highwater.begin(Heads(generation))
    finally:
        database.close()
    return generation


# Copying


def _copy_database(
    source: Path, target: Path, site: SiteID | None, tell: Tell, vfs: str | None
) -> Heads:
    """Copy a SQLite file in use, as of one moment; the site's heads in it."""
    reader = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    writer = apsw.Connection(str(target))
    try:
        reader.set_busy_timeout(BUSY_MS)
        os.chmod(target, 0o600)
        # The open snapshot keeps writers of other connections from restarting the copy.
        reader.execute("BEGIN; SELECT count(*) FROM sqlite_schema").fetchall()
        with writer.backup("main", reader, "main") as copy:
            while not copy.done:
                copy.step(PAGES_A_STEP)
                tell(source.name, copy.page_count - copy.remaining, copy.page_count)
        heads = Heads(0) if site is None else Feeds(reader).own_heads(site)
        writer.pragma("journal_mode", "DELETE")  # one file, without a log beside it
    finally:
        reader.close()
        writer.close()
    _sync(target)
    return heads


def _copy_blobs(blobs: Blobs, to: Path, tell: Tell) -> list[str]:
    """Copy all blobs; digests of those that were damaged, which are left out."""
    to.mkdir(mode=0o700)
    _copy_database(blobs.small_path, to / blobs.small_path.name, None, tell, None)
    listing = apsw.Connection(str(to / blobs.small_path.name))
    damaged: list[str] = []
    try:
        rows: list[tuple[Any, ...]] = listing.execute(
            "SELECT digest FROM large ORDER BY digest"
        ).fetchall()
        for done, (digest,) in enumerate(rows):
            source = blobs.path_of(digest)
            if not _copy_blob(source, to / source.relative_to(blobs.folder), digest):
                damaged.append(digest.hex())
                listing.execute("DELETE FROM large WHERE digest = ?", (digest,))
            tell("blobs", done + 1, len(rows))
    finally:
        listing.close()
    return damaged


def _copy_blob(source: Path, target: Path, digest: bytes) -> bool:
    """Copy one blob's file; False, and no copy, if it is gone or damaged."""
    try:
        found = _copy(source, target)
    except FileNotFoundError:
        return False
    if found != digest:
        target.unlink()
        return False
    return True


def _copy(source: Path, target: Path) -> bytes:
    """Copy a file, durably and for its owner alone; the digest of its content."""
    state = blake2b(digest_size=DIGEST_BYTES)
    with open(source, "rb") as reader:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as writer:
            while chunk := reader.read(CHUNK_BYTES):
                state.update(chunk)
                writer.write(chunk)
            writer.flush()
            os.fsync(writer.fileno())
    sync_folder(target.parent)
    return state.digest()


def _copy_if_there(source: Path, target: Path) -> None:
    if source.is_file():
        _copy(source, target)


def _copy_folder(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        _copy_if_there(path, target / path.name)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path


def _describe(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        state = blake2b(digest_size=DIGEST_BYTES)
        while chunk := file.read(CHUNK_BYTES):
            state.update(chunk)
    return {"size": path.stat().st_size, "digest": state.hexdigest()}


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    _sync(path)
    sync_folder(path.parent)


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
