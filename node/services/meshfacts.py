"""What this site knows of its mesh, as values: members, links, shards. Ages are in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from federation.pulse import Health
from federation.shapes import Workers


@dataclass(frozen=True, slots=True)
class BanFact:
    """A worker of a site that gets no units, by the site's own word."""

    host: str
    left_s: float
    why: str


@dataclass(frozen=True, slots=True)
class SiteFact:
    """One member. None: not known, as nothing was heard of it yet."""

    key: bytes
    name: str
    state: Health
    own: bool = False
    seen_s: float | None = None  # since its newest beacon was made
    lag: int | None = None  # entries of its feeds that it has and this site has not
    clock_s: float | None = None  # how far its clock is ahead of ours
    version: str = ""
    batch: Sequence[str] = ()
    running: int | None = None
    ready: int | None = None
    pilots: int | None = None
    granted: int = 0  # units that it owns and that are not settled
    note: str = ""
    forked: int = 0  # the newest generation of its feeds that has two branches; 0 for none
    newest: int = 0  # generation of its feeds that is known here
    twin_s: float | None = None  # since two processes with its key wanted links
    broken: int = 0  # links that ended as it broke the protocol, since this process began
    broken_how: str = ""  # the last time
    skipped: int = 0  # records of it, of the newest such ones, that everybody skips
    skipped_why: str = ""  # the last one
    troubles: Sequence[str] = ()  # of this site's own node: what it cannot do, and why
    workers: Sequence[Workers] = ()
    barred: int = 0  # workers that get no units
    bans: Sequence[BanFact] = ()  # some of them


@dataclass(frozen=True, slots=True)
class LinkFact:
    """One link, or the attempts to make one."""

    peer: str
    direction: str  # "out", "in"; "" while there is none
    path: str  # host:port of the other end
    up: bool
    kind: str = "records"  # or "bulk", "relayed"
    handshake_s: float | None = None  # since it was made
    rtt_s: float | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    credits: Sequence[int] = ()  # bytes that may still go out: control, results
    resends: int = 0
    error: str = ""  # why the last attempt failed
    tried_s: float | None = None  # since then


@dataclass(frozen=True, slots=True)
class ShardFact:
    """One shard, as far as its log is folded here."""

    id: bytes
    founder: str
    leader: str
    leader_state: Health
    term: int
    council: Sequence[str]
    closed: Sequence[str]  # seats that count no more: closed, revoked, of an earlier generation
    datasets: int
    open: int  # of them, not finished
    position: int  # log records folded here
    unsettled: int  # of them, not settled yet
    unsettled_s: float | None = None  # age of the oldest of those
    waits: int = 0  # records that wait for results entries which are not here
    votes: Sequence[str] = ()  # of voters for a term that is not open yet
    vote_term: int = 0
    silent_s: float | None = None  # since the leader was heard
    vote_after_s: float = 0.0  # so long voters wait for it
    forced: bool = False
    stands_still: str = ""  # why its council can settle nothing now
    still_brief: str = ""  # the same for a line of a table
    for_good: bool = False  # and whether only an admin's word helps

    @property
    def is_needed(self) -> bool:
        """Whether somebody waits for more of its log: not if all is done, or moved on."""
        return bool(self.open or (self.datasets and self.unsettled))

    @property
    def mute_s(self) -> float | None:
        """How long its leader was not heard, if that is so long that voters soon lose patience."""
        if not self.is_needed or len(self.council) == 1 or self.silent_s is None:
            return None
        return self.silent_s if self.silent_s > self.vote_after_s / 2 else None


@dataclass(frozen=True, slots=True)
class MeshFacts:
    """All of it, at one moment."""

    sites: Sequence[SiteFact]
    links: Sequence[LinkFact] = ()
    shards: Sequence[ShardFact] = ()
    alarms: Sequence[str] = field(default_factory=tuple)  # forks, twins
    lost_after_s: float = 3600.0

    def site(self, name: str) -> SiteFact | None:
        """By name, or by the beginning of its key in hex or base32 (`name·abcd1234`)."""
        exact = [each for each in self.sites if each.name == name]
        return exact[0] if len(exact) == 1 else None

    def own(self) -> SiteFact:
        return next(each for each in self.sites if each.own)
