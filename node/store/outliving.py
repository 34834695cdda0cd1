"""A store that turns out to be an old copy while its node runs.

A peer shows entries of our own present feeds that are not here: the database was put back from a
copy together with its high-water file, or the site runs twice. Nothing may be written under this
generation any more, or its feeds fork. The high-water file is told the next generation, a random
step away, so that the node goes on under it when it is started again; the entries that are missing
come back from peers then.

Source: docs/protocol.md, "Restored copies".
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from federation.ids import FeedID, Lane
from node.store.highwater import Head, Heads, HighWater, Lost, leap_generations

_log = Logger()


class Outliving:
    """What others showed of our feeds, and what follows. All methods: in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        highwater: HighWater,
        retry_s: float,
        leap: Callable[[], int] = leap_generations,
    ) -> None:
        """retry_s: how long to wait for a disk that does not take the word. leap: random steps."""
        self.why = ""  # nothing is written any more, as others hold what this store lacks
        self._reactor = reactor
        self._highwater = highwater
        self._retry_s = retry_s
        self._leap = leap
        self._shown: tuple[FeedID, int, str] | None = None
        self._hears: list[Callable[[str], None]] = []
        self._call: IDelayedCall | None = None

    def show(self, feed: FeedID, seq: int, why: str) -> None:
        """A peer holds an entry of our present generation, or a later one, that is not here.

        why: what else tells that the generation is in use elsewhere; "" for that entry.
        """
        self._shown = self._shown or (feed, seq, why)

    @property
    def due(self) -> bool:
        """Whether something was shown and `retire` is to be called between two commits."""
        return self._shown is not None and not self.why

    def hear(self, fn: Callable[[str], None]) -> None:
        """Call `fn` with the reason once the next start is sure to write elsewhere."""
        self._hears.append(fn)

    def retire(self, heads: Heads) -> str:
        """Have the next start go on under a later generation; why. Blocks for two syncs.

        heads: of our feeds, as they are here.
        """
        assert self._shown is not None
        feed, seq, why = self._shown
        self.why = why or _words(feed, seq, _held(heads, feed))
        _log.error("journal: {why}", why=self.why)
        self._note(heads)
        return self.why

    def stop(self) -> None:
        """Note nothing any more."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _note(self, heads: Heads) -> None:
        assert self._shown is not None
        feed, seq, _ = self._shown
        generation = max(heads.generation, feed.generation) + 1 + self._leap()
        try:
            self._highwater.begin(Heads(generation), _lost(heads, feed, seq))
        except OSError as error:
            _log.error("journal: no word of that on disk yet: {why}", why=str(error))
            self._call = self._reactor.callLater(self._retry_s, self._note, heads)
            return
        _log.warn("journal: this site goes on under generation {to}", to=generation)
        for fn in self._hears:
            # Not within a call of the journal's, whose caller may not expect its end.
            self._reactor.callLater(0, fn, self.why)


def _words(feed: FeedID, seq: int, held: int) -> str:
    """For people: what is known elsewhere and not here."""
    lane = feed.lane.name.lower()
    return (
        f"another copy of this site's home is, or was, in use: peers hold entry {seq} of its {lane}"
        f" feed of generation {feed.generation}, which is not the one here (of {held}). Nothing"
        " more is written under that generation. If another copy runs anywhere, stop that one"
    )


def _of_generation(heads: Heads, feed: FeedID) -> Heads:
    return heads if feed.generation == heads.generation else Heads(feed.generation)


def _held(heads: Heads, feed: FeedID) -> int:
    here = _of_generation(heads, feed)
    return (here.control if feed.lane is Lane.CONTROL else here.results).seq


def _lost(heads: Heads, feed: FeedID, seq: int) -> Lost:
    """What is missing here for certain."""
    here = _of_generation(heads, feed)
    control, results = _none_beyond(here.control), _none_beyond(here.results)
    if feed.lane is Lane.CONTROL:
        control = (control[0], max(seq, control[1]))
    else:
        results = (results[0], max(seq, results[1]))
    return Lost(feed.generation, control, results)


def _none_beyond(head: Head) -> tuple[int, int]:
    return head.seq + 1, head.seq
