"""Shards whose council cannot settle anything now: too few of its seats act, or are reached.

What was granted is run on meanwhile. Seats that only are silent may come back by themselves; of
those that are lost (their site was revoked, or goes on under a later generation) no vote is ever
counted again, and when they are half of a council only an admin's signed word helps.

Source: docs/protocol.md, "Forced".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from federation.ids import EntryRef, FeedID, ShardID, SiteID
from federation.opening import BadOpen, Ballot, base_and_cut
from federation.quorum import majority
from federation.voting import View, sits
from node.council.views import Views


@dataclass(frozen=True, slots=True)
class Standstill:
    """One such shard.

    term: the newest; highest: of all that were ever voted for here. cut: the last entry of its own
    log through which that is held.
    """

    shard: ShardID
    term: int
    highest: int
    cut: EntryRef
    voters: int
    lost: Sequence[SiteID]
    silent: Sequence[SiteID]
    stopped: bool  # two sites opened one term, or voters hold two branches of one log

    @property
    def for_good(self) -> bool:
        """Whether only an admin can end it."""
        return self.stopped or self.voters - len(self.lost) < majority(self.voters)


class Facts(Protocol):
    """What is read besides views."""

    def councils(self) -> Sequence[ShardID]: ...


class Standstills:
    """Looks at shards. All methods run in the reactor's thread."""

    def __init__(
        self,
        views: Views,
        facts: Facts,
        reached: Callable[[SiteID], bool],
        name_of: Callable[[SiteID], str],
    ) -> None:
        """reached: whether another site was heard of lately; name_of: a site's, for people."""
        self._views = views
        self._facts = facts
        self._reached = reached
        self._name_of = name_of

    def ours(self) -> list[Standstill]:
        """Of the shards in whose council this site sits, those that stand still."""
        found = [self.of(shard) for shard in self._facts.councils()]
        return [each for each in found if each is not None]

    def lost(self, shard: ShardID) -> list[SiteID]:
        """The voters of a shard's newest log whose seats count no more."""
        view = self._views.view(shard)
        if view is None:
            return []
        seats = view.shard.voters(view.shard.newest)
        return [seat.site for seat in seats if not sits(view, seat)]

    def of(self, shard: ShardID) -> Standstill | None:
        """How a shard stands still; None for one that goes on, or whose only voter is a site."""
        view = self._views.view(shard)
        if view is None or len(view.shard.voters(view.shard.newest)) == 1:
            return None
        known = view.shard
        seats = known.voters(known.newest)
        lost = [seat for seat in seats if not sits(view, seat)]
        silent = [seat for seat in seats if seat not in lost and not self._acts(view, seat)]
        acting = len(seats) - len(lost) - len(silent)
        stopped = known.stopped or _is_torn(view)
        if acting >= majority(len(seats)) and not stopped:
            return None
        return Standstill(
            shard,
            known.newest.number,
            max([known.newest.number, *(ballot.vote.term for ballot in view.votes)]),
            view.whole(known.newest) or known.newest.began,
            len(seats),
            [seat.site for seat in lost],
            [seat.site for seat in silent],
            stopped,
        )

    def words(self, each: Standstill) -> str:
        """Why a shard stands still, for people."""
        if each.stopped:
            return "its log has two branches: which of both counts, an admin says"
        names = ", ".join(map(self._name_of, [*each.lost, *each.silent]))
        if each.for_good:
            gone = ", ".join(map(self._name_of, each.lost))
            return f"its log lost {len(each.lost)} of {each.voters} voters for good ({gone})"
        return (
            f"no majority of the {each.voters} voters of its log is reached ({names}): what is"
            " granted runs on, nothing is settled meanwhile"
        )

    def brief(self, each: Standstill) -> str:
        """The same for a line of a table."""
        if each.stopped:
            return "stands still: its log has two branches"
        acting = each.voters - len(each.lost) - len(each.silent)
        how = "left" if each.for_good else "reached"
        return f"stands still: {acting} of {each.voters} voters {how}"

    def _acts(self, view: View, seat: FeedID) -> bool:
        return seat == view.me or (seat.site != view.me.site and self._reached(seat.site))


def _is_torn(view: View) -> bool:
    """Whether a majority voted for a term that cannot be opened: its heads are a fork's."""
    newest, seats = view.shard.newest, view.shard.voters(view.shard.newest)
    cast: dict[tuple[int, SiteID], list[Ballot]] = {}
    for ballot in view.votes:
        if ballot.vote.term > newest.number and ballot.voter in seats:
            cast.setdefault((ballot.vote.term, ballot.vote.candidate), []).append(ballot)
    return any(
        len(ballots) >= majority(len(seats)) and not _agree(ballots) for ballots in cast.values()
    )


def _agree(ballots: Sequence[Ballot]) -> bool:
    try:
        base_and_cut(ballots)
    except BadOpen:
        return False
    return True
