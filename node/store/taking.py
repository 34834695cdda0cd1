"""What becomes of entries that arrive: queued, refused, or half of the proof of a fork."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.logger import Logger

from federation.entry import Entry
from federation.feed import Fork, prove_fork
from federation.ids import FeedID, Lane, SiteID
from federation.records import Forked
from node.store.arrivals import Arrivals, Call
from node.store.cycle import Clock
from node.store.database import Database, StoreError
from node.store.feeds import Feeds, known_forks
from node.store.waiting import JournalFull

_log = Logger()


class OwnFeedAhead(StoreError):
    """A peer holds entries of this site's own present feeds which this store did not write."""


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
    ) -> None:
        """site, generation: ours. bytes_max: of what waits. prove: writes a record of a fork."""
        self._database = database
        self._site = site
        self._generation = generation
        self._clock = clock
        self._bytes_max = bytes_max
        self._prove = prove
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
        if isinstance(call.refusal, Fork):
            self._note(call.refusal)
        return call

    def _stored(self, feed: FeedID, seq: int) -> Entry | None:
        return self._database.read_here(lambda conn: Feeds(conn).at(feed, seq))

    def _check(self, entry: Entry, *, scarce: bool) -> None:
        """Raise for an entry that follows its feed and is not taken in all the same."""
        header = entry.header
        if header.site == self._site and header.generation >= self._generation:
            raise OwnFeedAhead(
                f"entry {header.seq} of generation {header.generation} of this site comes from"
                " elsewhere: another copy of this site's home is, or was, in use"
            )
        if scarce and header.lane is Lane.RESULTS:
            raise JournalFull("the disk has little room: results of other sites are not taken in")

    def _note(self, fork: Fork) -> None:
        """Write the proof of a fork, one a generation, where we hold our side of it."""
        header = fork.entry.header
        feeds = (bytes(header.site), header.generation)
        held = self.arrivals.held(fork)
        if held is None or header.seq != fork.at:
            return
        if feeds in self._proved or feeds in self._database.read_here(known_forks):
            return
        self._proved.add(feeds)
        proof = prove_fork(held, fork.entry)
        _log.error(
            "site {site} signed two entries for one place: {seq} of generation {generation}",
            site=header.site.hex()[:8],
            seq=header.seq,
            generation=header.generation,
        )
        self._prove(
            Forked(proof.first, proof.first_signature, proof.second, proof.second_signature)
        )
