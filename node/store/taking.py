"""What becomes of entries that arrive: queued, refused, or half of the proof of a fork."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.logger import Logger

from federation.entry import Entry
from federation.feed import Fork, ForkProof, check_fork, prove_fork
from federation.ids import FeedID, Lane, SiteID
from federation.records import Forked
from node.store.arrivals import Arrivals, Call
from node.store.cycle import Clock
from node.store.database import Database, StoreError
from node.store.feeds import Feeds
from node.store.forks import known_forks
from node.store.waiting import JournalFull

_log = Logger()


class OwnFeedAhead(StoreError):
    """A peer holds entries of this site's own present feeds which this store did not write."""

    def __init__(self, feed: FeedID, seq: int) -> None:
        self.feed = feed
        self.seq = seq
        super().__init__(
            f"entry {seq} of generation {feed.generation} of this site comes from elsewhere:"
            " another copy of this site's home is, or was, in use"
        )


class Taking:
    """Judges entries of other sites by what the store holds."""

    def __init__(
        self,
        database: Database,
        site: SiteID,
        generation: int,
        clock: Clock,
        bytes_max: int,
        prove: Callable[[Forked], None],
        outlived: Callable[[FeedID, int], None],
    ) -> None:
        """site, generation: ours. bytes_max: of what waits. prove: writes a record of a fork.

        outlived: told of entries of our present feeds that are not here.
        """
        self._database = database
        self._site = site
        self._generation = generation
        self._clock = clock
        self._bytes_max = bytes_max
        self._prove = prove
        self._outlived = outlived
        self._proved: set[tuple[bytes, int]] = set()  # (site, generation): written, or on its way
        tips = Feeds(database.writer).tips()
        clock.resume(tips, site)
        self.arrivals = Arrivals(tips, self._stored)

    def take(self, entries: Sequence[Entry], *, scarce: bool) -> Call:
        """Queue what fits. scarce: the disk has little room. Raises JournalFull."""
        if self.arrivals.bytes >= self._bytes_max:
            raise JournalFull("entries of other sites wait for the disk: ask again later")
        call = self.arrivals.put(entries, partial(self._check, scarce=scarce))
        for entry in entries:
            self._clock.merge(entry.header.hlc)
        for refusal in call.refusals:
            if isinstance(refusal, Fork):
                self._forked(refusal)
            elif isinstance(refusal, OwnFeedAhead):
                self._outlived(refusal.feed, refusal.seq)
        return call

    def _forked(self, fork: Fork) -> None:
        header = fork.entry.header
        held = self.arrivals.held(fork)
        if self._is_ours(header.feed):
            self._outlived(header.feed, header.seq)
        elif held is not None and header.seq == fork.at:
            self.note(prove_fork(held, fork.entry))

    def _is_ours(self, feed: FeedID) -> bool:
        """Whether a feed is one that this site writes now, or a later one of its own."""
        return feed.site == self._site and feed.generation >= self._generation

    def _stored(self, feed: FeedID, seq: int) -> Entry | None:
        return self._database.read_here(lambda conn: Feeds(conn).at(feed, seq))

    def _check(self, entry: Entry, *, scarce: bool) -> None:
        """Raise for an entry that follows its feed and is not taken in all the same."""
        header = entry.header
        if self._is_ours(header.feed):
            raise OwnFeedAhead(header.feed, header.seq)
        if scarce and header.lane is Lane.RESULTS:
            raise JournalFull("the disk has little room: results of other sites are not taken in")

    def note(self, proof: ForkProof) -> None:
        """Write a proof of a fork, one a generation. Raises PeerError for what proves none."""
        feed, seq = check_fork(proof)
        if self._is_ours(feed):
            self._outlived(feed, seq)  # to be proved under another generation, by others
            return
        feeds = (bytes(feed.site), feed.generation)
        if feeds in self._proved or feeds in self._database.read_here(known_forks):
            return
        self._proved.add(feeds)
        _log.error(
            "site {site} signed two entries for one place: {seq} of generation {generation}",
            site=feed.site.hex()[:8],
            seq=seq,
            generation=feed.generation,
        )
        self._prove(
            Forked(proof.first, proof.first_signature, proof.second, proof.second_signature)
        )
