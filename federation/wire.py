"""Messages between two sites: every kind, its fields, its bounds. Pure.

A message is a frame: four bytes of length, big endian, then a msgpack array `[kind, field, …]`.
What is read is bounded before it is looked at; what is wrong raises PeerError and nothing else.
Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, ClassVar, Final

from federation import codec, limits
from federation.errors import LocalError, PeerError
from federation.fields import BadField, Check, blob, exact, integer, items, text
from federation.ids import FeedID, Lane, SiteID
from keys.signing import DIGEST_BYTES, KEY_BYTES, SIGNATURE_BYTES

_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of either end. boot: greater at each start of a site's process."""

    kind: ClassVar[int] = 1
    protocol_min: int
    protocol_max: int
    boot: int
    version: str  # of the software, for people
    features: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Bye:
    """The last one: why the link ends."""

    kind: ClassVar[int] = 2
    reason: int  # Reason
    words: str = ""


@dataclass(frozen=True, slots=True)
class Ping:
    kind: ClassVar[int] = 3
    token: int


@dataclass(frozen=True, slots=True)
class Pong:
    kind: ClassVar[int] = 4
    token: int


@dataclass(frozen=True, slots=True)
class Credit:
    """So many bytes of entry messages of a lane are stored: as many more may come."""

    kind: ClassVar[int] = 5
    lane: Lane
    size: int


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The sites with which the sender has links now, each by the first 8 bytes of its key."""

    kind: ClassVar[int] = 6
    prefixes: bytes


@dataclass(frozen=True, slots=True)
class ForkFound:
    """Two headers for one place, with their signatures: the one with the smaller id first."""

    kind: ClassVar[int] = 7
    first: bytes
    first_signature: bytes
    second: bytes
    second_signature: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """The newest entry that a site holds of a feed: its seq and the first 8 bytes of its id."""

    feed: FeedID
    seq: int
    prefix: bytes


@dataclass(frozen=True, slots=True)
class Span:
    """Entries of a feed above seq `after`, up to `through`."""

    feed: FeedID
    after: int
    through: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The digest of the sender's vector, where the vector itself is likely to be known."""

    kind: ClassVar[int] = 10
    digest: bytes


@dataclass(frozen=True, slots=True)
class Vector:
    """What the sender holds. more: 1 if another message goes on with it; answer: send yours."""

    kind: ClassVar[int] = 11
    places: Sequence[Place]
    more: int
    answer: int


@dataclass(frozen=True, slots=True)
class Want:
    kind: ClassVar[int] = 12
    spans: Sequence[Span]


@dataclass(frozen=True, slots=True)
class Lack:
    """Nothing of a wanted feed is held above `after`."""

    kind: ClassVar[int] = 13
    feed: FeedID
    after: int


@dataclass(frozen=True, slots=True)
class IHave:
    """New entries that the receiver may want."""

    kind: ClassVar[int] = 14
    places: Sequence[Place]


