"""Which shards are looked at, and when: those with news, those whose time has come.

A look costs about a millisecond, and a site sits in the council of every shard for ever. So a shard
is looked at when an entry speaks of it, when its own plan says so, and otherwise once in a while;
while its log names something that is not here yet, which need not speak of it, whatever comes is
news. Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from federation.entry import Entry
from federation.ids import Lane, ShardID
from federation.records import Forked, FoundCouncil, Record, Refused

# A look at least so often: what only time changes is never missed for long.
LOOK_S_MAX: Final = 60.0


class Agenda:
    """See the module."""

    def __init__(self, councils: Callable[[], Sequence[ShardID]]) -> None:
        """councils: the shards in whose council this site sits."""
        self._councils = councils
        self._due_s: dict[ShardID, float] = {}
        self._news: set[ShardID] = set()
        self._waiting: set[ShardID] = set()
        self._founded = False  # a shard, since the councils were asked for
        self._all_s = float("-inf")

    def everything(self) -> None:
        """Something changed that may concern any shard."""
        self._all_s = float("-inf")

    def news(self, shards: Iterable[ShardID]) -> None:
        """Something happened in these shards."""
        self._news.update(shards)

    def arrived(self, entry: Entry, records: Sequence[Record | Refused]) -> None:
        """An entry came; its records if it is one of a control feed."""
        self._news |= self._waiting
        if entry.header.lane is not Lane.CONTROL:
            return
        if entry.header.seq == 1 or any(isinstance(record, Forked) for record in records):
            self.everything()  # a site goes on in another generation: it lost all of its seats
        for record in records:
            self._founded = self._founded or isinstance(record, FoundCouncil)
            shard = getattr(record, "shard", None)
            if shard is not None:
                self._news.add(shard)

    def due(self, now_s: float) -> list[ShardID]:
        """The shards to look at now; tell of each when it was looked at."""
        if self._all_s <= now_s:
            seats = self._councils()
            self._all_s = now_s + LOOK_S_MAX
            self._waiting.intersection_update(seats)
            self._due_s = dict.fromkeys(seats, now_s)
        elif self._founded:
            for shard in self._councils():
                self._due_s.setdefault(shard, now_s)
        self._founded = False
        due = [
            shard for shard, due_s in self._due_s.items() if due_s <= now_s or shard in self._news
        ]
        self._news.clear()
        return due

    def looked(self, shard: ShardID, again_s: float, *, waits: bool) -> None:
        """A shard was looked at, and is to be looked at again then.

        waits: for something that its log names.
        """
        self._due_s[shard] = again_s
        (self._waiting.add if waits else self._waiting.discard)(shard)

    @property
    def next_s(self) -> float:
        """When to look next if nothing happens."""
        return min([self._all_s, *self._due_s.values()])
