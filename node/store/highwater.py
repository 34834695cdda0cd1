"""The high-water file: how far this site has written its own feeds, kept beside the database.

A database put back from an older copy looks whole; only something outside it can tell. The file
names the heads of the site's own feeds and is bound to the database file and the host. It is
written after each commit, in place, in one of two slots by turns, so that a torn write leaves the
other slot whole.

    database ahead by one commit      a crash between the two: normal
    file ahead, or heads that differ  the database was restored: open the next generation
    file missing or bound elsewhere   nobody can tell: others are asked, see generation.py
What the database lacks is noted in the file for good, so that an admin can be told what was lost.
Source: docs/protocol.md, "Restored copies".
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from node.store.database import sync_folder

SLOT_BYTES = 4096  # a block of its own, so that writing one slot cannot tear the other
SLOTS = 2
FIRST_GENERATION = 1
LEAP_MAX = 1 << 16
LOST_MAX = 8  # notes of what was lost; older ones go
_MAGIC = "icefloe highwater 1"
_CHECK_BYTES = 16


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry of one feed; seq 0 and an empty id before the first."""

    seq: int = 0
    id: bytes = b""


@dataclass(frozen=True, slots=True)
class Heads:
    """Both heads of one generation of the site's own feeds."""

    generation: int
    control: Head = Head()
    results: Head = Head()


NO_HEADS = Heads(0)


@dataclass(frozen=True, slots=True)
class Lost:
    """Entries of ours that were written and are no longer here: seq first..last of each lane.

    last < first where a lane lacks nothing.
    """

    generation: int
    control: tuple[int, int]
    results: tuple[int, int]

    def words(self) -> str:
        """For people: "entries 7 to 12 of control and 3 to 9 of results, generation 1"."""
        lanes = (("control", *self.control), ("results", *self.results))
        ranges = [f"{lo} to {hi} of {lane}" for lane, lo, hi in lanes if lo <= hi]
        return f"entries {' and '.join(ranges)}, generation {self.generation}"


class Standing(Enum):
    """How the high-water file and the database agree."""

    FRESH = "fresh"  # neither has written anything
    FINE = "fine"
    BETWEEN = "between"  # the database is one commit ahead: a crash between the two
    RESTORED = "restored"  # the database lacks entries that were written
    UNBOUND = "unbound"  # no file, or one of another database file or host


@dataclass(frozen=True, slots=True)
class Check:
    """What the file says of the database. generation: the one to author in."""

    standing: Standing
    generation: int
    why: str
    lost: Lost | None = None  # what the file knows of and the database lacks
    continued: bool = False  # the generation was written in before this start
    doubt: bool = False  # nothing may be written before others, or an admin, said which it is


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What stays the same while a file is neither copied nor replaced."""

    device: int
    inode: int
    volume: int  # f_fsid: survives a restart where device numbers change


class Files(Protocol):
    """The few file operations that the high-water file needs; tests lose power in them."""

    def read(self, path: Path) -> bytes | None:
        """The content; None if there is no such file."""

    def create(self, path: Path, content: bytes) -> None:
        """Put a whole file in place of any other; durable when it returns."""

    def write_at(self, path: Path, offset: int, data: bytes) -> None:
        """Overwrite part of an existing file; durable when it returns."""

    def identity(self, path: Path) -> FileIdentity:
        """Raises FileNotFoundError."""


class LocalFiles:
    """Files of this host. Keeps the descriptor of the file that is written in place."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}

    def read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def create(self, path: Path, content: bytes) -> None:
        self._forget(path)
        beside = path.with_name(path.name + ".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(beside, path)
        sync_folder(path.parent)

    def write_at(self, path: Path, offset: int, data: bytes) -> None:
        descriptor = self._open.get(path)
        if descriptor is None:
            descriptor = self._open[path] = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        if os.pwrite(descriptor, data, offset) != len(data):
            raise OSError(f"short write to {path}")
        os.fdatasync(descriptor)

    def identity(self, path: Path) -> FileIdentity:
        found = os.stat(path)
        return FileIdentity(found.st_dev, found.st_ino, os.statvfs(path).f_fsid)

    def close(self) -> None:
        for path in list(self._open):
            self._forget(path)

    def _forget(self, path: Path) -> None:
        descriptor = self._open.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)


