"""A council of made-up seats, entries and votes: no keys, no bytes."""

from __future__ import annotations

from collections.abc import Sequence

from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.opening import as_ref
from federation.records import Open, Vote
from federation.shard import Shard, found, open_founded

NONCE = bytes(16)


def seat(number: int, generation: int = 1) -> FeedID:
    return FeedID(SiteID(bytes([number + 1]) * 32), generation, Lane.CONTROL)


def at(feed: FeedID, seq: int, branch: int = 0) -> EntryRef:
    """Entry `seq` of a feed; another branch has other ids."""
    name = feed.site[:1] + bytes([feed.generation, branch]) + seq.to_bytes(4, "big")
    return EntryRef(feed, seq, EntryID(name.ljust(32, b"\0")))


def council(count: int = 3) -> Shard:
    """A shard that seat 0 founded in its entry 1."""
    record = found(seat(0), NONCE, [seat(number) for number in range(count)])
    return open_founded(record, at(seat(0), 1))


def vote(shard: ShardID, term: int, candidate: FeedID, base: int, head: EntryRef) -> Vote:
    return Vote(shard, term, candidate.site, base, head.seq, head.id)


def opened(shard: ShardID, term: int, votes: Sequence[EntryRef], base: int, cut: EntryRef) -> Open:
    return Open(shard, term, [as_ref(ref) for ref in votes], base, cut.seq, cut.id)
