"""Who is a member of the mesh, as one site sees it, from what control feeds say. Pure.

A site trusts itself, and from there on the members of members: a site belongs to the mesh once a
member's admin admitted it. A policy may ask that several members' admins did. A revocation by the
admin of any site that was ever admitted is final, and wins over every admission. All of it is a
function of the set of records: they may come in any order. Source: docs/protocol.md, "Members".

Reached from here are the members, and those who were until they were revoked: what these admitted
before the place that the revocation names still counts, so that a mesh outlives its first site.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from federation import limits
from federation.admins import NO_ADMIN, REPEATED, Admins, At, Enrolment, admins_of
from federation.ids import SiteID, UserKey

ADMISSIONS_MIN: Final = 1  # where no policy asks for more


@dataclass(frozen=True, slots=True, order=True)
class Act:
    """What every record about members has; its document was signed by `signer`."""

    author: SiteID
    at: At
    document: bytes  # its id: serves once, an invitation too
    signer: UserKey


@dataclass(frozen=True, slots=True, order=True)
class Admission(Act):
    """The author takes a site in, or gives it another name or address."""

    site: SiteID
    name: str  # as the author calls it
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Revocation(Act):
    """A site is out for good. through: (generation, seq) of its control feeds that still count."""

    site: SiteID
    through: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class PolicyAct(Act):
    """What the author asks of admissions from now on. members: who had been admitted before."""

    admissions: int
    members: frozenset[SiteID]
    mesh: str = ""  # what the author calls the mesh


AnyAct = Admission | Revocation | PolicyAct


@dataclass(frozen=True, slots=True)
class Ignored:
    """A record that stands in a feed and does not count."""

    act: AnyAct
    why: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A site that was admitted, by how many members, and how many the policies ask for."""

    by: tuple[SiteID, ...]  # in order of their keys
    needed: int


@dataclass(frozen=True, slots=True)
class View:
    """The mesh as one site sees it."""

    own: SiteID
    members: Mapping[SiteID, Standing]  # this site among them, in the order of their keys
    revoked: Mapping[SiteID, tuple[SiteID, ...]]  # by whom
    waiting: Mapping[SiteID, Standing]  # admitted by too few as yet
    admissions: Sequence[Admission] = ()  # that count, in a fixed order
    policies: Mapping[SiteID, PolicyAct] = field(default_factory=dict)  # in force, by their author
    ignored: Sequence[Ignored] = ()

    @property
    def needed(self) -> int:
        """How many members must admit a new site."""
        return _needed(self.policies.values())

    @property
    def mesh(self) -> str:
        """What the mesh is called: by this site, else by the first of its members."""
        named = [self.policies[site].mesh for site in self._nearest() if site in self.policies]
        return next((name for name in named if name), "")

    def _nearest(self) -> list[SiteID]:
        return [self.own, *self.members]


def view(
    own: SiteID, acts: Iterable[AnyAct], enrolments: Mapping[SiteID, Sequence[Enrolment]]
) -> View:
    """The mesh as site `own` sees it.

    acts: every record about members that is well-formed and truly signed; enrolments: the same of
    documents about people, by the site in whose feeds they stand.
    """
    counted, ignored = _judge(acts, enrolments)
    admissions = [act for act in counted if isinstance(act, Admission)]
    revocations = [act for act in counted if isinstance(act, Revocation)]
    policies = _newest(act for act in counted if isinstance(act, PolicyAct))
    closed, growth = _close(own, admissions, revocations, policies)
    revoked = _authors(closed)
    standing = growth.standing
    return View(
        own,
        {site: standing[site] for site in growth.members},
        revoked,
        {s: standing[s] for s in sorted(standing) if s not in growth.reached and s not in revoked},
        growth.admissions,
        growth.policies,
        ignored,
    )


def _judge(
    acts: Iterable[AnyAct], enrolments: Mapping[SiteID, Sequence[Enrolment]]
) -> tuple[list[AnyAct], list[Ignored]]:
    """The acts that an admin signed, each document once, and those that do not count."""
    admins: dict[SiteID, Admins] = {}
    taken: set[tuple[SiteID, bytes]] = set()
    counted: list[AnyAct] = []
    ignored: list[Ignored] = []
    for act in sorted(acts, key=lambda act: (act.author, act.at)):
        if act.author not in admins:
            admins[act.author] = admins_of(enrolments.get(act.author, ()))
        if (act.author, act.document) in taken:
            ignored.append(Ignored(act, REPEATED))
        elif not admins[act.author].spoke(act.signer, act.at):
            ignored.append(Ignored(act, NO_ADMIN))
        else:
            taken.add((act.author, act.document))
            counted.append(act)
    return counted, ignored


def _close(
    own: SiteID,
    admissions: Sequence[Admission],
    revocations: Sequence[Revocation],
    policies: Mapping[SiteID, PolicyAct],
) -> tuple[list[Revocation], _Growth]:
    """The revocations that count, and the mesh that they leave.

    Who was ever reached may revoke, for good: also a site that is revoked itself, so that of two
    that revoke each other none remains, whichever was first.
    """
    reached: set[SiteID] = set()
    closed: list[Revocation] = []
    while True:
        growth = _Growth(own, admissions, policies, _cuts(closed))
        reached |= growth.reached
        more = [act for act in revocations if act.author in reached]
        if len(more) == len(closed):
            return closed, growth
        closed = more


