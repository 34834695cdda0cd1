"""Claims and recalls: what a site asks of a leader, and a leader of an owner. Pure.

None of these is logged. They travel as requests, whose two ends have proved their keys to each
other, also through a relay; so they carry no signature of their own, and the asking site is the one
that the request came from. What they bring about is logged: grants in the leader's control feed,
releases in the owner's. A lie in a claim costs time at worst: a grant that is not run is recalled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeVar

from federation import codec, limits
from federation.errors import LocalError, PeerError
from federation.fields import (
    BadField,
    Check,
    check_ref,
    exact,
    increasing,
    integer,
    items,
)
from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.shapes import (
    Shape,
    Workers,
    read_shape,
    read_workers,
    shape_fields,
    workers_fields,
)
from keys.signing import DIGEST_BYTES

CLAIM: Final = "claim"  # kinds of requests
RECALL: Final = "recall"

Document = TypeVar("Document")
_Reader = Callable[[list[Any]], Document]

_VERSION: Final = 1
_UNITS: Final = integer(0, limits.UNITS_MAX)
_LABEL: Final = exact(limits.LABEL_BYTES)
_DIGEST: Final = exact(DIGEST_BYTES)
_TASK: Final = integer(0, limits.TASKS_MAX - 1)
_TASKS: Final = increasing(limits.TASKS_MAX - 1, limits.TASKS_MAX)


class Verdict(IntEnum):
    """How a leader answers a claim."""

    GRANTED = 0
    NOTHING = 1  # no such units are to be had: the leader's beacon says when there are
    LATER = 2  # owners were asked to give some back, or the claim waits for another's answer


@dataclass(frozen=True, slots=True)
class Held:
    """Units that a site has and has not begun. dataset: the label of its id."""

    dataset: bytes
    units: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A site asks the leader of some shards for units of one shape.

    units: how many of one person's it wants to hold, those it has included. slots: how many run
    here side by side. per_day: how many it does a day, as measured; 0 when it has not done any.
    workers: what it could run, for the other tasks of the same jobs. held: of this leader's
    datasets.
    """

    shape: Shape
    units: int
    slots: int
    per_day: int
    workers: Sequence[Workers]
    held: Sequence[Held]


@dataclass(frozen=True, slots=True)
class Answer:
    """The leader's: the entries that hold the grants, each once, in order.

    units: how many were granted, of the shape that was asked for. retry_s: when to ask again.
    """

    verdict: Verdict
    entries: Sequence[EntryRef]
    units: int
    retry_s: int


@dataclass(frozen=True, slots=True)
class Recall:
    """A leader asks an owner to give units back that it has not begun.

    task: whose units. beside: tasks that whoever gets them could run as well: of the same jobs,
    those that wait for the task come along. units: at most so many of the task.
    """

    shard: ShardID
    dataset: DatasetID
    task: int
    beside: Sequence[int]
    units: int


@dataclass(frozen=True, slots=True)
class Recalled:
    """The owner's answer: how many units of the task its release names."""

    units: int


def label(id_: bytes) -> bytes:
    """How claims and beacons name a dataset: enough to know it again among those that are open."""
    return id_[: limits.LABEL_BYTES]


def write_claim(claim: Claim) -> bytes:
    """Raises LocalError for a claim that `read_claim` would refuse."""
    fields = [
        shape_fields(claim.shape),
        claim.units,
        claim.slots,
        claim.per_day,
        workers_fields(claim.workers),
        [[held.dataset, held.units] for held in claim.held],
    ]
    return _written(fields, _read_claim)


def read_claim(body: bytes) -> Claim:
    """Raises PeerError."""
    return _read(body, 6, _read_claim)


def write_answer(answer: Answer) -> bytes:
    """Raises LocalError for an answer that `read_answer` would refuse."""
    entries = [
        [entry.feed.site, entry.feed.generation, entry.seq, entry.id] for entry in answer.entries
    ]
    return _written([int(answer.verdict), entries, answer.units, answer.retry_s], _read_answer)


