"""Every record kind, its fields and their order on the wire.

A record is a msgpack array `[kind, field, field, ...]` in the order of the dataclass below.
Meaning of dataset, command, grant and result records belongs to the node; here they are shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from federation.ids import DatasetID, EntryID, ShardID, SiteID, UserKey

Column = int | Sequence[int]  # one value for all rows, or one a row
DigestColumn = bytes | Sequence[bytes]  # 32 bytes, or b"" for none
Ranges = Sequence[int]  # flat half-open pairs: lo, hi, lo, hi, ... ascending, disjoint


class Outcome(IntEnum):
    """What an attempt came to."""

    SUCCESS = 0
    PAYLOAD = 1  # the user's program failed: spends a retry
    RESOURCES = 2  # over its memory, disk or time: retried with more
    INFRASTRUCTURE = 3  # the worker, the network, the pilot: costs the user nothing
    STOPPED = 4  # ended by the user's order


@dataclass(frozen=True, slots=True)
class Site:
    """What a site says of itself."""

    kind: ClassVar[int] = 1
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class UserAdd:
    """A person enrolled by an admin of this site; proof is the admin's signed document."""

    kind: ClassVar[int] = 2
    key: UserKey
    name: str
    groups: Sequence[str]
    roles: Sequence[str]
    doc: bytes
    signature: bytes
    signer: UserKey


@dataclass(frozen=True, slots=True)
class UserRemove:
    """A person who may no longer submit here."""

    kind: ClassVar[int] = 3
    key: UserKey
    doc: bytes
    signature: bytes
    signer: UserKey


@dataclass(frozen=True, slots=True)
class Found:
    """A shard's founding record; shard id = BLAKE2b-256(prefix + founder + nonce)."""

    kind: ClassVar[int] = 10
    shard: ShardID
    nonce: bytes
    council: Sequence[SiteID]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A user's submission: the signed document (zlib), its signature (raw sshsig blob), the key."""

    kind: ClassVar[int] = 12
    shard: ShardID
    doc: bytes
    signature: bytes
    key: UserKey


@dataclass(frozen=True, slots=True)
class Command:
    """A user's order about one dataset: pause, resume, cancel, retry, edit, extend."""

    kind: ClassVar[int] = 13
    shard: ShardID
    doc: bytes
    signature: bytes
    key: UserKey


@dataclass(frozen=True, slots=True)
class Grant:
    """The leader gives the named tasks of job ranges to a site."""

    kind: ClassVar[int] = 14
    shard: ShardID
    dataset: DatasetID
    tasks: Sequence[int]
    ranges: Ranges
    to: SiteID


@dataclass(frozen=True, slots=True)
class Accept:
    """The leader takes one results feed through one entry into the log."""

    kind: ClassVar[int] = 15
    shard: ShardID
    site: SiteID
    generation: int
    through: int
    entry: EntryID


@dataclass(frozen=True, slots=True)
class Release:
    """The owner gives granted units back."""

    kind: ClassVar[int] = 23
    shard: ShardID
    dataset: DatasetID
    tasks: Sequence[int]
    ranges: Ranges
    why: str


@dataclass(frozen=True, slots=True)
class Results:
    """Attempts of many units of one (dataset, task), as columns; row i is job jobs[i]."""

    kind: ClassVar[int] = 40
    dataset: DatasetID
    task: int
    jobs: Sequence[int]
    outcome: Column
    start_ms: int  # wall clock, epoch; row i began at start_ms + offset_ms[i]
    offset_ms: Column
    wall_ms: Column
    cpu_ms: Column
    memory_kib: Column  # peak
    disk_kib: Column  # peak
    gpu_ms: Column
    hosts: Sequence[str]
    host: Column  # index into hosts
    exit: Column  # 0..255, or -signal
    errors: Sequence[str]  # class names; index 0 is always ""
    error: Column  # index into errors
    outputs: DigestColumn  # digest of the output list (a blob)
    inputs: DigestColumn  # digest over the inputs read
    log: DigestColumn  # digest of the log blob
    factors: Sequence[int]  # [cpu, gpu] normalisation in thousandths
    tails: Sequence[Sequence[int | str]]  # [row, up to 512 bytes of text] for failures


@dataclass(frozen=True, slots=True)
class Unknown:
    """A kind that this version does not know: stored, forwarded, parked."""

    kind_number: int
    raw: bytes


Record = (
    Site | UserAdd | UserRemove | Found | Dataset | Command | Grant | Accept | Release | Results
    | Unknown
)