def host_identity() -> str:
    """This host's machine id; its name where there is none."""
    for place in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            text = Path(place).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text:
            return text
    return socket.gethostname()


def leap_generations() -> int:
    """How many generations to skip after an old copy came without its high-water file.

    Random: one copy may be put back twice, and of the two sites that come of it the second cannot
    know of the first. They must not both write entry 1 of one feed.
    """
    return secrets.randbelow(LEAP_MAX)


class HighWater:
    """The file itself. `write` is called from the commit's thread, the rest before it starts."""

    def __init__(
        self, path: Path, database: Path, *, files: Files | None = None, host: str | None = None
    ) -> None:
        """path: the file; database: the database file that it is bound to."""
        self._path = path
        self._database = database
        self._files: Files = files if files is not None else LocalFiles()
        self._host = host_identity() if host is None else host
        self._binding: list[int] = []
        self._turn = 0  # the next slot is turn % SLOTS
        self.lost: tuple[Lost, ...] = ()  # as noted by every `begin` so far, the oldest first

    def check(self, database: Heads, *, before: Heads | None = None) -> Check:
        """Compare the file with the database's own heads. Only reads.

        database: heads of the site's newest generation in the database, NO_HEADS if none.
        before: the heads one commit earlier, if the database can tell; they catch a database
        that took another branch after its last common entry.
        """
        content = self._files.read(self._path)
        slot = _newest_slot(content) if content is not None else None
        if slot is None:
            return self._without_file(content, database)
        elsewhere = self._elsewhere(slot)
        verdict = _compare(_heads_of(slot), database, before)
        if verdict.standing is Standing.RESTORED or not elsewhere:
            return verdict
        return Check(Standing.UNBOUND, verdict.generation, elsewhere)

    def begin(self, heads: Heads, lost: Lost | None = None) -> None:
        """Bind the file to this database and host and note `heads`; before anything is authored.

        lost: what this start found missing.
        """
        identity = self._files.identity(self._database)
        self._binding = [identity.device, identity.inode, identity.volume]
        content = self._files.read(self._path)
        slot = _newest_slot(content) if content is not None else None
        self._turn = int(slot["turn"]) + 1 if slot else 0
        noted = _lost_of(slot) if slot else []
        self.lost = tuple((noted + ([lost] if lost and lost not in noted else []))[-LOST_MAX:])
        # Both slots are replaced at once: an older binding must not come back after a torn write.
        self._files.create(self._path, self._slot(heads) * SLOTS)

    def write(self, heads: Heads) -> None:
        """Note the heads of a commit that is durable; durable itself when it returns."""
        assert self._binding, "begin() binds the file before the first write"
        self._turn += 1
        self._files.write_at(self._path, self._turn % SLOTS * SLOT_BYTES, self._slot(heads))

    def _without_file(self, content: bytes | None, database: Heads) -> Check:
        if database.generation == 0 and content is None:
            return Check(Standing.FRESH, FIRST_GENERATION, "nothing was written yet")
        what = "is missing" if content is None else "is damaged"
        return Check(
            Standing.UNBOUND,
            max(database.generation, FIRST_GENERATION),
            f"{self._path} {what}, so nobody can tell whether the database is the newest copy",
        )

    def _elsewhere(self, slot: dict[str, Any]) -> str:
        """Why the file belongs to another database or host; "" if it belongs here."""
        if slot["host"] != self._host:
            return f"{self._path} was written on another host"
        here = self._files.identity(self._database)
        device, inode, volume = slot["file"]
        if here.inode != inode or (here.device != device and here.volume != volume):
            return f"{self._database} is not the file that {self._path} was written for"
        return ""

    def _slot(self, heads: Heads) -> bytes:
        fields = {
            "magic": _MAGIC,
            "turn": self._turn,
            "generation": heads.generation,
            "control": [heads.control.seq, heads.control.id.hex()],
            "results": [heads.results.seq, heads.results.id.hex()],
            "file": self._binding,
            "host": self._host,
            "lost": [[each.generation, *each.control, *each.results] for each in self.lost],
        }
        text = json.dumps(fields, separators=(",", ":")).encode()
        line = blake2b(text, digest_size=_CHECK_BYTES).hexdigest().encode() + b" " + text + b"\n"
        return line.ljust(SLOT_BYTES, b"\0")


