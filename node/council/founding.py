"""In which shard a new dataset goes: the newest that this site leads, or one founded for it.

A shard keeps its council for ever. So a site whose mesh has grown, or whose council lost a seat,
founds the next shard at its next submission, with whoever is up then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from federation import limits, pulse
from federation.beacon import Beacon
from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.records import Record
from federation.seating import Candidate, choose, outgrown
from federation.shard import found
from node.council.views import Views

_log = Logger()


class Writing(Protocol):
    """The part of the journal that founds."""

    def control(self, record: Record) -> Deferred[None]: ...


class MembersSeen(Protocol):
    """Who belongs to the mesh, and who of them can be dialled."""

    def members(self) -> Sequence[SiteID]: ...

    def addresses(self, site: SiteID) -> Sequence[str]: ...


class Peers:
    """Since when each member has been heard; from its beacons."""

    def __init__(
        self,
        me: SiteID,
        members: MembersSeen,
        seconds: Callable[[], float],
        gap_s: float = pulse.UNREACHABLE_S,
    ) -> None:
        """seconds: this site's monotonic clock. gap_s: a site not heard for so long begins anew."""
        self._me = me
        self._members = members
        self._seconds = seconds
        self._gap_s = gap_s
        self._since_s: dict[SiteID, float] = {}
        self._newest: dict[SiteID, tuple[Beacon, float]] = {}  # with when it came

    def heard(self, beacon: Beacon) -> None:
        """A newer beacon came."""
        now_s, site = self._seconds(), beacon.site
        if not self._is_heard(site):
            self._since_s[site] = now_s
        self._newest[site] = beacon, now_s

    def candidates(self) -> list[Candidate]:
        """The other members that are heard."""
        return [
            self._candidate(site)
            for site in self._members.members()
            if site != self._me and self._is_heard(site)
        ]

    def _candidate(self, site: SiteID) -> Candidate:
        beacon, came_s = self._newest[site]
        up_s = max(came_s - self._since_s[site], 1.0)
        seat = FeedID(site, beacon.generation, Lane.CONTROL)
        return Candidate(seat, bool(self._members.addresses(site)), up_s, drained=beacon.drained)

    def _is_heard(self, site: SiteID) -> bool:
        newest = self._newest.get(site)
        return newest is not None and self._seconds() - newest[1] <= self._gap_s


class Founding:
    """Finds a shard for each new dataset."""

    def __init__(
        self,
        me: FeedID,
        views: Views,
        led: Callable[[], Sequence[ShardID]],
        peers: Peers,
        journal: Writing,
        random: Callable[[int], bytes],
    ) -> None:
        """led: the shards that this site leads, the newest last. random: so many random bytes."""
        self._me = me
        self._views = views
        self._led = led
        self._peers = peers
        self._journal = journal
        self._random = random
        self._one_at_a_time = DeferredLock()

    async def shard(self, leaving: SiteID | None = None) -> ShardID:
        """The shard for a dataset that is submitted now; founds one if need be.

        leaving: a site that wants to lead no more, and sits in no council that is as large without
        it. Raises what the journal raises.
        """
        async with self._one_at_a_time:
            candidates = self._candidates(leaving)
            return self._newest(candidates, leaving) or await self._found(candidates)

    def _candidates(self, leaving: SiteID | None) -> Sequence[Candidate]:
        seated = self._views.seated()
        known = [
            replace(each, seats=seated.get(each.seat.site, 0)) for each in self._peers.candidates()
        ]
        without = [each for each in known if each.seat.site != leaving]
        beside = [replace(each, drained=False) for each in known if each.seat.site == leaving]
        large = len(choose(self._me, [*without, *beside]))
        return without if len(choose(self._me, without)) >= large else [*without, *beside]

    async def _found(self, candidates: Sequence[Candidate]) -> ShardID:
        seats = choose(self._me, candidates)
        record = found(self._me, self._random(limits.NONCE_BYTES), seats)
        await self._journal.control(record)
        _log.info(
            "council: founded shard {shard} with {count} voters",
            shard=record.shard.hex()[:8],
            count=len(seats),
        )
        return record.shard

    def _newest(self, candidates: Sequence[Candidate], leaving: SiteID | None) -> ShardID | None:
        """The newest shard that is led here, unless a better council can be had by now."""
        led = self._led()
        view = self._views.view(led[-1]) if led else None
        if view is None or outgrown(view, self._me, candidates) is not None:
            return None
        voters = view.shard.voters(view.shard.newest)
        sits = any(seat.site == leaving for seat in voters)
        if sits and not any(each.seat.site == leaving for each in candidates):
            return None
        return led[-1]
