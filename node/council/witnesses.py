"""Whom a site asks that cannot tell whether its database is its newest copy.

Of each council in which it sits so many other voters that no majority which counted an act of its
seat is without one of them; and of all the sites that it may be linked with as many as if they
were a council, as others may have taken from its feeds whatever they did not vote on.

Source: docs/protocol.md, "Restored copies".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from federation.ids import FeedID, ShardID, SiteID
from federation.quorum import majority
from federation.voting import View, sits


@dataclass(frozen=True, slots=True)
class Witnesses:
    """wanted: how many of these sites have to answer; more than there are: an admin has to."""

    sites: frozenset[SiteID]
    wanted: int

    def suffice(self, answered: Collection[SiteID]) -> bool:
        """Whether enough of them are among those that answered."""
        return len(self.sites.intersection(answered)) >= self.wanted


class Members(Protocol):
    """The mesh as this site sees it: `node.members.Members`."""

    def members(self) -> Collection[SiteID]: ...
    def addresses(self, site: SiteID) -> Sequence[str]: ...
    def revoked(self, site: SiteID) -> bool: ...


class Councils(Protocol):
    """`node.council.tables.FoldedFacts`."""

    def councils(self) -> Sequence[ShardID]: ...


def witnesses(
    me: FeedID,
    members: Members,
    councils: Councils,
    view: Callable[[ShardID], View | None],
    used: Callable[[ShardID], bool],
) -> list[Witnesses]:
    """me: this site's control feed. used: whether datasets stand in a shard's log."""
    found = [_of_mesh(me.site, members)]
    for shard in councils.councils():
        seen = view(shard)
        if seen is None or not sits(seen, me):
            continue
        seats = seen.shard.voters(seen.shard.newest)
        acting = {seat.site for seat in seats if sits(seen, seat)} - {me.site}
        # What lost a seat and holds nothing was left, maybe because nobody there answers.
        left = len(acting) + 1 < len(seats) and not used(shard)
        if len(seats) > 1 and not left:
            found.append(_of(len(seats), acting))
    return found


def _of(voters: int, others: Collection[SiteID]) -> Witnesses:
    return Witnesses(frozenset(others), voters - majority(voters) + 1)


def _of_mesh(me: SiteID, members: Members) -> Witnesses:
    """Of two that only dial out neither can be asked by the other."""
    dialled = bool(members.addresses(me))
    others = [
        site
        for site in members.members()
        if site != me and not members.revoked(site) and (dialled or members.addresses(site))
    ]
    return _of(len(others) + 1, others)