def _newest_slot(content: bytes) -> dict[str, Any] | None:
    """The whole slot with the highest turn; None if neither is whole."""
    slots = [
        _parse(content[at : at + SLOT_BYTES]) for at in range(0, SLOTS * SLOT_BYTES, SLOT_BYTES)
    ]
    whole = [slot for slot in slots if slot is not None]
    return max(whole, key=lambda slot: int(slot["turn"]), default=None)


def _parse(slot: bytes) -> dict[str, Any] | None:
    check, _, text = slot.rstrip(b"\0").rstrip(b"\n").partition(b" ")
    if blake2b(text, digest_size=_CHECK_BYTES).hexdigest().encode() != check:
        return None
    try:
        fields: dict[str, Any] = json.loads(text)
        _device, _inode, _volume = fields["file"]
        int(fields["turn"]), fields["host"], _heads_of(fields), _lost_of(fields)
        return fields if fields["magic"] == _MAGIC else None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None  # whole, but of no version that this one reads: as good as torn


def _heads_of(slot: dict[str, Any]) -> Heads:
    control, results = (
        Head(int(seq), bytes.fromhex(id)) for seq, id in (slot["control"], slot["results"])
    )
    return Heads(int(slot["generation"]), control, results)


def _lost_of(slot: dict[str, Any]) -> list[Lost]:
    return [
        Lost(generation, (first, last), (results_first, results_last))
        for generation, first, last, results_first, results_last in slot.get("lost", [])
    ]


def _compare(file: Heads, database: Heads, before: Heads | None) -> Check:
    """The verdict on two sets of heads, whatever they are bound to."""
    here = file.generation
    if database.generation > here:
        return Check(
            Standing.UNBOUND,
            database.generation,
            f"the database holds generation {database.generation}, the file only {here}",
        )
    if database.generation < here:
        database, before = Heads(here), None  # nothing of this generation was written yet
    pairs = [(file.control, database.control), (file.results, database.results)]
    if any(_lacks(noted, held) for noted, held in pairs):
        lost = Lost(here, *(_gap(noted, held) for noted, held in pairs))
        why = f"the database lacks {lost.words()}"
        return Check(Standing.RESTORED, here + 1, why, lost)
    ahead = max(held.seq - noted.seq for noted, held in pairs)
    if ahead == 0:
        return Check(Standing.FINE, here, "file and database agree")
    if ahead > 1:
        return Check(Standing.UNBOUND, here, "the file is older than the last commit but one")
    if before is not None and not _continues(pairs, before):
        return Check(Standing.RESTORED, here + 1, "the database took another branch")
    return Check(Standing.BETWEEN, here, "the last commit came before a crash")


def _gap(noted: Head, held: Head) -> tuple[int, int]:
    """First and last seq that are noted and not held."""
    branched = noted.seq == held.seq and noted.id != held.id
    return (noted.seq if branched else held.seq + 1), noted.seq


def _lacks(noted: Head, held: Head) -> bool:
    return noted.seq > held.seq or (noted.seq == held.seq and noted.id != held.id)


def _continues(pairs: list[tuple[Head, Head]], before: Heads) -> bool:
    """True if each lane that is one ahead has the noted head as its last entry but one."""
    earlier = (before.control, before.results)
    return all(
        noted == last
        for (noted, held), last in zip(pairs, earlier, strict=True)
        if held.seq > noted.seq
    )
