"""Beacons: what a site says of itself every few seconds. Signed, passed on, never logged. Pure.

A beacon is a hint with an age. Nothing is folded from it, and no rule about ownership reads it but
for the leader's judgement whom to grant to, and when an owner counts as lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from federation import codec, limits
from federation.errors import LocalError, PeerError
from federation.fields import BadField, Check, blob, exact, integer, items, text
from federation.ids import SiteID
from federation.shapes import (
    Shape,
    Workers,
    read_shape,
    read_workers,
    shape_fields,
    workers_fields,
)
from keys.signing import KEY_BYTES

KIND: Final = "beacon"
LOAD_MAX: Final = 1000  # per mille of the cores that are there


@dataclass(frozen=True, slots=True)
class Heads:
    """The newest entries of a site's own feeds: seq, and how the entry's id begins."""

    control: int
    control_id: bytes
    results: int
    results_id: bytes


@dataclass(frozen=True, slots=True)
class Want:
    """Units of one dataset and shape that a leader would grant. dataset: the label of its id.

    free: those that nobody owns and that could run. movable: those that owners have not ended.
    """

    dataset: bytes
    shape: Shape
    free: int
    movable: int


@dataclass(frozen=True, slots=True)
class Running:
    """Units of a dataset that run at the site. dataset: the label of its id."""

    dataset: bytes
    units: int


@dataclass(frozen=True, slots=True)
class Ban:
    """A worker that gets no units. until_ms: by the clock of the site, as `clock_ms`."""

    host: str
    until_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class Beacon:
    """One site at one moment.

    (generation, boot, counter) order the beacons of a site: boot names a start of its process, and
    is larger for a later one. clock_ms: wall clock, for display. load: per mille of its cores that
    are busy. pilots: those that are up. active, ready: units that run, and that could. batch: the
    kinds of its batch systems; none where it only starts pilots itself. barred: workers that get
    no units, of which `bans` tells some.
    """

    site: SiteID
    generation: int
    boot: int
    counter: int
    name: str
    version: str
    drained: bool
    heads: Heads
    clock_ms: int
    load: int
    pilots: int
    active: int
    ready: int
    workers: Sequence[Workers]
    wants: Sequence[Want]
    running: Sequence[Running]
    batch: Sequence[str] = ()
    barred: int = 0
    bans: Sequence[Ban] = ()

    @property
    def order(self) -> tuple[int, int, int]:
        """Of two beacons of a site the one with the larger order is the newer."""
        return self.generation, self.boot, self.counter


def write_beacon(beacon: Beacon) -> bytes:
    """The document that is signed. Raises LocalError for one that `read_beacon` would refuse."""
    heads = beacon.heads
    fields = [
        beacon.site,
        beacon.generation,
        beacon.boot,
        beacon.counter,
        beacon.name,
        beacon.version,
        int(beacon.drained),
        [heads.control, heads.control_id, heads.results, heads.results_id],
        beacon.clock_ms,
        beacon.load,
        beacon.pilots,
        beacon.active,
        beacon.ready,
        workers_fields(beacon.workers),
        [
            [want.dataset, shape_fields(want.shape), want.free, want.movable]
            for want in beacon.wants
        ],
        [[each.dataset, each.units] for each in beacon.running],
        list(beacon.batch),
        beacon.barred,
        [[each.host, each.until_ms, each.why] for each in beacon.bans],
    ]
    while len(fields) > FIELDS_MIN and not fields[-1]:
        fields.pop()
    try:
        _checked(fields)
    except BadField as error:
        raise LocalError(f"beacon: {error}") from None
    document = codec.pack(fields)
    if len(document) > limits.BEACON_BYTES_MAX:
        raise LocalError(f"a beacon of {len(document)} bytes")
    return document


def read_beacon(document: bytes) -> Beacon:
    """A beacon as it came; who signed it was checked before. Raises PeerError.

    Fields of later versions are left out, those that an earlier one does not have are empty.
    """
    fields = codec.unpack(document, bytes_max=limits.BEACON_BYTES_MAX)
    if type(fields) is not list:
        raise PeerError("a beacon that is no array")
    try:
        return _checked(fields)
    except BadField as error:
        raise PeerError(f"beacon: {error}") from None


def _checked(fields: list[Any]) -> Beacon:
    if not FIELDS_MIN <= len(fields) <= limits.BEACON_FIELDS_MAX:
        raise BadField(f"{len(fields)} fields where at least {FIELDS_MIN} are defined")
    fields = [*fields[: len(_CHECKS)], *_EMPTY[len(fields) - FIELDS_MIN :]]
    for (name, check), value in zip(_CHECKS, fields, strict=True):
        try:
            check(value)
        except BadField as error:
            raise BadField(f"{name}: {error}") from None
    values = list(fields)
    values[_DRAINED] = bool(fields[_DRAINED])
    values[_HEADS] = Heads(*fields[_HEADS])
    workers, wants, running, batch, barred, bans = fields[_WORKERS:]
    values[_WORKERS:] = [
        read_workers(workers),
        tuple(Want(want[0], read_shape(want[1]), *want[2:]) for want in wants),
        tuple(Running(*each) for each in running),
        tuple(batch),
        barred,
        tuple(Ban(*each) for each in bans),
    ]
    return Beacon(*values)


def _row(*checks: Check) -> Check:
    def check(value: Any) -> None:
        if type(value) is not list or len(value) != len(checks):
            raise BadField(f"not {len(checks)} fields")
        for each, item in zip(checks, value, strict=True):
            each(item)

    return check


def _shape(value: Any) -> None:
    read_shape(value)


def _workers(value: Any) -> None:
    read_workers(value)


_LABEL: Final = exact(limits.LABEL_BYTES)
_HEAD_ID: Final = blob(0, limits.LABEL_BYTES)
_SEQ: Final = integer(0, limits.SEQ_MAX)
_UNITS: Final = integer(0, limits.UNITS_MAX)
_CLOCK: Final = integer(0, limits.WALL_CLOCK_MS_MAX)
_BAN_HOST: Final = text(limits.BAN_HOST_BYTES_MAX)
_BAN_WHY: Final = text(limits.BAN_WHY_BYTES_MAX)
_CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("site", exact(KEY_BYTES)),
    ("generation", integer(limits.GENERATION_MIN, limits.GENERATION_MAX)),
    ("boot", integer(0, limits.BOOT_MAX)),
    ("counter", integer(0, limits.COUNTER_MAX)),
    ("name", text(limits.NAME_BYTES_MAX)),
    ("version", text(limits.VERSION_BYTES_MAX)),
    ("drained", integer(0, 1)),
    ("heads", _row(_SEQ, _HEAD_ID, _SEQ, _HEAD_ID)),
    ("clock_ms", _CLOCK),
    ("load", integer(0, LOAD_MAX)),
    ("pilots", _UNITS),
    ("active", _UNITS),
    ("ready", _UNITS),
    ("workers", _workers),
    ("wants", items(_row(_LABEL, _shape, _UNITS, _UNITS), 0, limits.WANTS_MAX)),
    ("running", items(_row(_LABEL, _UNITS), 0, limits.RUNNING_MAX)),
    ("batch", items(text(limits.BATCH_KIND_BYTES_MAX), 0, limits.BATCH_KINDS_MAX)),
    ("barred", _UNITS),
    ("bans", items(_row(_BAN_HOST, _CLOCK, _BAN_WHY), 0, limits.BANS_MAX)),
)
_EMPTY: Final[tuple[Any, ...]] = ([], 0, [])  # batch, barred, bans
FIELDS_MIN: Final = len(_CHECKS) - len(_EMPTY)  # those of the first version
_NAMES: Final = [name for name, _ in _CHECKS]
_DRAINED, _HEADS, _WORKERS = map(_NAMES.index, ("drained", "heads", "workers"))
