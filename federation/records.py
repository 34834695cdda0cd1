"""Every record kind, its fields and their order on the wire.

A record is a msgpack array `[kind, field, field, ...]` in the order of the dataclass below.
Meaning of dataset, command, grant and result records belongs to the node; here they are shapes.

Kinds kept for later, and parked until then: 4 member.add, 5 member.remove, 6 policy, 7 user.revoke,
8 delegate, 9 fork, 11 open, 16 import, 17 reproduce, 18 move, 19 adopt, 20 seat.close, 21 ack,
22 vote, 41 holds.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from operator import attrgetter
from typing import Any, ClassVar, Final

from federation import codec, limits
from federation.errors import LocalError, PeerError
from federation.fields import (
    BadField,
    Check,
    blob,
    check_column,
    check_digest_column,
    check_ranges,
    check_signed_column,
    distinct,
    exact,
    increasing,
    integer,
    integers,
    items,
    text,
    text_bytes,
)
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
    | Found
    | Dataset
    | Command
    | Grant
    | Accept
    | Release
    | Force
    | Results
    | Unknown
)

KIND_MAX: Final = 65_535

# A check of one field that may look at the fields before it.
_RowCheck = Callable[[Any, list[Any]], None]

_DIGEST: Final = exact(32)
_NAME: Final = text(limits.NAME_BYTES_MAX, 1)
_SIGNATURE: Final = blob(1, limits.SIGNATURE_BYTES_MAX)
_TASKS: Final = increasing(limits.TASKS_MAX - 1, limits.TASKS_MAX)
_GENERATION: Final = integer(limits.GENERATION_MIN, limits.GENERATION_MAX)
_PERSON_DOC: Final = blob(1, limits.PERSON_DOC_BYTES_MAX)

# One check a field, in the order of the wire; for Results see below.
_CHECKS: Final[dict[type[Any], tuple[Check, ...]]] = {
    Site: (_NAME, text(limits.VERSION_BYTES_MAX)),
    UserAdd: (
        _DIGEST,
        _NAME,
        distinct(_NAME, 0, limits.GROUPS_MAX),
        distinct(_NAME, 0, limits.ROLES_MAX),
        _PERSON_DOC,
        _SIGNATURE,
        _DIGEST,
    ),
    UserRemove: (_DIGEST, _PERSON_DOC, _SIGNATURE, _DIGEST),
    Found: (_DIGEST, exact(limits.NONCE_BYTES), distinct(_DIGEST, 1, limits.COUNCIL_MAX)),
    Dataset: (_DIGEST, blob(1, limits.DATASET_DOC_BYTES_MAX), _SIGNATURE, _DIGEST),
    Command: (_DIGEST, blob(1, limits.COMMAND_DOC_BYTES_MAX), _SIGNATURE, _DIGEST),
    Grant: (_DIGEST, _DIGEST, _TASKS, check_ranges, _DIGEST),
    Accept: (_DIGEST, _DIGEST, _GENERATION, integer(1, limits.SEQ_MAX), _DIGEST),
    Release: (_DIGEST, _DIGEST, _TASKS, check_ranges, text(limits.WHY_BYTES_MAX)),
    Force: (
        _DIGEST,
        integer(1, limits.TERM_MAX),
        integer(1, limits.SEQ_MAX),
        _DIGEST,
        blob(1, limits.FORCE_DOC_BYTES_MAX),
        _SIGNATURE,
        _DIGEST,
    ),
}
_CLASSES: Final[tuple[type[Any], ...]] = (*_CHECKS, Results)
_BY_KIND: Final[dict[int, type[Any]]] = {cls.kind: cls for cls in _CLASSES}
_NAMES: Final[dict[type[Any], list[str]]] = {
    cls: [field.name for field in fields(cls)] for cls in _BY_KIND.values()
}
_VALUES: Final[dict[type[Any], Callable[[Any], tuple[Any, ...]]]] = {
    cls: attrgetter(*names) for cls, names in _NAMES.items()
}


def _column(high: int) -> _RowCheck:
    return lambda value, values: check_column(value, len(values[_JOBS_AT]), high)


def _index_into(table_at: int) -> _RowCheck:
    return lambda value, values: check_column(
        value, len(values[_JOBS_AT]), len(values[table_at]) - 1
    )


def _exit(value: Any, values: list[Any]) -> None:
    rows = len(values[_JOBS_AT])
    check_signed_column(value, rows, limits.EXIT_MIN, limits.EXIT_MAX)


def _digests(value: Any, values: list[Any]) -> None:
    check_digest_column(value, len(values[_JOBS_AT]))


def _errors(value: Any, values: list[Any]) -> None:
    _ERRORS(value)
    if value[0] != "":
        raise BadField('the first error class is ""')


def _tails(value: Any, values: list[Any]) -> None:
    rows = len(values[_JOBS_AT])
    if type(value) is not list or len(value) > rows:
        raise BadField("not a list of at most one tail a row")
    last = -1
    for tail in value:
        if type(tail) is not list or len(tail) != 2 or type(tail[0]) is not int:
            raise BadField("a tail that is not [row, text]")
        if not last < tail[0] < rows:
            raise BadField("tails whose rows do not ascend within the record")
        _TAIL_TEXT(tail[1])
        last = tail[0]


def _alone(check: Check) -> _RowCheck:
    return lambda value, values: check(value)


_ERRORS: Final = items(text(limits.ERROR_BYTES_MAX), 1, limits.ERRORS_MAX)
_TAIL_TEXT: Final = text(limits.TAIL_BYTES_MAX)
_JOBS_AT: Final = _NAMES[Results].index("jobs")
_MEASURE: Final = _column(limits.MEASURE_MAX)
_RESULTS_CHECKS: Final[tuple[tuple[str, _RowCheck], ...]] = (
    ("dataset", _alone(_DIGEST)),
    ("task", _alone(integer(0, limits.TASKS_MAX - 1))),
    ("jobs", _alone(integers(limits.JOBS_MAX - 1, 1, limits.RESULTS_ROWS_MAX))),
    ("outcome", _column(max(Outcome))),
    ("start_ms", _alone(integer(0, limits.WALL_CLOCK_MS_MAX))),
    ("offset_ms", _MEASURE),
    ("wall_ms", _MEASURE),
    ("cpu_ms", _MEASURE),
    ("memory_kib", _MEASURE),
    ("disk_kib", _MEASURE),
    ("gpu_ms", _MEASURE),
    ("hosts", _alone(items(text(limits.HOST_BYTES_MAX), 1, limits.HOSTS_MAX))),
    ("host", _index_into(_NAMES[Results].index("hosts"))),
    ("exit", _exit),
    ("errors", _errors),
    ("error", _index_into(_NAMES[Results].index("errors"))),
    ("outputs", _digests),
    ("inputs", _digests),
    ("log", _digests),
    ("factors", _alone(items(integer(1, limits.FACTOR_MAX), 2, 2))),
    ("tails", _tails),
)
_PLAIN_CHECKS: Final = {
    cls: tuple((name, _alone(check)) for name, check in zip(_NAMES[cls], checks, strict=True))
    for cls, checks in _CHECKS.items()
}
# Fields with one value a row, unless one value stands for all.
_ROW_NAMES: Final = (
    "jobs",
    "outcome",
    "offset_ms",
    "wall_ms",
    "cpu_ms",
    "memory_kib",
    "disk_kib",
    "gpu_ms",
    "host",
    "exit",
    "error",
    "outputs",
    "inputs",
    "log",
)


def encode(record: Record) -> bytes:
    """The canonical bytes of a record; raises LocalError when `decode` would refuse it.

    Columns may be any sequence of integers, `array` included.
    """
    if isinstance(record, Unknown):
        return record.raw
    values = [_plain(value) for value in _VALUES[type(record)](record)]
    try:
        _check(type(record), values)
    except BadField as error:
        raise LocalError(f"{type(record).__name__} record: {error}") from None
    encoded = codec.pack([record.kind, *values])
    if len(encoded) > limits.RECORD_BYTES_MAX:
        raise LocalError(
            f"{type(record).__name__} record of {len(encoded)} bytes; an entry holds"
            f" {limits.RECORD_BYTES_MAX}"
        )
    return encoded


def decode(body: bytes, count: int | None = None) -> list[Record | Refused]:
    """The records of an entry's body. Never raises: what is wrong comes back as Refused.

    count: what the entry's header says; a body with another number of records is refused whole.
    """
    try:
        decoded = codec.unpack_shallow(body, bytes_max=limits.ENTRY_BODY_BYTES_MAX)
    except PeerError as error:
        return [Refused(0, f"a body of {error}")]
    if type(decoded) is not list:
        return [Refused(0, "a body that is no array")]
    if len(decoded) > limits.ENTRY_RECORDS_MAX or count not in (None, len(decoded)):
        return [Refused(0, f"a body of {len(decoded)} records")]
    records = [_decode_one(item) for item in decoded]
    if any(type(record) is Unknown for record in records):
        raw = codec.split_array(body, bytes_max=limits.ENTRY_BODY_BYTES_MAX)
        for row, record in enumerate(records):
            if type(record) is Unknown:
                records[row] = Unknown(record.kind_number, raw[row])
    return records


def split(record: Results, bytes_max: int = limits.RECORD_BYTES_MAX) -> list[Results]:
    """The same rows, in order, in as few records as fit `bytes_max` by halving.

    Raises LocalError when one row alone does not fit, or a field is wrong.
    """
    rows = len(record.jobs)
    if rows <= limits.RESULTS_ROWS_MAX and _packed_bytes(record) <= bytes_max:
        return [record]
    if rows <= 1:
        raise LocalError(f"a result whose one row does not fit into {bytes_max} bytes")
    half = rows // 2
    return [
        *split(_rows(record, 0, half), bytes_max),
        *split(_rows(record, half, rows), bytes_max),
    ]


def cut_tail(value: str) -> str:
    """The last bytes of an error's text that a tail may hold, cut between characters."""
    if text_bytes(value) <= limits.TAIL_BYTES_MAX:
        return value.encode("utf-8", "replace").decode("utf-8")
    cut = value.encode("utf-8", "replace")[-limits.TAIL_BYTES_MAX :]
    return cut.decode("utf-8", "ignore")


