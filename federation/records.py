"""Records as bytes: encode, decode, and every bound of every field. Pure.

What a decoded record means is for others to say; here a record is refused only for its shape.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from enum import IntEnum
from operator import attrgetter
from typing import Any, Final

from federation import codec, limits
from federation.errors import LocalError, PeerError
from federation.fields import (
    BadField,
    Check,
    blob,
    check_column,
    check_digest_column,
    check_ranges,
    check_ref,
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
from federation.kinds import (
    Accept,
    Ack,
    Address,
    Adopt,
    Column,
    Command,
    Dataset,
    DigestColumn,
    Force,
    Forked,
    Found,
    FoundCouncil,
    Grant,
    Holds,
    Import,
    MemberAdd,
    MemberRemove,
    Move,
    Open,
    Outcome,
    Policy,
    Ranges,
    Record,
    Ref,
    Refused,
    Release,
    Reproduce,
    Results,
    SeatClose,
    Site,
    Unknown,
    UserAdd,
    UserRemove,
    Vote,
)
from keys.signing import DIGEST_BYTES, SIGNATURE_BYTES

__all__ = [
    "KIND_MAX",
    "Accept",
    "Ack",
    "Address",
    "Adopt",
    "Column",
    "Command",
    "Dataset",
    "DigestColumn",
    "Force",
    "Forked",
    "Found",
    "FoundCouncil",
    "Grant",
    "Holds",
    "Import",
    "MemberAdd",
    "MemberRemove",
    "Move",
    "Open",
    "Outcome",
    "Policy",
    "Ranges",
    "Record",
    "Ref",
    "Refused",
    "Release",
    "Reproduce",
    "Results",
    "SeatClose",
    "Site",
    "Unknown",
    "UserAdd",
    "UserRemove",
    "Vote",
    "cells",
    "compact",
    "cut_tail",
    "decode",
    "digest_cells",
    "encode",
    "split",
]

KIND_MAX: Final = 65_535

# A check of one field that may look at the fields before it.
_RowCheck = Callable[[Any, list[Any]], None]

_DIGEST: Final = exact(32)
_NAME: Final = text(limits.NAME_BYTES_MAX, 1)
_SIGNATURE: Final = blob(1, limits.SIGNATURE_BYTES_MAX)
_TASKS: Final = increasing(limits.TASKS_MAX - 1, limits.TASKS_MAX)
_GENERATION: Final = integer(limits.GENERATION_MIN, limits.GENERATION_MAX)
_PERSON_DOC: Final = blob(1, limits.PERSON_DOC_BYTES_MAX)
_MEMBER_DOC: Final = blob(1, limits.MEMBER_DOC_BYTES_MAX)
_ADDRESSES: Final = distinct(text(limits.ADDRESS_BYTES_MAX, 1), 0, limits.ADDRESSES_MAX)
_SEQ: Final = integer(1, limits.SEQ_MAX)
_TERM: Final = integer(0, limits.TERM_MAX)
_NEXT_TERM: Final = integer(1, limits.TERM_MAX)
_ACKS: Final = items(check_ref, 1, limits.COUNCIL_MAX)
_HEADER: Final = blob(1, limits.HEADER_BYTES_MAX)

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
    MemberAdd: (
        _DIGEST,
        _NAME,
        _ADDRESSES,
        _MEMBER_DOC,
        _SIGNATURE,
        _DIGEST,
        blob(0, limits.PROOF_BYTES_MAX),
    ),
    MemberRemove: (_DIGEST, _MEMBER_DOC, _SIGNATURE, _DIGEST),
    Policy: (blob(1, limits.POLICY_DOC_BYTES_MAX), _SIGNATURE, _DIGEST),
    Address: (_ADDRESSES,),
    Forked: (_HEADER, exact(SIGNATURE_BYTES), _HEADER, exact(SIGNATURE_BYTES)),
    Found: (_DIGEST, exact(limits.NONCE_BYTES), distinct(_DIGEST, 1, limits.COUNCIL_MAX)),
    Dataset: (_DIGEST, blob(1, limits.DATASET_DOC_BYTES_MAX), _SIGNATURE, _DIGEST),
    Command: (_DIGEST, blob(1, limits.COMMAND_DOC_BYTES_MAX), _SIGNATURE, _DIGEST),
    Grant: (_DIGEST, _DIGEST, _TASKS, check_ranges, _DIGEST),
    Accept: (_DIGEST, _DIGEST, _GENERATION, _SEQ, _DIGEST),
    Open: (_DIGEST, _NEXT_TERM, _ACKS, _TERM, _SEQ, _DIGEST),
    Import: (
        _DIGEST,
        _DIGEST,
        integer(0, limits.TASKS_MAX - 1),
        check_ranges,
        _DIGEST,
        check_ref,
        _ACKS,
    ),
    Reproduce: (_DIGEST, _DIGEST, _TASKS, check_ranges),
    Move: (_DIGEST, _DIGEST, _DIGEST),
    Adopt: (_DIGEST, _DIGEST, _DIGEST, check_ref, _ACKS),
    SeatClose: (
        _DIGEST,
        _DIGEST,
        _GENERATION,
        integer(0, limits.SEQ_MAX),
        blob(0, DIGEST_BYTES),
    ),
    Ack: (_DIGEST, _TERM, _DIGEST, _GENERATION, _SEQ, _DIGEST),
    Vote: (_DIGEST, _NEXT_TERM, _DIGEST, _TERM, _SEQ, _DIGEST),
    Release: (_DIGEST, _DIGEST, _TASKS, check_ranges, text(limits.WHY_BYTES_MAX)),
    Force: (
        _DIGEST,
        _NEXT_TERM,
        _SEQ,
        _DIGEST,
        blob(1, limits.FORCE_DOC_BYTES_MAX),
        _SIGNATURE,
        _DIGEST,
    ),
    FoundCouncil: (
        _DIGEST,
        exact(limits.NONCE_BYTES),
        distinct(_DIGEST, 1, limits.COUNCIL_MAX),
        items(_GENERATION, 1, limits.COUNCIL_MAX),
    ),
}
_CLASSES: Final[tuple[type[Any], ...]] = (*_CHECKS, Results, Holds)
_BY_KIND: Final[dict[int, type[Any]]] = {cls.kind: cls for cls in _CLASSES}
_NAMES: Final[dict[type[Any], list[str]]] = {
    cls: [field.name for field in fields(cls)] for cls in _BY_KIND.values()
}


def _only(name: str) -> Callable[[Any], tuple[Any, ...]]:
    """`attrgetter` for a record of one field, which it would give bare."""
    return lambda record: (getattr(record, name),)


_VALUES: Final[dict[type[Any], Callable[[Any], tuple[Any, ...]]]] = {
    cls: attrgetter(*names) if len(names) > 1 else _only(names[0]) for cls, names in _NAMES.items()
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
_HOLDS_CHECKS: Final[tuple[tuple[str, _RowCheck], ...]] = (
    *_RESULTS_CHECKS[:3],
    ("outputs", _digests),
)
_PLAIN_CHECKS: Final = {
    cls: tuple((name, _alone(check)) for name, check in zip(_NAMES[cls], checks, strict=True))
    for cls, checks in _CHECKS.items()
}
_FIELD_CHECKS: Final = {**_PLAIN_CHECKS, Results: _RESULTS_CHECKS, Holds: _HOLDS_CHECKS}
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


def kinds() -> list[int]:
    """Numbers of the kinds of records that this version knows, ascending."""
    return sorted(_BY_KIND)


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
    for (name, check), value in zip(_FIELD_CHECKS[cls], values, strict=True):
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
