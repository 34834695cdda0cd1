"""Every record kind, its fields and their order on the wire. Pure.

A record is a msgpack array `[kind, field, field, ...]` in the order of the dataclass below.
Meaning of dataset, command, grant and result records belongs to the node; here they are shapes.

Kinds kept for later, and parked until then: 7 user.revoke, 8 delegate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from federation.ids import DatasetID, EntryID, ShardID, SiteID, UserKey

Column = int | Sequence[int]  # one value for all rows, or one a row
DigestColumn = bytes | Sequence[bytes]  # 32 bytes, or b"" for none
Ranges = Sequence[int]  # flat half-open pairs: lo, hi, lo, hi, ... ascending, disjoint
Ref = Sequence[Any]  # an entry of a control feed: [site, generation, seq, id]


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
class MemberAdd:
    """A site admitted to the mesh by an admin of the author's site."""

    kind: ClassVar[int] = 4
    site: SiteID
    name: str
    addresses: Sequence[str]  # host:port, where it can be dialled; none if it only dials out
    doc: bytes  # the admin's signed permission; it decides
    signature: bytes
    signer: UserKey
    proof: bytes  # the secret of a one-use invitation; b"" when the permission names the key


@dataclass(frozen=True, slots=True)
class MemberRemove:
    """A site revoked, for ever, by an admin of the author's site."""

    kind: ClassVar[int] = 5
    site: SiteID
    doc: bytes
    signature: bytes
    signer: UserKey


@dataclass(frozen=True, slots=True)
class Policy:
    """What the mesh asks of admissions, signed by an admin of the author's site."""

    kind: ClassVar[int] = 6
    doc: bytes
    signature: bytes
    signer: UserKey


@dataclass(frozen=True, slots=True)
class Address:
    """Where the author can be dialled, in its own word; the newest of its feeds counts.

    A hint: who answers there is known by the key alone, so that no admin need sign it.
    """

    kind: ClassVar[int] = 30
    addresses: Sequence[str]  # host:port; none for a site that only dials out


@dataclass(frozen=True, slots=True)
class Forked:
    """The proof that a site wrote two entries for one place: two signed headers."""

    kind: ClassVar[int] = 9
    first: bytes
    first_signature: bytes
    second: bytes
    second_signature: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """The founding record of a shard whose founder is alone in the council.

    Shard id = BLAKE2b-256(prefix + founder + nonce).
    """

    kind: ClassVar[int] = 10
    shard: ShardID
    nonce: bytes
    council: Sequence[SiteID]


@dataclass(frozen=True, slots=True)
class FoundCouncil:
    """The founding record of a shard with a council: each seat is a site under one generation.

    A site that goes on under a later generation has lost its seat: what it promised under the
    earlier one it may not know.
    """

    kind: ClassVar[int] = 25
    shard: ShardID
    nonce: bytes
    council: Sequence[SiteID]
    generations: Sequence[int]  # one a seat, as the founder knows them


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
class Open:
    """The author leads a shard from here, elected by the votes that it names.

    The log before it is that of term `base` through the cut, an entry of that term's control feed.
    """

    kind: ClassVar[int] = 11
    shard: ShardID
    term: int
    votes: Sequence[Ref]  # entries of control feeds that hold a vote for this term and author
    base: int  # the newest base among the votes
    seq: int  # the cut
    entry: EntryID


@dataclass(frozen=True, slots=True)
class Import:
    """Units of a dataset in another shard that are settled there, for those that wait here.

    The place is one of the other shard's log, at which its acks show these units settled.
    """

    kind: ClassVar[int] = 16
    shard: ShardID
    dataset: DatasetID  # in the other shard
    task: int
    ranges: Ranges
    source: ShardID
    place: Ref
    acks: Sequence[Ref]


@dataclass(frozen=True, slots=True)
class Reproduce:
    """Settled units whose outputs are on no reachable site run again."""

    kind: ClassVar[int] = 17
    shard: ShardID
    dataset: DatasetID
    tasks: Sequence[int]
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Move:
    """A dataset leaves this log for that of another shard."""

    kind: ClassVar[int] = 18
    shard: ShardID
    dataset: DatasetID
    to: ShardID


@dataclass(frozen=True, slots=True)
class Adopt:
    """A dataset that moved here; valid only if the acks settle the move in the source's log."""

    kind: ClassVar[int] = 19
    shard: ShardID
    dataset: DatasetID
    source: ShardID
    move: Ref  # the entry that holds the move
    acks: Sequence[Ref]


@dataclass(frozen=True, slots=True)
class SeatClose:
    """A voter of this shard whose acts beyond an entry of its control feed no longer count."""

    kind: ClassVar[int] = 20
    shard: ShardID
    site: SiteID
    generation: int
    through: int  # 0: none of them counts
    entry: EntryID


@dataclass(frozen=True, slots=True)
class Ack:
    """The voter holds the whole log of a term through an entry, and all results it names."""

    kind: ClassVar[int] = 21
    shard: ShardID
    term: int
    site: SiteID  # the leader of that term,
    generation: int
    seq: int  # and the entry of its control feed
    entry: EntryID


@dataclass(frozen=True, slots=True)
class Vote:
    """The voter wants the candidate to open a term; how far it holds which log."""

    kind: ClassVar[int] = 22
    shard: ShardID
    term: int
    candidate: SiteID
    base: int  # the newest opened term whose log the voter could ack through its open
    seq: int  # head: how far it could ack that term's log
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
class Force:
    """An admin's word that the author leads a shard from here, whose old leader is gone for good.

    The log goes on behind the cut: entry `seq`, `entry` of the control feed of the leader before.
    """

    kind: ClassVar[int] = 24
    shard: ShardID
    term: int  # above all known ones
    seq: int
    entry: EntryID
    doc: bytes  # the signed document; it decides, the fields repeat it
    signature: bytes
    key: UserKey


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
class Holds:
    """The author keeps a second copy of these units' outputs."""

    kind: ClassVar[int] = 41
    dataset: DatasetID
    task: int
    jobs: Sequence[int]
    outputs: DigestColumn  # of the output lists


@dataclass(frozen=True, slots=True)
class Unknown:
    """A kind that this version does not know: stored, forwarded, parked."""

    kind_number: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that the checks refuse: skipped by everyone alike, and reported.

    kind_number: 0 when not even that could be read.
    """

    kind_number: int
    why: str


Record = (
    Site
    | UserAdd
    | UserRemove
    | MemberAdd
    | MemberRemove
    | Policy
    | Address
    | Forked
    | Found
    | FoundCouncil
    | Dataset
    | Command
    | Grant
    | Accept
    | Open
    | Import
    | Reproduce
    | Move
    | Adopt
    | SeatClose
    | Ack
    | Vote
    | Release
    | Force
    | Results
    | Holds
    | Unknown
)
