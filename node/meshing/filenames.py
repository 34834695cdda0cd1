"""How sites ask each other for a piece of a file: by the name of who may read it. Pure.

A file is named by the dataset that brings it, or by the results entry and row of an attempt that
made it; its digest alone opens nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from federation import codec, limits
from federation.errors import PeerError
from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, SiteID
from keys.signing import DIGEST_BYTES

PIECE_BYTES_MAX: Final = 512 * 1024  # of one answer; half of what a request may carry
ASK_BYTES_MAX: Final = 512
MANY_MAX: Final = 256  # small files asked for at once
SMALL_BYTES_MAX: Final = 32 * 1024  # a larger one comes by itself
SIZE_MAX: Final = 1 << 40
_OF_DATASET: Final = 0
_OF_ATTEMPT: Final = 1


@dataclass(frozen=True, slots=True)
class OfDataset:
    """A file that was sent along with a dataset: a user's file, or its foreach table."""

    dataset: DatasetID


@dataclass(frozen=True, slots=True)
class OfAttempt:
    """The log of an attempt, its list of outputs, or one of them. entry: of a results feed."""

    dataset: DatasetID
    task: int
    job: int
    entry: EntryRef


FileName = OfDataset | OfAttempt


@dataclass(frozen=True, slots=True)
class Piece:
    """A question: the bytes of a file from `offset` on."""

    name: FileName
    digest: bytes
    offset: int


def write_piece(piece: Piece) -> bytes:
    """The question's bytes."""
    name = piece.name
    fields: list[Any] = [_OF_DATASET, name.dataset, piece.digest, piece.offset]
    if isinstance(name, OfAttempt):
        feed = name.entry.feed
        where = [feed.site, feed.generation, name.entry.seq, name.entry.id]
        fields = [_OF_ATTEMPT, *fields[1:], name.task, name.job, *where]
    return codec.pack(fields)


def read_piece(data: bytes) -> Piece:
    """Check a question that came from another site. Raises PeerError."""
    fields = codec.unpack(data, bytes_max=ASK_BYTES_MAX, depth_max=1)
    if type(fields) is not list or len(fields) < 4:
        raise PeerError("a question for a file that is no list of fields")
    kind, dataset, digest, offset, *rest = fields
    _check(type(kind) is int, "a kind")
    _check(_is_digest(dataset) and _is_digest(digest), "digests of 32 bytes")
    _check(_in(offset, 0, SIZE_MAX), f"an offset from 0 to {SIZE_MAX}")
    if kind == _OF_DATASET and not rest:
        return Piece(OfDataset(DatasetID(dataset)), digest, offset)
    _check(kind == _OF_ATTEMPT and len(rest) == 6, "a dataset or an attempt")
    task, job, site, generation, seq, entry = rest
    _check(_in(task, 0, limits.TASKS_MAX - 1), "a task")
    _check(_in(job, 0, limits.JOBS_MAX - 1), "a job")
    _check(_is_digest(site) and _is_digest(entry), "an entry of a site")
    _check(_in(generation, limits.GENERATION_MIN, limits.GENERATION_MAX), "a generation")
    _check(_in(seq, 1, limits.SEQ_MAX), "a place in a feed")
    feed = FeedID(SiteID(site), generation, Lane.RESULTS)
    name = OfAttempt(DatasetID(dataset), task, job, EntryRef(feed, seq, EntryID(entry)))
    return Piece(name, digest, offset)


def write_answer(size: int, piece: bytes) -> bytes:
    """The whole file's size, and its bytes from the asked offset on."""
    return codec.pack([size, piece])


def read_answer(data: bytes) -> tuple[int, bytes]:
    """(size of the whole file, bytes). Raises PeerError."""
    fields = codec.unpack(data, bytes_max=PIECE_BYTES_MAX + 64, depth_max=1)
    if type(fields) is not list or len(fields) != 2:
        raise PeerError("a piece of a file that is not [size, bytes]")
    size, piece = fields
    _check(_in(size, 0, SIZE_MAX), f"a size from 0 to {SIZE_MAX}")
    _check(type(piece) is bytes and len(piece) <= PIECE_BYTES_MAX, "bytes")
    return size, piece


def write_many(pieces: Sequence[Piece]) -> bytes:
    """A question for at most MANY_MAX whole small files."""
    return codec.pack([write_piece(piece) for piece in pieces])


def read_many(data: bytes) -> list[Piece]:
    """Raises PeerError."""
    asked = codec.unpack(data, bytes_max=MANY_MAX * (ASK_BYTES_MAX + 8), depth_max=1)
    if type(asked) is not list or len(asked) > MANY_MAX:
        raise PeerError(f"a question for files that is no list of at most {MANY_MAX}")
    _check(all(type(each) is bytes for each in asked), "a file's name in each place")
    return [read_piece(each) for each in asked]


def write_contents(contents: Sequence[bytes | None]) -> bytes:
    """Whole files in the order in which they were asked for; None for one that does not come."""
    return codec.pack(list(contents))


def read_contents(data: bytes, count: int) -> list[bytes | None]:
    """Raises PeerError."""
    found = codec.unpack(data, bytes_max=PIECE_BYTES_MAX + MANY_MAX * 8, depth_max=1)
    if type(found) is not list or len(found) != count:
        raise PeerError(f"not {count} files")
    _check(all(each is None or type(each) is bytes for each in found), "bytes in each place")
    return found


def _check(good: bool, wanted: str) -> None:
    if not good:
        raise PeerError(f"a question for a file without {wanted}")


def _is_digest(value: Any) -> bool:
    return type(value) is bytes and len(value) == DIGEST_BYTES


def _in(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
