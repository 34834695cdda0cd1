"""What comes over a link: frames, messages, and streams of them into a real exchange."""

from __future__ import annotations

from dataclasses import fields
from random import Random

import msgpack

from federation import limits, wire
from federation.beacon import FIELDS_MIN, Beacon, read_beacon, write_beacon
from federation.canvass import Lead, read_lead
from federation.errors import PeerError
from federation.events import FloodKind, LinkDown, Reason, TakeIn
from federation.exchange import Exchange
from federation.gossip import Heading, read_heading
from federation.ids import Lane, SiteID
from federation.wire import Frames, Hello, Message, Ping, encode
from keys.signing import Purpose
from tests.fakes.feeds import MemoryFeeds
from tests.fuzz.forms import FRAMES, MSGPACK
from tests.fuzz.target import Target
from tests.unit.federation.builders import KEY, OTHER_KEY, OTHER_SITE, SITE
from tests.unit.federation.messages import broken_frames, one_message_of_each
from tests.unit.federation.test_beacon import BARRED, USUAL
from tests.unit.federation.test_canvass import LEAD

BEACON_FIELDS = fields(Beacon)
Cut = tuple[list[bytes], bytes]  # contents of whole frames, and what is left


def read_frames(data: bytes) -> Cut:
    """However the bytes are cut on their way, the frames are the same."""
    at_once, in_pieces = Frames(limits.FRAME_BYTES_MAX), Frames(limits.FRAME_BYTES_MAX)
    at_once.add(data)
    whole = _contents(at_once)
    found: list[bytes] = []
    for at in range(0, len(data), 7):
        in_pieces.add(data[at : at + 7])
        found += _contents(in_pieces)
    assert found == whole, "frames that depend on how they were cut"
    return whole, data[sum(4 + len(content) for content in whole) :]


def _contents(frames: Frames) -> list[bytes]:
    found = []
    while (content := frames.next()) is not None:
        found.append(content)
    return found


def write_frames(cut: Cut) -> bytes:
    return b"".join(map(wire.frame, cut[0])) + cut[1]


def canonical_message(data: bytes) -> bool:
    """A hello may have more fields than we would write."""
    kind, *fields = msgpack.unpackb(data)
    return MSGPACK.canonical(data) and not (kind == Hello.kind and len(fields) > 5)


def canonical_beacon(data: bytes) -> bool:
    """One may have fields of a later version, or at its end those that say nothing."""
    found = msgpack.unpackb(data)
    if len(found) > len(BEACON_FIELDS) or (len(found) > FIELDS_MIN and not found[-1]):
        return False
    return MSGPACK.canonical(data)


def read_stream(data: bytes) -> int:
    """What a member says on a link with a real site; the reason for its end, 0 for none.

    Raises nothing whatever comes, and if the link ends, then by the peer's fault.
    """
    feeds = MemoryFeeds()
    exchange = Exchange(
        KEY, feeds, lambda site: True, lambda site: False, Random(1), boot=1, version="0.1"
    )
    exchange.sync.writing = 1
    session = exchange.open(OTHER_SITE, 0.0, dialled=False)
    events = session.receive(encode(Hello(1, 1, 2, "raw")) + encode(Ping(1)), 0.1)
    events += session.receive(data, 0.2)
    for event in events:
        if isinstance(event, TakeIn):
            feeds.append(event.entries)
            exchange.durable(event.entries, 0.3)
            exchange.sync.taken(event, 0.3)
    for now_s in (0.4, 1.0, 5.0):
        session.bytes_to_send(now_s)
        events += exchange.tick(now_s)
    ends = [event for event in events if isinstance(event, LinkDown)]
    assert all(end.theirs or end.reason != Reason.PROTOCOL for end in ends)
    return ends[0].reason if ends else 0


def _messages() -> list[Message]:
    return [each for each in one_message_of_each() if not isinstance(each, Hello)]


def _streams() -> dict[str, bytes]:
    beacon = write_beacon(USUAL)
    flood = wire.Flood(int(FloodKind.BEACON), beacon, OTHER_KEY.sign(Purpose.BEACON, beacon))
    said = {type(each).__name__: encode(each) for each in _messages()}
    said["beacon"] = encode(flood)
    said["all"] = b"".join(map(encode, _messages()[3:]))
    asked = [wire.Request(n, "file", 20, b"x" * 20) for n in range(3)]
    said["requests"] = b"".join(map(encode, asked))
    said["tunnel"] = b"".join(
        map(encode, [wire.Tunnel(4, 0, SITE), wire.Through(4, 1, b"TLS"), wire.Room(4, 1, 3)])
    )
    said["credit"] = encode(wire.Credit(Lane.CONTROL, 1))
    return said


def _kept_messages() -> dict[str, bytes]:
    kept = {type(each).__name__: encode(each)[4:] for each in one_message_of_each()}
    for why, plain in broken_frames().items():
        kept[f"not {why.replace('*', '^')}"] = msgpack.packb(plain)
    kept["a hello of later"] = msgpack.packb([1, 1, 9, 5, "9", ["x"], "more", [1]])
    return kept


def read_flood(data: bytes) -> Heading:
    return read_heading(FloodKind.BEACON, data)


TARGETS = (
    Target(
        "frames",
        read_frames,
        (PeerError,),
        lambda: {"all": b"".join(map(encode, one_message_of_each()))},
        FRAMES,
        write_frames,
        strict=True,
    ),
    Target(
        "message",
        wire.decode,
        (PeerError,),
        _kept_messages,
        MSGPACK,
        lambda message: encode(message)[4:],
        canonical=canonical_message,
    ),
    Target(
        "message-of-later",
        lambda data: wire.decode(data, newer=True),
        (PeerError,),
        lambda: {"unknown": msgpack.packb([77, "what is this"])},
        MSGPACK,
    ),
    Target("stream", read_stream, (), _streams, FRAMES),
    Target(
        "beacon",
        read_beacon,
        (PeerError,),
        lambda: {"usual": write_beacon(USUAL), "barred": write_beacon(BARRED)},
        MSGPACK,
        write_beacon,
        canonical=canonical_beacon,
    ),
    Target("lead", read_lead, (PeerError,), lambda: {"lead": LEAD.pack()}, MSGPACK, Lead.pack),
    Target(
        "flood-heading", read_flood, (PeerError,), lambda: {"beacon": write_beacon(USUAL)}, MSGPACK
    ),
)
assert SiteID(OTHER_KEY.site) == OTHER_SITE
