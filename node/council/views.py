"""What this site knows of each shard, put together for the rules of federation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from federation.holding import Holding
from federation.ids import EntryID, EntryRef, FeedID, ShardID, SiteID
from federation.records import Record, Refused
from federation.shard import Shard, Term, term_at
from federation.voting import View
from node.council.ports import Facts, Revocations, revoked_among


class Views:
    """Makes views; remembers which entries of which logs it has looked at."""

    def __init__(self, me: FeedID, facts: Facts, members: Revocations) -> None:
        """me: this site's control feed in the generation in which it writes."""
        self._me = me
        self._facts = facts
        self._members = members
        self._holdings: dict[ShardID, Holding] = {}
        self._asking: ShardID | None = None  # whose log is being looked at
        self._behind: set[ShardID] = set()  # logs that adopt of others which are long

    def view(self, shard: ShardID) -> View | None:
        """Of a shard whose founding is here."""
        known = self._facts.shard(shard)
        if known is None:
            return None
        seats = self._facts.seats(shard)
        self._behind.discard(shard)
        return View(
            known,
            self._me,
            seats,
            self._facts.votes(shard),
            lambda term: self._whole(known, term),
            self._facts.generations(),
            revoked_among(self._members, known.seats),
        )

    def behind(self, shard: ShardID) -> bool:
        """Whether there was too much to look at; then the next view knows more."""
        holding = self._holdings.get(shard)
        return shard in self._behind or (holding is not None and holding.more)

    def waits(self, shard: Shard) -> bool:
        """Whether the log of a shard that was looked at names something that is not here."""
        holding = self._holdings.get(shard.id)
        return holding is not None and holding.waits(shard)

    def seated(self) -> Mapping[SiteID, int]:
        """In how many councils each site sits, as far as is known here."""
        return self._facts.seated()

    def tip(self, feed: FeedID) -> EntryRef | None:
        """The newest entry of a feed that is here."""
        tip = self._facts.feeds.tip(feed)
        return EntryRef(feed, tip.seq, EntryID(tip.id)) if tip.seq else None

    def _whole(self, shard: Shard, term: Term) -> EntryRef | None:
        self._asking = shard.id
        return self._holding(shard).whole(shard, term)

    def _holding(self, shard: Shard) -> Holding:
        found = self._holdings.get(shard.id)
        if found is None:
            found = Holding(shard.id, self._read, self._holds, self._holds_log)
            self._holdings[shard.id] = found
            mine = self._facts.seats(shard.id).get(self._me)
            for ack in mine.acked.values() if mine is not None else ():
                term = shard.term(*ack.log)
                if term is not None:
                    found.assume(term, ack.entry)
        return found

    def _read(
        self, feed: FeedID, after: int, limit: int
    ) -> list[tuple[EntryRef, Sequence[Record | Refused] | None]]:
        return [
            (entry.ref, entry.records() if entry.body is not None else None)
            for entry in self._facts.feeds.entries(feed, after, limit)
        ]

    def _holds(self, ref: EntryRef) -> bool:
        entry = self._facts.feeds.entry(ref)
        return entry is not None and entry.body is not None

    def _holds_log(self, shard: ShardID, place: EntryRef) -> bool:
        """Whether another shard's log is whole here through a place."""
        known = self._facts.shard(shard)
        term = term_at(known, place) if known is not None else None
        if known is None or term is None:
            return False
        holding = self._holding(known)
        whole = holding.whole(known, term)
        held = whole is not None and whole.seq >= place.seq
        if not held and holding.more and self._asking is not None:
            self._behind.add(self._asking)
        return held
