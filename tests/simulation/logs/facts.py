"""What a site that keeps logs knows of shards: the Facts that the council's service asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from federation.entry import Entry
from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.ledger import Ledger
from federation.opening import Ballot
from federation.records import Found, FoundCouncil, Record, Refused
from federation.settle import Seats, settled_through
from federation.shard import Shard
from tests.fakes.feeds import MemoryFeeds


class LogFacts:
    """Reads every control entry that is durable here, each feed in its order."""

    def __init__(self, me: FeedID, feeds: MemoryFeeds) -> None:
        """me: this site's control feed, in the generation in which it writes."""
        self.me = me
        self.feeds = feeds
        self._ledgers: dict[ShardID, Ledger] = {}
        self._read_through: dict[tuple[ShardID, FeedID], int] = {}
        self._generations: dict[SiteID, int] = {}
        self._records: dict[EntryID, Sequence[Record | Refused]] = {}
        for tip in feeds.tips():
            self.took(feeds.entries(tip.feed, 0, tip.seq))

    def took(self, entries: Sequence[Entry]) -> None:
        """Entries are durable. A founding may give this site a seat."""
        for entry in entries:
            header = entry.header
            known = self._generations.get(header.site, 0)
            self._generations[header.site] = max(known, header.generation)
            if header.lane is not Lane.CONTROL:
                continue
            for shard in list(self._ledgers):
                self._read(shard, entry)
            for record in self._decoded(entry):
                if isinstance(record, Found | FoundCouncil) and self.me.site in record.council:
                    self._sit(record.shard)

    def _sit(self, shard: ShardID) -> None:
        if shard in self._ledgers:
            return

        def holds(ref: EntryRef) -> bool:
            """One of a control feed once the ledger has read it."""
            read = self._read_through.get((shard, ref.feed), 0)
            late = ref.feed.lane is Lane.CONTROL and ref.seq > read
            return not late and self.feeds.entry(ref) is not None

        self._ledgers[shard] = Ledger(shard, holds)
        for tip in self.feeds.tips():
            if tip.feed.lane is Lane.CONTROL:
                for entry in self.feeds.entries(tip.feed, 0, tip.seq):
                    self._read(shard, entry)

    def _read(self, shard: ShardID, entry: Entry) -> None:
        place = shard, entry.header.feed
        if entry.header.seq > self._read_through.get(place, 0):
            self._read_through[place] = entry.header.seq
            self._ledgers[shard].take(entry.ref, self._decoded(entry))

    def _decoded(self, entry: Entry) -> Sequence[Record | Refused]:
        if entry.id not in self._records:
            self._records[entry.id] = entry.records()
        return self._records[entry.id]

    # Facts

    def councils(self) -> Sequence[ShardID]:
        return list(self._ledgers)

    def shard(self, shard: ShardID) -> Shard | None:
        return self._ledgers[shard].shard if shard in self._ledgers else None

    def seats(self, shard: ShardID) -> Seats:
        return self._ledgers[shard].seats

    def votes(self, shard: ShardID) -> Sequence[Ballot]:
        return self._ledgers[shard].votes_above(-1)

    def generations(self) -> Mapping[SiteID, int]:
        return self._generations

    # What simulations ask

    def leads(self, shard: ShardID) -> bool:
        """Whether this site takes itself for the leader."""
        known = self.shard(shard)
        return known is not None and known.leads(self.me) and not known.stopped

    def own_log(self, shard: ShardID) -> tuple[int, int] | None:
        """What this site wrote as the newest leader: from which entry, settled through which."""
        known = self.shard(shard)
        if known is None or not self.leads(shard):
            return None
        return known.newest.began.seq, settled_through(known, self.seats(shard), known.newest)