@dataclass(frozen=True, slots=True)
class Entries:
    """Wanted entries of one lane, ascending in each feed: [header, signature, body] each."""

    kind: ClassVar[int] = 15
    lane: Lane
    sealed: Sequence[Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Push:
    """New entries of the sender's own feed, not asked for."""

    kind: ClassVar[int] = 16
    lane: Lane
    sealed: Sequence[Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Show:
    """Asks for the header at one place, to prove a fork with it."""

    kind: ClassVar[int] = 17
    feed: FeedID
    seq: int


@dataclass(frozen=True, slots=True)
class Shown:
    kind: ClassVar[int] = 18
    header: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Flood:
    """A signed document that is passed on and not logged. topic: FloodKind."""

    kind: ClassVar[int] = 20
    flood: int
    document: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A question: its number (the asker's), what is asked, the body's length and first bytes."""

    kind: ClassVar[int] = 30
    number: int
    what: str
    size: int
    chunk: bytes


@dataclass(frozen=True, slots=True)
class More:
    """More of a question's body (answer 0), or of an answer's (answer 1)."""

    kind: ClassVar[int] = 31
    number: int
    answer: int
    chunk: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a question. status: 0 answered, 1 refused (the body says why, in words)."""

    kind: ClassVar[int] = 32
    number: int
    status: int
    size: int
    chunk: bytes


@dataclass(frozen=True, slots=True)
class Cancel:
    """The asker of a question waits no longer."""

    kind: ClassVar[int] = 33
    number: int


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Opens a tunnel of this number: onward 1 to `site`, by the receiver's link; 0 from `site`."""

    kind: ClassVar[int] = 40
    number: int
    onward: int
    site: SiteID


@dataclass(frozen=True, slots=True)
class Through:
    """Bytes in a tunnel. opener: 1 if the sender of this message opened it, 0 if the receiver."""

    kind: ClassVar[int] = 41
    number: int
    opener: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Room:
    """So many bytes of a tunnel are consumed: as many more may come."""

    kind: ClassVar[int] = 42
    number: int
    opener: int
    size: int


@dataclass(frozen=True, slots=True)
class Shut:
    """A tunnel is closed, or was not opened."""

    kind: ClassVar[int] = 43
    number: int
    opener: int
    words: str


Message = (
    Hello | Bye | Ping | Pong | Credit | Neighbours | ForkFound | Summary | Vector | Want | Lack
    | IHave | Entries | Push | Show | Shown | Flood | Request | More | Reply | Cancel
    | Tunnel | Through | Room | Shut
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Shape:
    """How one field travels: its check, and the way between value and plain msgpack."""

    check: Check
    plain: Callable[[Any], Any] | None = None
    value: Callable[[Any], Any] | None = None


def _feed_plain(feed: FeedID) -> list[Any]:
    return [feed.site, feed.generation, int(feed.lane)]


def _feed_value(plain: list[Any]) -> FeedID:
    return FeedID(SiteID(plain[0]), plain[1], Lane(plain[2]))


def _row(*checks: Check) -> Check:
    """A list with exactly these items."""

    def check(value: Any) -> None:
        if type(value) is not list or len(value) != len(checks):
            raise BadField(f"not a list of {len(checks)}")
        for each, item in zip(checks, value, strict=True):
            each(item)

    return check


def _prefixes(value: Any) -> None:
    blob(0, limits.NEIGHBOURS_MAX * limits.PREFIX_BYTES)(value)
    if len(value) % limits.PREFIX_BYTES:
        raise BadField(f"not a whole number of prefixes of {limits.PREFIX_BYTES} bytes")


_site: Final = exact(KEY_BYTES)
_generation: Final = integer(limits.GENERATION_MIN, limits.GENERATION_MAX)
_lane: Final = integer(0, max(Lane))
_seq: Final = integer(1, limits.SEQ_MAX)
_after: Final = integer(0, limits.SEQ_MAX)
_flag: Final = integer(0, 1)
_number: Final = integer(0, limits.TOKEN_MAX)
_prefix: Final = exact(limits.PREFIX_BYTES)
_header: Final = blob(1, limits.HEADER_BYTES_MAX)
_signature: Final = exact(SIGNATURE_BYTES)
_feed_row: Final = (_site, _generation, _lane)
_chunk: Final = blob(0, limits.REQUEST_CHUNK_BYTES)
_size: Final = integer(0, limits.REQUEST_BYTES_MAX)

FEED: Final = _Shape(_row(*_feed_row), _feed_plain, _feed_value)
LANE: Final = _Shape(_lane, int, Lane)


def _places(count_min: int) -> _Shape:
    return _Shape(
        items(_row(*_feed_row, _seq, _prefix), count_min, limits.VECTOR_FEEDS_MAX),
        lambda places: [[*_feed_plain(p.feed), p.seq, p.prefix] for p in places],
        lambda plain: [Place(_feed_value(row), row[3], row[4]) for row in plain],
    )


_SPANS: Final = _Shape(
    items(_row(*_feed_row, _after, _seq), 1, limits.WANT_FEEDS_MAX),
    lambda spans: [[*_feed_plain(s.feed), s.after, s.through] for s in spans],
    lambda plain: [Span(_feed_value(row), row[3], row[4]) for row in plain],
)
_SEALED: Final = _Shape(
    items(_row(_header, _signature, blob(1, limits.ENTRY_BODY_BYTES_MAX)), 1, limits.ENTRIES_MAX),
)
_FORK: Final = tuple(_Shape(check) for check in (_header, _signature) * 2)

_SHAPES: Final[dict[type[Any], tuple[_Shape, ...]]] = {
    Hello: (
        _Shape(integer(0, limits.TOKEN_MAX)),
        _Shape(integer(0, limits.TOKEN_MAX)),
        _Shape(integer(0, limits.BOOT_MAX)),
        _Shape(text(limits.VERSION_BYTES_MAX)),
        _Shape(items(text(limits.FEATURE_BYTES_MAX, 1), 0, limits.FEATURES_MAX), list),
    ),
    Bye: (_Shape(_number, int), _Shape(text(limits.WHY_BYTES_MAX))),
    Ping: (_Shape(_number),),
    Pong: (_Shape(_number),),
    Credit: (LANE, _Shape(integer(1, max(limits.WINDOW_BYTES)))),
    Neighbours: (_Shape(_prefixes),),
    ForkFound: _FORK,
    Summary: (_Shape(exact(DIGEST_BYTES)),),
    Vector: (_places(0), _Shape(_flag), _Shape(_flag)),
    Want: (_SPANS,),
    Lack: (FEED, _Shape(_after)),
    IHave: (_places(1),),
    Entries: (LANE, _SEALED),
    Push: (LANE, _SEALED),
    Show: (FEED, _Shape(_seq)),
    Shown: (_Shape(_header), _Shape(_signature)),
    Flood: (_Shape(_number, int), _Shape(blob(1, limits.FLOOD_BYTES_MAX)), _Shape(_signature)),
    Request: (
        _Shape(_number),
        _Shape(text(limits.REQUEST_KIND_BYTES_MAX, 1)),
        _Shape(_size),
        _Shape(_chunk),
    ),
    More: (_Shape(_number), _Shape(_flag), _Shape(_chunk)),
    Reply: (_Shape(_number), _Shape(_flag), _Shape(_size), _Shape(_chunk)),
    Cancel: (_Shape(_number),),
    Tunnel: (_Shape(_number), _Shape(_flag), _Shape(_site, None, SiteID)),
    Through: (_Shape(_number), _Shape(_flag), _Shape(blob(1, limits.TUNNEL_CHUNK_BYTES))),
    Room: (_Shape(_number), _Shape(_flag), _Shape(integer(1, limits.TUNNEL_WINDOW_BYTES))),
    Shut: (_Shape(_number), _Shape(_flag), _Shape(text(limits.WHY_BYTES_MAX))),
}
KINDS: Final[dict[int, type[Any]]] = {cls.kind: cls for cls in _SHAPES}
_NAMES: Final = {cls: tuple(field.name for field in fields(cls)) for cls in _SHAPES}
_VALUES: Final = {cls: [attrgetter(name) for name in names] for cls, names in _NAMES.items()}


def encode(message: Message) -> bytes:
    """The message's frame. Raises LocalError for what `decode` would refuse."""
    cls = type(message)
    plain = []
    for name, shape, get in zip(_NAMES[cls], _SHAPES[cls], _VALUES[cls], strict=True):
        value = get(message)
        value = value if shape.plain is None else shape.plain(value)
        try:
            shape.check(value)
        except BadField as error:
            raise LocalError(f"{cls.__name__} message: {name}: {error}") from None
        plain.append(value)
    return frame(codec.pack([message.kind, *plain]))


def frame(content: bytes) -> bytes:
    """Length, then content. Raises LocalError above FRAME_BYTES_MAX."""
    if not 0 < len(content) <= limits.FRAME_BYTES_MAX:
        raise LocalError(f"a frame of {len(content)} bytes; one holds {limits.FRAME_BYTES_MAX}")
    return _LENGTH.pack(len(content)) + content


def decode(content: bytes, *, newer: bool = False) -> Message | None:
    """The message in a frame's content. Raises PeerError.

    newer: the peer speaks later protocols too; then a kind that is unknown here is None.
    A hello may have more fields than are known here: they are later protocols' business.
    """
    plain = codec.unpack_shallow(content, bytes_max=limits.FRAME_BYTES_MAX)
    if type(plain) is not list or not plain or type(plain[0]) is not int:
        raise PeerError("a message that is no array with a kind")
    cls = KINDS.get(plain[0])
    if cls is None:
        if newer:
            return None
        raise PeerError(f"a message of kind {str(plain[0])[:20]}, which is not known here")
    shapes = _SHAPES[cls]
    values = plain[1 : len(shapes) + 1] if cls is Hello else plain[1:]
    if len(values) != len(shapes):
        raise PeerError(f"a {cls.__name__} message of {len(values)} fields, not {len(shapes)}")
    for place, (name, shape) in enumerate(zip(_NAMES[cls], shapes, strict=True)):
        try:
            shape.check(values[place])
        except BadField as error:
            raise PeerError(f"a {cls.__name__} message: {name}: {error}") from None
        if shape.value is not None:
            values[place] = shape.value(values[place])
    message: Message = cls(*values)
    return message


class Frames:
    """Cuts what comes in, however it is cut on its way, into the contents of frames."""

    def __init__(self, bytes_max: int = limits.HELLO_BYTES_MAX) -> None:
        self.bytes_max = bytes_max  # of the next frame
        self._held = bytearray()

    def add(self, data: bytes) -> None:
        """Take bytes from the transport."""
        self._held += data

    def next(self) -> bytes | None:
        """The next whole frame's content, or None. Raises PeerError for lengths out of bounds."""
        if len(self._held) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack_from(self._held)
        if not 0 < size <= self.bytes_max:
            raise PeerError(f"a frame of {size} bytes where at most {self.bytes_max} are allowed")
        end = _LENGTH.size + size
        if len(self._held) < end:
            return None
        content = bytes(memoryview(self._held)[_LENGTH.size : end])
        del self._held[:end]  # bytearray moves its start, not its content
        return content