def read_answer(body: bytes) -> Answer:
    """Raises PeerError."""
    return _read(body, 4, _read_answer)


def write_recall(recall: Recall) -> bytes:
    """Raises LocalError for a recall that `read_recall` would refuse."""
    fields = [recall.shard, recall.dataset, recall.task, list(recall.beside), recall.units]
    return _written(fields, _read_recall)


def read_recall(body: bytes) -> Recall:
    """Raises PeerError."""
    return _read(body, 5, _read_recall)


def write_recalled(answer: Recalled) -> bytes:
    """Raises LocalError for an answer that `read_recalled` would refuse."""
    return _written([answer.units], _read_recalled)


def read_recalled(body: bytes) -> Recalled:
    """Raises PeerError."""
    return _read(body, 1, _read_recalled)


# Checks, field by field


def _read_claim(fields: list[Any]) -> Claim:
    shape, units, slots, per_day, workers, held = fields
    _all(("units", _UNITS, units), ("slots", _UNITS, slots))
    _all(("per_day", integer(0, limits.PER_DAY_MAX), per_day), ("held", _HELD, held))
    return Claim(
        read_shape(shape),
        units,
        slots,
        per_day,
        read_workers(workers),
        tuple(Held(dataset, count) for dataset, count in held),
    )


def _read_answer(fields: list[Any]) -> Answer:
    verdict, entries, units, retry_s = fields
    _all(
        ("verdict", integer(0, max(Verdict)), verdict),
        ("entries", items(check_ref, 0, limits.ANSWER_ENTRIES_MAX), entries),
        ("units", _UNITS, units),
        ("retry_s", integer(0, limits.RETRY_S_MAX), retry_s),
    )
    refs = tuple(
        EntryRef(FeedID(SiteID(site), generation, Lane.CONTROL), seq, EntryID(id_))
        for site, generation, seq, id_ in entries
    )
    return Answer(Verdict(verdict), refs, units, retry_s)


def _read_recall(fields: list[Any]) -> Recall:
    shard, dataset, task, beside, units = fields
    _all(("shard", _DIGEST, shard), ("dataset", _DIGEST, dataset), ("task", _TASK, task))
    _all(("beside", _TASKS, beside), ("units", integer(1, limits.UNITS_MAX), units))
    if task not in beside:
        raise BadField("beside: the task itself is missing")
    return Recall(shard, dataset, task, tuple(beside), units)


def _read_recalled(fields: list[Any]) -> Recalled:
    _all(("units", _UNITS, fields[0]))
    return Recalled(fields[0])


def _held(value: Any) -> None:
    if type(value) is not list or len(value) != 2:
        raise BadField("not [dataset, units]")
    _LABEL(value[0])
    _UNITS(value[1])


_HELD: Final = items(_held, 0, limits.HELD_MAX)


def _all(*checks: tuple[str, Check, Any]) -> None:
    for name, check, value in checks:
        try:
            check(value)
        except BadField as error:
            raise BadField(f"{name}: {error}") from None


def _written(fields: list[Any], check: _Reader[Any]) -> bytes:
    try:
        check(fields)
    except BadField as error:
        raise LocalError(str(error)) from None
    return codec.pack([_VERSION, *fields])


def _read(body: bytes, count: int, read: _Reader[Document]) -> Document:
    fields = codec.unpack(body, bytes_max=limits.CLAIM_BYTES_MAX)
    if type(fields) is not list or not fields or type(fields[0]) is not int:
        raise PeerError("no document of a version")
    if fields[0] != _VERSION:
        raise PeerError("not of a version that this site speaks")
    del fields[0]
    if len(fields) != count:
        raise PeerError(f"{len(fields)} fields where {count} are defined")
    try:
        return read(fields)
    except BadField as error:
        raise PeerError(str(error)) from None
