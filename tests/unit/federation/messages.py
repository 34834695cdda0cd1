"""A message of every kind, and frames that are none."""

from __future__ import annotations

from federation.ids import Lane
from federation.wire import (
    Bye,
    Cancel,
    Credit,
    Entries,
    Flood,
    ForkFound,
    Hello,
    IHave,
    Lack,
    Message,
    More,
    Neighbours,
    Ping,
    Place,
    Pong,
    Push,
    Reply,
    Request,
    Room,
    Show,
    Shown,
    Shut,
    Span,
    Summary,
    Through,
    Tunnel,
    Vector,
    Want,
)
from tests.unit.federation.builders import CONTROL, OTHER_SITE, RESULTS, SITE, chain

FIRST, SECOND = chain(2)
PREFIX = FIRST.id[:8]
SEALED = [[e.header_bytes, e.signature, e.body or b""] for e in (FIRST, SECOND)]


def one_message_of_each() -> list[Message]:
    """A valid message of every kind."""
    return [
        Hello(1, 1, 1_790_000_000_000, "0.1", ["example"]),
        Bye(1, "the site stops"),
        Ping(7),
        Pong(7),
        Credit(Lane.RESULTS, 131_072),
        Neighbours(SITE[:8] + OTHER_SITE[:8]),
        ForkFound(FIRST.header_bytes, FIRST.signature, SECOND.header_bytes, SECOND.signature),
        Summary(b"s" * 32),
        Vector([Place(CONTROL, 2, SECOND.id[:8]), Place(RESULTS, 1, PREFIX)], 0, 1),
        Want([Span(CONTROL, 0, 2), Span(RESULTS, 1, 129)]),
        Lack(CONTROL, 2),
        IHave([Place(CONTROL, 2, SECOND.id[:8])]),
        Entries(Lane.CONTROL, SEALED),
        Push(Lane.CONTROL, SEALED[1:]),
        Show(CONTROL, 2),
        Shown(SECOND.header_bytes, SECOND.signature),
        Flood(1, b"document", FIRST.signature),
        Request(3, "file", 4, b"name"),
        More(3, 0, b"the rest"),
        Reply(3, 1, 9, b"not there"),
        Cancel(3),
        Tunnel(4, 1, OTHER_SITE),
        Through(4, 1, b"TLS"),
        Room(4, 0, 3),
        Shut(4, 0, "no link there"),
    ]


def broken_frames() -> dict[str, list[object]]:
    """Plain arrays that are no message, by what is wrong with them."""
    feed = [SITE, 1, 0]
    return {
        "no array": [],
        "an unknown kind": [99],
        "a kind that is no number": ["1"],
        "a kind that is true": [True, 7],
        "a field too few": [3],
        "a field too many": [3, 7, 7],
        "a negative token": [3, -1],
        "a token above 32 bits": [3, 2**32],
        "a credit of nothing": [5, 0, 0],
        "a third lane": [5, 2, 1],
        "half a prefix": [6, b"1234"],
        "a vector of seq 0": [11, [[*feed, 0, b"p" * 8]], 0, 0],
        "a vector of seq 2**63": [11, [[*feed, 2**63, b"p" * 8]], 0, 0],
        "a vector with a short site": [11, [[b"s", 1, 0, 1, b"p" * 8]], 0, 0],
        "a vector with a long prefix": [11, [[*feed, 1, b"p" * 32]], 0, 0],
        "a vector of numbers": [11, [1, 2], 0, 0],
        "nothing wanted": [12, []],
        "a generation 0": [12, [[SITE, 0, 0, 0, 1]]],
        "no entries": [15, 0, []],
        "an entry without a body": [15, 0, [[b"h", b"s" * 64, None]]],
        "an entry of one part": [15, 0, [[b"h"]]],
        "a header of 193 bytes": [15, 0, [[bytes(193), b"s" * 64, b"b"]]],
        "a request without a name": [30, 1, "", 0, b""],
        "a request of more than 1 MiB": [30, 1, "x", 2**20 + 1, b""],
        "text that is bytes": [2, 1, b"bye"],
        "a tunnel to nowhere": [40, 1, 1, b""],
    }
