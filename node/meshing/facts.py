"""What `floe mesh` shows, gathered: members, beacons, links, and the folded tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import apsw

from federation.beacon import Ban, Beacon
from federation.hlc import to_ms
from federation.ids import Lane, ShardID, SiteID
from federation.linkfacts import LinkFacts
from federation.pulse import Health
from federation.shapes import Workers
from node.beacon.keeper import Beacons
from node.council.service import Standing
from node.council.standstills import Standstills
from node.members import Members
from node.services.meshfacts import BanFact, LinkFact, MeshFacts, ShardFact, SiteFact
from node.services.meshwhy import fork_line, twin_line
from node.services.questions import Reader
from node.store import shards as rows
from node.store.forks import Forking, forkings
from node.store.shards import ShardRow

AHEAD_S_MAX: Final = 300.0  # records that are later than now by more tell no age
FORK_SHOWN_S: Final = 7 * 86_400.0  # after that it is history, if the site has gone on


@dataclass(frozen=True, slots=True)
class Own:
    """What this site says of itself now."""

    version: str
    batch: Sequence[str]
    running: int
    ready: int
    pilots: int
    draining: str  # why, while it is drained
    troubles: Sequence[str] = ()  # what it cannot do, and why
    workers: Sequence[Workers] = ()
    bans: Sequence[Ban] = ()
    barred: int = 0


@dataclass(frozen=True, slots=True)
class _Tables:
    granted: Mapping[SiteID, int]
    tips: Mapping[tuple[SiteID, int, int], int]
    shards: Sequence[ShardRow]
    troubles: Sequence[str]
    forks: Mapping[SiteID, Forking]
    skipped: Mapping[SiteID, tuple[int, str]]


def _read(conn: apsw.Connection) -> _Tables:
    return _Tables(
        rows.granted(conn),
        rows.tips(conn),
        rows.shards(conn),
        rows.troubles(conn),
        {each.site: each for each in forkings(conn)},
        rows.skipped(conn),
    )


def _is_needed(row: ShardRow) -> bool:
    return bool(row.open or (row.datasets and row.unsettled))


def _bans(bans: Sequence[Ban], clock_ms: int, age_s: float) -> list[BanFact]:
    """What is left of bans that a site told of, so long ago, by its clock."""
    left = [(each, (each.until_ms - clock_ms) / 1000 - age_s) for each in bans]
    return [BanFact(each.host, left_s, each.why) for each, left_s in left if left_s > 0]


class FactSource:
    """Gathers. links: as `Mesh.links`; own: of this site; wall_ms: for the clocks of others."""

    def __init__(
        self,
        read: Reader,
        members: Members,
        beacons: Beacons,
        links: Callable[[], Sequence[LinkFacts]],
        own: Callable[[], Own],
        wall_ms: Callable[[], int],
        standing: Callable[[ShardID], Standing | None],
        lost_after_s: float,
        vote_after_s: float,
        twins: Callable[[], Mapping[SiteID, float]],
        misdeeds: Callable[[SiteID], tuple[int, str]],
        standstills: Standstills,
    ) -> None:
        self._read = read
        self._members = members
        self._beacons = beacons
        self._links = links
        self._own = own
        self._wall_ms = wall_ms
        self._standing = standing
        self._lost_after_s = lost_after_s
        self._vote_after_s = vote_after_s
        self._twins = twins
        self._misdeeds = misdeeds
        self._standstills = standstills

    async def facts(self) -> MeshFacts:
        tables = await self._read(_read)
        links = self._links()
        way_s = {link.peer: link.rtt_s / 2 for link in links if link.up and link.rtt_s is not None}
        return MeshFacts(
            sites=[self._site(site, tables, way_s.get(site, 0.0)) for site in self._sites()],
            links=[self._link(link) for link in links],
            shards=[self._shard(row) for row in tables.shards if self._is_shown(row)],
            alarms=self._alarms(tables),
            lost_after_s=self._lost_after_s,
        )

    def _sites(self) -> list[SiteID]:
        """This site, the other members by name, those that were revoked."""
        own = self._members.own
        others = [site for site in self._members.members() if site != own]
        revoked = [site for site in self._members.view.revoked if site != own]
        return [own, *sorted(others, key=self._name), *sorted(revoked, key=self._name)]

    def _name(self, site: SiteID) -> str:
        return self._members.name_of(site)

    def _alarms(self, tables: _Tables) -> list[str]:
        """Forks that are new, or whose site has not gone on yet; processes with one key."""
        lines = []
        for site, fork in tables.forks.items():
            age_s = self._age_s(fork.proved_hlc) or 0.0
            if age_s < FORK_SHOWN_S or fork.newest <= fork.generation:
                lines.append(fork_line(self._name(site), fork.generation, fork.newest))
        return [
            *lines,
            *(twin_line(self._name(site), ago_s) for site, ago_s in self._twins().items()),
        ]

    def _site(self, site: SiteID, tables: _Tables, way_s: float) -> SiteFact:
        """way_s: half a round trip on the link with it, or 0."""
        fact = self._healthy_site(site, tables, way_s)
        fork = tables.forks.get(site)
        broken, how = self._misdeeds(site)
        skipped, skipped_why = tables.skipped.get(site, (0, ""))
        return replace(
            fact,
            broken=broken,
            broken_how=how,
            skipped=skipped,
            skipped_why=skipped_why,
            forked=fork.generation if fork else 0,
            newest=fork.newest if fork else 0,
            twin_s=self._twins().get(site),
        )

    def _healthy_site(self, site: SiteID, tables: _Tables, way_s: float) -> SiteFact:
        granted = tables.granted.get(site, 0)
        if site == self._members.own:
            return self._own_site(site, granted, tables.troubles)
        beacon = self._beacons.newest(site)
        revoked = self._members.revoked(site)
        fact = SiteFact(
            key=site,
            name=self._name(site),
            state=self._beacons.health(site, revoked=revoked),
            seen_s=self._beacons.age_s(site),
            version=self._members.words[site].version if site in self._members.words else "",
            granted=granted,
        )
        return fact if beacon is None else self._with_beacon(fact, beacon, tables, way_s)

    def _own_site(self, site: SiteID, granted: int, troubles: Sequence[str]) -> SiteFact:
        own = self._own()
        return SiteFact(
            key=site,
            name=self._name(site),
            state=Health.DRAINED if own.draining else Health.ALIVE,
            own=True,
            version=own.version,
            batch=own.batch,
            running=own.running,
            ready=own.ready,
            pilots=own.pilots,
            granted=granted,
            note=own.draining,
            troubles=[*own.troubles, *troubles],
            workers=own.workers,
            barred=own.barred,
            bans=_bans(own.bans, self._wall_ms(), 0.0),
        )

    def _with_beacon(
        self, fact: SiteFact, beacon: Beacon, tables: _Tables, way_s: float
    ) -> SiteFact:
        heads = {Lane.CONTROL: beacon.heads.control, Lane.RESULTS: beacon.heads.results}
        lag = sum(
            max(0, seq - tables.tips.get((beacon.site, beacon.generation, int(lane)), 0))
            for lane, seq in heads.items()
        )
        return replace(
            fact,
            lag=lag,
            clock_s=self._beacons.clock_s(beacon.site, self._wall_ms() / 1000, way_s),
            version=beacon.version,
            batch=beacon.batch or ["local"],
            workers=beacon.workers,
            barred=beacon.barred,
            bans=_bans(beacon.bans, beacon.clock_ms, self._beacons.age_s(beacon.site) or 0.0),
            running=beacon.active,
            ready=beacon.ready,
            pilots=beacon.pilots,
        )

    def _link(self, link: LinkFacts) -> LinkFact:
        path = link.path
        if link.kind == "relayed":
            path = f"by {self._name(SiteID(bytes.fromhex(link.path)))}"
        return LinkFact(
            peer=self._name(link.peer),
            direction=link.direction,
            path=path,
            up=link.up,
            kind=link.kind,
            handshake_s=link.handshake_s,
            rtt_s=link.rtt_s,
            sent_bytes=link.sent_bytes,
            received_bytes=link.received_bytes,
            credits=link.credits,
            resends=link.resends,
            error=link.error,
            tried_s=link.tried_s,
        )

    def _is_shown(self, row: ShardRow) -> bool:
        """Empty shards tell nobody anything: each site founds one when it starts."""
        return bool(row.datasets or row.position)

    def _shard(self, row: ShardRow) -> ShardFact:
        own = row.leader == self._members.own
        standing = self._standing(row.id)
        still = self._standstills.of(row.id) if _is_needed(row) else None
        health = (
            Health.ALIVE
            if own
            else self._beacons.health(row.leader, revoked=self._members.revoked(row.leader))
        )
        return ShardFact(
            id=row.id,
            founder=self._name(row.founder),
            leader=self._name(row.leader),
            leader_state=health,
            term=row.term,
            council=[self._name(site) for site in row.council],
            closed=[self._name(site) for site in self._standstills.lost(row.id)],
            datasets=row.datasets,
            open=row.open,
            position=row.position,
            unsettled=row.unsettled,
            unsettled_s=self._age_s(row.unsettled_hlc, self._ahead_s(row.leader)),
            waits=row.waits,
            votes=[] if standing is None else [self._name(site) for site in standing.voted],
            vote_term=0 if standing is None else standing.vote_term,
            silent_s=self._beacons.age_s(row.leader) if standing is None else standing.silent_s,
            vote_after_s=self._vote_after_s,
            forced=row.forced,
            stands_still="" if still is None else self._standstills.words(still),
            still_brief="" if still is None else self._standstills.brief(still),
            for_good=still is not None and still.for_good,
        )

    def _ahead_s(self, site: SiteID) -> float:
        """How far the clock of a site is ahead of ours, as far as is known."""
        return self._beacons.clock_s(site, self._wall_ms() / 1000) or 0.0

    def _age_s(self, hlc: int, ahead_s: float = 0.0) -> float | None:
        """How long ago, by a clock that is so far ahead of ours.

        None for never, and where a clock was put back since, so that nobody can say.
        """
        age_s = (self._wall_ms() - to_ms(hlc)) / 1000 + ahead_s
        return max(0.0, age_s) if hlc and age_s > -AHEAD_S_MAX else None
