"""How far this site holds a log: its records, those of its bases, and the results they name.

A voter acks only what it holds whole: the log of the term through the entry, each base's log
through its cut, every results entry that those records accept, and what an adopt or an import
rests on. What is held stays held, so that each entry is looked at once.

Source: docs/protocol.md, "Acks and settled".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from federation.ids import EntryRef, FeedID, Lane, ShardID
from federation.opening import entry_ref
from federation.records import Accept, Adopt, Import, Record, Refused
from federation.segments import Segment, log_records, segments
from federation.settle import Log
from federation.shard import Shard, Term

ENTRIES_AT_ONCE: Final = 64  # read from the store in one go
# Looked at in one call: some tens of milliseconds. After a month away there are millions.
ENTRIES_A_CALL: Final = 1024

Holds = Callable[[EntryRef], bool]
Read = Callable[[FeedID, int, int], Sequence[tuple[EntryRef, Sequence[Record | Refused] | None]]]
"""(feed, after, limit): entries of a control feed, ascending; None for a body that is not here."""
HoldsLog = Callable[[ShardID, EntryRef], bool]
"""Whether another shard's log is held whole through an entry of one of its leaders' feeds."""


class Holding:
    """How far the logs of one shard are held here; `whole` looks at what came since."""

    def __init__(self, shard: ShardID, read: Read, holds: Holds, holds_log: HoldsLog) -> None:
        """read: entries of control feeds. holds: this very entry of either lane is here."""
        self._id = shard
        self._read = read
        self._holds = holds
        self._holds_log = holds_log
        self._seen: dict[Log, int] = {}  # the last seq that was looked at and is whole
        self._whole: dict[Log, EntryRef] = {}  # the last entry among those with log records
        self._more: set[Log] = set()  # that were too much for one call
        self._lacking: set[Log] = set()  # whose next entry names something that is not here
        self._looking: set[Log] = set()  # a dataset may have gone to another log and back

    @property
    def more(self) -> bool:
        """Whether some call left something for the next one, which then may say more."""
        return bool(self._more)

    def waits(self, shard: Shard) -> bool:
        """Whether the log of the newest term names something that was not here at the last look."""
        return any(
            log in self._lacking
            and (segment.through is None or self._seen.get(log, 0) < segment.through.seq)
            for segment in segments(shard)
            for log in [_log(segment)]
        )

    def whole(self, shard: Shard, term: Term) -> EntryRef | None:
        """The last entry of the term's own feed through which its log is held; None if nothing.

        The entry holds records of that term's log.
        """
        path = segments(shard, term)
        for segment in path:
            reached = self._reach(segment)
            cut = segment.through
            if segment.term == term:
                return reached
            if reached is None or cut is None or self._seen[_log(segment)] < cut.seq:
                return None
        return None

    def assume(self, term: Term, entry: EntryRef) -> None:
        """This site acked the term's log through an entry before: it need not be looked at."""
        log = term.number, term.feed
        if self._seen.get(log, 0) < entry.seq:
            self._seen[log], self._whole[log] = entry.seq, entry

    def _reach(self, segment: Segment) -> EntryRef | None:
        """Look at what is new of a term's own part of the log, beyond any cut too."""
        log = _log(segment)
        if log not in self._looking:
            self._looking.add(log)
            try:
                self._look(segment, log)
            finally:
                self._looking.remove(log)
        return self._whole.get(log)

    def _look(self, segment: Segment, log: Log) -> None:
        own = Segment(segment.term, segment.first, until=segment.until)
        seen = self._seen.get(log, segment.first[0] - 1)
        last = seen + ENTRIES_A_CALL
        self._more.discard(log)
        self._lacking.discard(log)
        while entries := self._read(segment.feed, seen, ENTRIES_AT_ONCE):
            if seen >= last:
                self._more.add(log)
                break
            for entry, records in entries:
                if records is None or not self._take(own, entry, records):
                    self._lacking.add(log)
                    return
                seen = self._seen[log] = entry.seq

    def _take(self, own: Segment, entry: EntryRef, records: Sequence[Record | Refused]) -> bool:
        """Whether all that one entry's records of the log name is here."""
        ours = log_records(self._id, own, entry, records)
        if not all(self._has(record) for _, record in ours):
            return False
        if ours:
            self._whole[_log(own)] = entry
        return True

    def _has(self, record: Record | Refused) -> bool:
        match record:
            case Accept():
                feed = FeedID(record.site, record.generation, Lane.RESULTS)
                return self._holds(EntryRef(feed, record.through, record.entry))
            case Adopt():
                refs = [entry_ref(ref) for ref in record.acks]
                move = entry_ref(record.move)
                return all(map(self._holds, refs)) and self._holds_log(record.source, move)
            case Import():
                refs = [entry_ref(ref) for ref in (record.place, *record.acks)]
                return all(map(self._holds, refs))
            case _:
                return True


def _log(segment: Segment) -> Log:
    return segment.term.number, segment.feed