def _newest(policies: Iterable[PolicyAct]) -> dict[SiteID, PolicyAct]:
    """Each site's last word; policies are given in order of place."""
    return {act.author: act for act in policies}


def _authors(closed: Iterable[Revocation]) -> dict[SiteID, tuple[SiteID, ...]]:
    """Who revoked each revoked site."""
    found: dict[SiteID, set[SiteID]] = {}
    for act in closed:
        found.setdefault(act.site, set()).add(act.author)
    return {site: tuple(sorted(found[site])) for site in sorted(found)}


def _cuts(closed: Iterable[Revocation]) -> dict[SiteID, dict[int, int]]:
    """How far each revoked site's feeds still count: where several revoked it, the least far."""
    cuts: dict[SiteID, dict[int, int]] = {}
    for act in closed:
        through = dict(act.through)
        known = cuts.get(act.site)
        if known is not None:
            through = {
                generation: min(seq, known[generation])
                for generation, seq in through.items()
                if generation in known
            }
        cuts[act.site] = through
    return cuts


def _needed(policies: Iterable[PolicyAct]) -> int:
    return max((policy.admissions for policy in policies), default=ADMISSIONS_MIN)


_Demand = tuple[int, frozenset[SiteID]]  # so many admissions, but of these sites


class _Growth:
    """The mesh grown from one site, and by no order but that of trust.

    Policies bind from when their author is in, so it matters who comes first: the sites to which
    no policy of anybody objects. When there are none, the one that most members admitted, of
    equals the nearest. So nobody gets in before those whose policy would keep it out by having
    itself a policy that keeps them out.
    """

    def __init__(
        self,
        own: SiteID,
        admissions: Sequence[Admission],
        policies: Mapping[SiteID, PolicyAct],
        cuts: Mapping[SiteID, Mapping[int, int]],
    ) -> None:
        """cuts: of every revoked site, how far its feeds still count."""
        self.reached: set[SiteID] = set()
        self.policies: dict[SiteID, PolicyAct] = {}  # in force
        self.admissions: list[Admission] = []  # that count
        self._own = own
        self._cuts = cuts
        self._said: dict[SiteID, list[Admission]] = {}
        for act in admissions:
            if _within(act, cuts.get(act.author)):
                self._said.setdefault(act.author, []).append(act)
        near = self._reachable()
        self._known = _demands(p for p in policies.values() if p.author in near - cuts.keys())
        self._bound: set[_Demand] = set()  # of the policies in force
        self._objector: dict[SiteID, _Demand] = {}  # the last one found, for each site
        self._by: dict[SiteID, set[SiteID]] = {own: {own}}
        self._distance: dict[SiteID, int] = {own: 0}
        self._grow(policies)

    @property
    def members(self) -> list[SiteID]:
        return sorted(s for s in self.reached if s == self._own or s not in self._cuts)

    @property
    def standing(self) -> dict[SiteID, Standing]:
        """Every site that somebody in the mesh admitted."""
        needed = _needed(self.policies.values())
        return {site: Standing(tuple(sorted(by)), needed) for site, by in self._by.items()}

    def _reachable(self) -> set[SiteID]:
        """Sites that a chain of single admissions leads to."""
        found, new = {self._own}, [self._own]
        while new:
            new = [act.site for site in new for act in self._said.get(site, ())]
            new = [site for site in dict.fromkeys(new) if site not in found]
            found.update(new)
        return found

    def _grow(self, policies: Mapping[SiteID, PolicyAct]) -> None:
        new = [self._own]
        while new:
            for site in new:
                self._take(site, policies)
            room = limits.MEMBERS_MAX - len(self.reached)
            new = self._next()[:room]

    def _take(self, site: SiteID, policies: Mapping[SiteID, PolicyAct]) -> None:
        self.reached.add(site)
        if site in policies and (site == self._own or site not in self._cuts):
            self.policies[site] = policies[site]
            self._bound |= _demands([policies[site]])
        for act in self._said.get(site, ()):
            self._by.setdefault(act.site, set()).add(site)
            self._distance.setdefault(act.site, self._distance[site] + 1)
            self.admissions.append(act)

    def _next(self) -> list[SiteID]:
        """The sites that come in next."""
        ready = sorted(
            site
            for site in self._by
            if site not in self.reached
            and not any(self._objects(demand, site) for demand in self._bound)
        )
        free = [site for site in ready if not self._disputed(site)]
        return free or sorted(ready, key=lambda s: (-len(self._by[s]), self._distance[s]))[:1]

    def _disputed(self, site: SiteID) -> bool:
        """Whether anybody's policy objects to a site as yet."""
        last = self._objector.get(site)
        if last is not None and self._objects(last, site):
            return True
        for demand in self._known:
            if self._objects(demand, site):
                self._objector[site] = demand
                return True
        return False

    def _objects(self, demand: _Demand, site: SiteID) -> bool:
        admissions, members = demand
        return len(self._by[site]) < admissions and site not in members


def _demands(policies: Iterable[PolicyAct]) -> set[_Demand]:
    """What policies ask for, each demand once: most sites of a mesh ask for the same."""
    return {(p.admissions, p.members) for p in policies if p.admissions > ADMISSIONS_MIN}


def _within(act: Act, cut: Mapping[int, int] | None) -> bool:
    """Whether an act stands at or before the place through which its author's feeds count."""
    generation, seq, _ = act.at
    return cut is None or seq <= cut.get(generation, 0)
