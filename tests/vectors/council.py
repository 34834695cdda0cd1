"""Test vectors of a council of three: acks, votes, an open, a closed seat; what they come to."""

from __future__ import annotations

from typing import Any

from federation.canvass import Answer, Lead, Question
from federation.entry import Entry, seal
from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, SiteID
from federation.opening import as_ref
from federation.records import Ack, Grant, Open, Record, SeatClose, Vote
from federation.shard import found
from federation.voting import Reply
from keys.identity import SiteKey
from keys.signing import Purpose
from tests.unit.federation.builders import NONCE

KEYS = {name: SiteKey(bytes([number]) * 32) for number, name in enumerate("abc", 1)}
CONTROL = {name: FeedID(SiteID(key.site), 1, Lane.CONTROL) for name, key in KEYS.items()}
FOUNDING = found(CONTROL["a"], NONCE, list(CONTROL.values()))
SHARD = FOUNDING.shard


class Feeds:
    """Three control feeds as they grow, and the order in which their entries were made."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Entry]] = []

    def tip(self, site: str) -> Entry | None:
        return next((entry for author, entry in reversed(self.made) if author == site), None)

    def ref(self, site: str, seq: int) -> EntryRef:
        return next(
            entry.ref for author, entry in self.made if author == site and entry.header.seq == seq
        )

    def sealed(self, site: str, *records: Record) -> Entry:
        """The next entry of a site; not added."""
        tip = self.tip(site)
        seq, prev = (tip.header.seq + 1, tip.id) if tip else (1, b"")
        return seal(KEYS[site], CONTROL[site], seq, prev, seq << 16, list(records))

    def write(self, site: str, *records: Record) -> None:
        self.made.append((site, self.sealed(site, *records)))

    def ack(self, term: int, site: str, seq: int) -> Ack:
        entry = self.ref(site, seq)
        return Ack(SHARD, term, entry.feed.site, 1, seq, entry.id)

    def vote(self, term: int, candidate: str, base: int, site: str, seq: int) -> Vote:
        head = self.ref(site, seq)
        return Vote(SHARD, term, SiteID(KEYS[candidate].site), base, seq, head.id)

    def open(self, term: int, votes: list[tuple[str, int]], base: int, site: str, seq: int) -> Open:
        cut = self.ref(site, seq)
        refs = [as_ref(self.ref(*vote)) for vote in votes]
        return Open(SHARD, term, refs, base, cut.seq, cut.id)


def log() -> Grant:
    return Grant(SHARD, DatasetID(b"d" * 32), [0], [0, 10], SiteID(KEYS["a"].site))


def story() -> tuple[Feeds, list[tuple[int, list[int] | None]]]:
    """The feeds, and after each entry the newest term and the settled place [term, seq]."""
    feeds = Feeds()
    said: list[tuple[int, list[int] | None]] = []

    def write(site: str, *records: Record, newest: int, settled: list[int] | None) -> None:
        feeds.write(site, *records)
        said.append((newest, settled))

    write("a", FOUNDING, newest=0, settled=None)
    write("a", log(), newest=0, settled=None)
    write("b", feeds.ack(0, "a", 2), newest=0, settled=[0, 2])
    write("a", log(), newest=0, settled=[0, 2])
    write("b", feeds.vote(1, "b", 0, "a", 2), newest=0, settled=[0, 2])
    write("b", feeds.ack(0, "a", 3), newest=0, settled=[0, 2])  # behind its vote: void
    write("c", feeds.vote(1, "b", 0, "a", 3), newest=0, settled=[0, 2])
    write("a", log(), newest=0, settled=[0, 2])  # beyond the cut
    opening = feeds.open(1, [("b", 2), ("c", 1)], 0, "a", 3)
    write("b", opening, log(), newest=1, settled=[0, 2])
    write("c", feeds.ack(1, "b", 4), newest=1, settled=[1, 4])
    through = feeds.ref("c", 2)
    close = SeatClose(SHARD, through.feed.site, 1, through.seq, through.id)
    write("b", close, newest=1, settled=[1, 4])
    write("c", feeds.ack(1, "b", 5), newest=1, settled=[1, 4])  # of a closed seat
    write("a", feeds.ack(1, "b", 5), newest=1, settled=[1, 5])
    write("b", feeds.vote(2, "b", 1, "b", 5), log(), newest=1, settled=[1, 5])
    write("a", feeds.vote(2, "b", 1, "b", 5), newest=1, settled=[1, 5])
    return feeds, said


def wrong_opens(feeds: Feeds) -> dict[str, Open]:
    """Opens of b, as its next entry, that begin no term."""
    b, a, c = ("b", 6), ("a", 6), ("c", 1)
    return {
        "no majority": feeds.open(2, [b], 1, "b", 5),
        "one seat twice": feeds.open(2, [b, b], 1, "b", 5),
        "a vote for another term": feeds.open(2, [b, c], 1, "b", 5),
        "no vote in the entry": feeds.open(2, [b, ("a", 5)], 1, "b", 5),
        "a base that is not the newest": feeds.open(2, [b, a], 0, "a", 3),
        "a cut below the greatest head": feeds.open(2, [b, a], 1, "b", 4),
        "a cut above it": feeds.open(2, [b, a], 1, "b", 6),
        "a term that is not above its base": feeds.open(1, [b, a], 1, "b", 5),
    }


def wrong_proofs(feeds: Feeds) -> dict[str, list[EntryRef]]:
    """Lists of acks that do not settle the third entry of a, which term 1 inherits."""
    return {
        "acks below it": [feeds.ref("a", 2), feeds.ref("b", 1)],
        "an ack behind a vote": [feeds.ref("a", 3), feeds.ref("b", 3)],
        "acks under different terms": [feeds.ref("a", 3), feeds.ref("c", 2)],
        "one alone": [feeds.ref("b", 4)],
        "one twice": [feeds.ref("b", 4), feeds.ref("b", 5)],
    }


def vectors() -> dict[str, Any]:
    feeds, said = story()
    place = feeds.ref("a", 3)
    lead = Lead(CONTROL["b"], 7, 12, SHARD, 1, 5, EntryID(feeds.ref("b", 5).id))
    return {
        "seeds": {name: key.seed.hex() for name, key in KEYS.items()},
        "shard": SHARD.hex(),
        "story": [
            {
                "author": author,
                "header_bytes": entry.header_bytes.hex(),
                "signature": entry.signature.hex(),
                "body": (entry.body or b"").hex(),
                "newest_term": newest,
                "settled": settled,
            }
            for (author, entry), (newest, settled) in zip(feeds.made, said, strict=True)
        ],
        "opens": {
            "holds": _written(feeds.sealed("b", feeds.open(2, [("b", 6), ("a", 6)], 1, "b", 5))),
            "void": {
                why: _written(feeds.sealed("b", record))
                for why, record in wrong_opens(feeds).items()
            },
        },
        "proofs": {
            "place": _named(place),
            "good": [_named(feeds.ref("b", 4)), _named(feeds.ref("c", 2))],
            "bad": {
                why: [_named(ref) for ref in refs] for why, refs in wrong_proofs(feeds).items()
            },
        },
        "canvass": {
            "question": Question(SHARD, 1).pack().hex(),
            "answers": {reply.name.lower(): Answer(reply, 1, 1).pack().hex() for reply in Reply},
        },
        "lead": {
            "document": lead.pack().hex(),
            "signature": KEYS["b"].sign(Purpose.LEAD, lead.pack()).hex(),
        },
    }


def _written(entry: Entry) -> dict[str, str]:
    return {
        "header_bytes": entry.header_bytes.hex(),
        "signature": entry.signature.hex(),
        "body": (entry.body or b"").hex(),
    }


def _named(ref: EntryRef) -> dict[str, Any]:
    return {"site": ref.feed.site.hex(), "generation": 1, "seq": ref.seq, "id": ref.id.hex()}
