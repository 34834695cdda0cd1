"""Whether this store is the newest copy of it: others are asked, or an admin says so.

The high-water file is missing, or bound to another file or host, and says nothing (`node/store/
generation.py`). Until it is known what this store is, nothing of our own is written: a copy that is
older than it looks would write entries for places that are taken. The question is what the links
carry anyway: each peer says on connecting all that it holds. One that shows entries of ours which
are not here ends this generation (`node/store/outliving.py`), and so does another process with the
site's key. Once enough others have shown none, and all that they hold is here, the site goes on in
its generation, by starting again.

Source: docs/protocol.md, "Restored copies".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from federation.ids import FeedID, SiteID
from node.council.witnesses import Witnesses
from node.store.highwater import Heads

log = Logger()

LOOK_S: Final = 1.0
RETRY_S: Final = 30.0  # after the disk did not take the note
TOLD_S: Final = 0.3  # so that the admin who said it hears of it before the node starts again
NAMES_SHOWN_MAX: Final = 5
COMMAND: Final = "floe mesh recover --newest"
OLDER: Final = "floe mesh recover --older"
HELD: Final = "the node writes nothing until it is known whether its database is the newest copy"


class Journal(Protocol):
    """The part of the journal that is told, and that tells."""

    @property
    def outlived(self) -> str: ...
    @property
    def heads(self) -> Heads: ...
    def outlive(self, feed: FeedID, seq: int, why: str = "") -> None: ...


class HighWater(Protocol):
    """The file that is bound anew."""

    def begin(self, heads: Heads) -> None: ...


class Inquiry:
    """See the module. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        journal: Journal,
        highwater: HighWater,
        me: FeedID,
        why: str,
        abreast: Callable[[], set[SiteID]],
        witnesses: Callable[[], Sequence[Witnesses]],
        twin: Callable[[], bool],
        name_of: Callable[[SiteID], str],
        again: Callable[[str], None],
    ) -> None:
        """me: this site's control feed. why: what the high-water file says, for people.

        abreast: peers that showed nothing of ours that is not here, and of which all is here.
        witnesses: whom to hear. twin: whether another process with this site's key was seen.
        again: starts the node again, with the reason.
        """
        self._reactor = reactor
        self._journal = journal
        self._highwater = highwater
        self._me = me
        self._why = why
        self._abreast = abreast
        self._witnesses = witnesses
        self._twin = twin
        self._name_of = name_of
        self._again = again
        self._answered: set[SiteID] = set()
        self._over = False
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Look every second from now on."""
        self._call = self._reactor.callLater(LOOK_S, self._look)

    def stop(self) -> None:
        self._over = True
        if self._call is not None and self._call.active():
            self._call.cancel()

    @property
    def pending(self) -> bool:
        """Whether an answer is waited for."""
        return not (self._over or self._journal.outlived)

    def go_on(self, by: str) -> bool:
        """Write on in this generation, after a start; by: who says so. Blocks for two syncs.

        Whether that is on disk.
        """
        assert self.pending
        try:
            self._highwater.begin(self._journal.heads)
        except OSError as error:
            log.error("the high-water file is not written: {why}", why=str(error))
            return False
        self.stop()
        why = f"{by}: this database is the newest copy, and the site goes on as before"
        log.warn("{why}", why=why)
        self._reactor.callLater(TOLD_S, self._again, why)
        return True

    def leave(self, by: str) -> None:
        """Write on in a later generation, after a start."""
        assert self.pending
        self.stop()
        why = f"{by}: this database is an older copy, and the site leaves its generation"
        seq = self._journal.heads.control.seq
        self._call = self._reactor.callLater(TOLD_S, self._journal.outlive, self._me, seq, why)

    def words(self) -> str:
        """What people must know, and do; "" once it is decided."""
        if not self.pending:
            return ""
        groups = self._witnesses()
        left = [group for group in groups if not group.suffice(self._answered)]
        able = all(len(group.sites) >= group.wanted for group in left)
        return (
            f"{HELD} ({self._why}). {self._asked(left) if able else _NOBODY} If you know that it is"
            f" the newest, and that no other copy runs: {COMMAND}. If it is older: {OLDER}"
        )

    def _asked(self, left: Sequence[Witnesses]) -> str:
        silent = set().union(*(group.sites for group in left)) - self._answered
        more = max((each.wanted - len(each.sites & self._answered) for each in left), default=0)
        names = sorted(map(self._name_of, silent))
        shown = ", ".join(names[:NAMES_SHOWN_MAX]) + (", …" * (len(names) > NAMES_SHOWN_MAX))
        return (
            f"It asks the other sites: {len(self._answered)} answered, {more} more"
            f" {'is' if more == 1 else 'are'} needed (of {shown})."
        )

    def _look(self) -> None:
        self._call = self._reactor.callLater(LOOK_S, self._look)
        if not self.pending:
            return
        if self._twin():
            self.leave("another node with this site's key runs")
            return
        self._answered |= self._abreast()
        if self._answered and all(each.suffice(self._answered) for each in self._witnesses()):
            names = ", ".join(sorted(map(self._name_of, self._answered)))
            if not self.go_on(f"no more of this site's records is known to {names}"):
                self._call.reset(RETRY_S)


_NOBODY: Final = "The other sites alone cannot tell."
