"""A program with a member's key that means ill: it speaks as a site does, up to one point.

    python -m tests.netns.hostile breach HOME PEER     break the protocol in every way, in turn
    python -m tests.netns.hostile lie HOME PEER HEAD   offer what is not there, write odd records
    python -m tests.netns.hostile trickle HOME PEER    ask for everything, read 1 KiB a second
    python -m tests.netns.hostile deaf HOME PEER       ask for everything, read nothing
    python -m tests.netns.hostile knock HOME PEER      come as the site of that home, and as nobody

PEER is KEY@HOST:PORT; HEAD is GENERATION:SEQ:ID, the newest entry of the own control feed. What
happened is printed as JSON, a line for each act.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from federation import codec, limits, wire
from federation.entry import Entry, entry_id, seal_encoded
from federation.ids import FeedID, Lane, SiteID
from federation.secure import RECORDS, Contexts, TLSError
from federation.wire import Bye, Hello, IHave, Message, Ping, Place, Pong, Push, Span, Vector, Want
from keys.identity import SiteKey, parse
from keys.signing import Purpose
from node.home import Home

PATIENCE_S: Final = 20.0
ASIDE: Final = b"\x2a" * 8  # the beginning of an id that no entry has
UNKNOWN_KIND: Final = 60_000
TRICKLE_BYTES: Final = 1024


class Talk:
    """One link that this program dialled, greeted and settled."""

    def __init__(self, key: SiteKey, peer: SiteID, address: str, *, member: bool = True) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), PATIENCE_S)
        self._channel = Contexts(key, lambda site: True).dial(RECORDS)
        self._frames = wire.Frames(limits.FRAME_BYTES_MAX)
        self._channel.start()
        self._flush()
        while self._channel.peer is None:
            if not self._read():
                raise ConnectionError("the peer closed amid the handshake")
        self.say(Hello(1, 1, time.time_ns() // 1_000_000, "?"))
        self.first(Hello)
        if key.site < peer or not member:
            self.say(Ping(0))  # the site with the smaller key chooses the link, by speaking
        else:
            self.first(object)

    def say(self, *messages: Message) -> None:
        self.send(b"".join(map(wire.encode, messages)))

    def send(self, data: bytes) -> None:
        """Bytes as they are, frames or not."""
        self._channel.send(data)
        self._flush()

    def first(self, kind: type[Any]) -> Any:
        """The first message of a kind that comes."""
        return next(message for message in self.heard() if isinstance(message, kind))

    def heard(self, bytes_max: int = 65536, every_s: float = 0.0) -> Iterator[Message]:
        """The messages of the peer until it closes; at most so many bytes are read at once."""
        while True:
            while (content := self._frames.next()) is not None:
                if (message := wire.decode(content)) is not None:
                    yield message
            time.sleep(every_s)
            if not self._read(bytes_max):
                return

    def close(self) -> None:
        self._socket.close()

    def _read(self, bytes_max: int = 65536) -> bool:
        try:
            data = self._socket.recv(bytes_max)
        except ConnectionError:
            data = b""
        self._frames.add(self._channel.receive(data))
        self._flush()
        return bool(data)

    def _flush(self) -> None:
        """A peer that has closed takes nothing; what it said before is still to be read."""
        if out := self._channel.take():
            with contextlib.suppress(ConnectionError):
                self._socket.sendall(out)


def frame(*fields: object) -> bytes:
    """A frame that no encoder of ours would write."""
    return framed(codec.pack(list(fields)))


def framed(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def breaches(key: SiteKey) -> dict[str, bytes]:
    """Bytes that break the protocol, by what is wrong with them."""
    feed = FeedID(SiteID(key.site), 1, Lane.CONTROL)
    entry = seal_encoded(key, feed, 1, b"", 1, [codec.pack([UNKNOWN_KIND])])
    forged = bytes(64)
    header = codec.unpack(entry.header_bytes, bytes_max=1024)
    header[4] = 2**63
    beyond = codec.pack(header)
    return {
        "garbage": framed(os.urandom(4000)),
        "a huge length": struct.pack(">I", 2**32 - 1) + b"\x93",
        "no length": struct.pack(">I", 0),
        "deep nesting": framed(b"\x91" * 100_000 + b"\x01"),
        "a seq of 2^63": frame(14, [[key.site, 1, 0, 2**63, ASIDE]]),
        "a header with a seq of 2^63": frame(
            16, 0, [[beyond, key.sign(Purpose.ENTRY, beyond), entry.body]]
        ),
        "a signature that fails": frame(16, 0, [[entry.header_bytes, forged, entry.body]]),
        "a flood that nobody signed": frame(20, 1, codec.pack([key.site, 1, 2**52, 1]), forged),
        "an unknown kind of message": frame(99, 1),
        "credit for what was not sent": frame(5, 0, 2**20),
        "a second hello": wire.encode(Hello(1, 1, 1, "?")),
    }


def breach(key: SiteKey, peer: SiteID, address: str) -> None:
    for what, data in breaches(key).items():
        talk = Talk(key, peer, address)
        talk.send(data)
        bye = talk.first(Bye)
        talk.close()
        tell(act=what, reason=bye.reason, words=bye.words)


def lie(key: SiteKey, peer: SiteID, address: str, head: str) -> None:
    """Nothing of this breaks the protocol."""
    generation, seq, id_ = head.split(":")
    feed = FeedID(SiteID(key.site), int(generation), Lane.CONTROL)
    talk = Talk(key, peer, address)
    talk.say(Vector([Place(feed, int(seq), bytes.fromhex(id_)[:8])], 0, 1))
    results = FeedID(feed.site, feed.generation, Lane.RESULTS)
    talk.say(IHave([Place(results, 5_000, ASIDE), Place(feed, int(seq) + 9_000, ASIDE)]))
    want = talk.first(Want)
    tell(act="offered what is not there", wanted=len(want.spans))
    for entry in oddities(key, feed, int(seq), bytes.fromhex(id_)):
        talk.say(Push(Lane.CONTROL, [[entry.header_bytes, entry.signature, entry.body or b""]]))
        tell(act="wrote", seq=entry.header.seq)
    stay(talk)


def oddities(key: SiteKey, feed: FeedID, seq: int, prev: bytes) -> list[Entry]:
    """Entries in good order, with records of which nothing can be made."""
    deep = b"\x91" * 40_000 + b"\x01"
    bodies = [codec.pack([UNKNOWN_KIND, "later"]), deep, codec.pack([12, 2**63])]
    made = []
    for body in bodies:
        seq += 1
        entry = seal_encoded(key, feed, seq, prev, seq, [body])
        prev = entry_id(entry.header_bytes)
        made.append(entry)
    return made


def knock(key: SiteKey, peer: SiteID, address: str) -> None:
    try:
        Talk(key, peer, address)
        tell(act="knock", said="come in")
    except (TLSError, OSError, StopIteration):
        tell(act="knock", said="nothing")
    talk = Talk(SiteKey(os.urandom(32)), peer, address, member=False)
    everything(talk, peer)
    tell(act="knock", said=talk.first(Bye).reason)


def stay(talk: Talk, bytes_max: int = 65536, every_s: float = 0.0) -> None:
    """Answer pings and do nothing else, until the end."""
    for message in talk.heard(bytes_max, every_s):
        if isinstance(message, Ping):
            talk.say(Pong(message.token))
        elif isinstance(message, Bye):
            tell(act="bye", reason=message.reason, words=message.words)


def everything(talk: Talk, peer: SiteID) -> None:
    """Ask for all that the peer holds of its own feeds, as if nothing were here."""
    talk.say(Vector([], 0, 1))
    for lane in Lane:
        talk.say(Want([Span(FeedID(peer, 1, lane), 0, 10_000)]))


def trickle(key: SiteKey, peer: SiteID, address: str) -> None:
    talk = Talk(key, peer, address)
    everything(talk, peer)
    tell(act="trickle")
    stay(talk, TRICKLE_BYTES, 1.0)


def deaf(key: SiteKey, peer: SiteID, address: str) -> None:
    talk = Talk(key, peer, address)
    everything(talk, peer)
    tell(act="deaf")
    while True:
        time.sleep(1.0)


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


ACTS: dict[str, Callable[..., None]] = {
    "breach": breach,
    "lie": lie,
    "trickle": trickle,
    "deaf": deaf,
    "knock": knock,
}


def main(act: str, home: str, peer: str, *more: str) -> None:
    site, _, address = peer.partition("@")
    key = SiteKey.load(Home(Path(home)).site_key)
    ACTS[act](key, SiteID(parse(site)), address, *more)


if __name__ == "__main__":
    main(*sys.argv[1:])