def compact(column: Sequence[int]) -> Column:
    """One value if all rows agree, else the column itself. At least one row."""
    return column[0] if list(column).count(column[0]) == len(column) else column


def cells(column: Column, rows: int) -> Sequence[int]:
    """A column as one value a row."""
    return [column] * rows if isinstance(column, int) else column


def digest_cells(column: DigestColumn, rows: int) -> Sequence[bytes]:
    """A digest column as one value a row."""
    return [column] * rows if isinstance(column, bytes) else column


def _decode_one(item: Any) -> Record | Refused:
    if type(item) is not list or not item:
        return Refused(0, "a record that is no array")
    kind = item[0]
    if type(kind) is not int or not 1 <= kind <= KIND_MAX:
        return Refused(0, "a record without a kind")
    cls = _BY_KIND.get(kind)
    if cls is None:
        return Unknown(kind, b"")
    del item[0]
    try:
        _check(cls, item)
    except BadField as error:
        return Refused(kind, str(error))
    record: Record = cls(*item)
    return record


def _check(cls: type[Any], values: list[Any]) -> None:
    """Raise BadField, with the field's name, unless all values are allowed in `cls`."""
    names = _NAMES[cls]
    if len(values) != len(names):
        raise BadField(f"{len(values)} fields where {len(names)} are defined")
    checks = _RESULTS_CHECKS if cls is Results else _PLAIN_CHECKS[cls]
    for (name, check), value in zip(checks, values, strict=True):
        try:
            check(value, values)
        except BadField as error:
            raise BadField(f"{name}: {error}") from None


def _plain(value: Any) -> Any:
    """Sequences as lists, arrays and tuples included; all else as it is."""
    if isinstance(value, array):
        return value.tolist()
    if isinstance(value, list | tuple | range):
        if value and isinstance(value[0], list | tuple):  # tails: the only lists of lists
            return [list(item) if isinstance(item, tuple) else item for item in value]
        return value if isinstance(value, list) else list(value)
    return int(value) if isinstance(value, IntEnum) else value


def _packed_bytes(record: Results) -> int:
    values = [_plain(value) for value in _VALUES[Results](record)]
    return len(codec.pack([Results.kind, *values]))


def _rows(record: Results, low: int, high: int) -> Results:
    """Rows low..high-1 as a record of their own; tables of hosts and errors stay whole."""
    cut = {
        name: value[low:high]
        for name in _ROW_NAMES
        if not isinstance(value := getattr(record, name), int | bytes)
    }
    tails = [[int(row) - low, said] for row, said in record.tails if low <= int(row) < high]
    return replace(record, **cut, tails=tails)
