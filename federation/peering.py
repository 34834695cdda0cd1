"""Whom to dial, where and when. Pure.

A site that can be dialled and with which there is no link is dialled again and again, at each of
its addresses in turn; the wait after a round grows up to five minutes, and that never stops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from federation import limits
from federation.ids import SiteID


@dataclass(frozen=True, slots=True)
class Dial:
    """An attempt to make."""

    site: SiteID
    address: str  # host:port


@dataclass(slots=True)
class Attempts:
    """What became of the attempts to dial a site. due_s: None while one is under way or linked."""

    addresses: Sequence[str]
    due_s: float | None
    place: int = 0  # of the next address
    rounds: int = 0  # of all addresses, in vain
    dialling: str = ""
    error: str = ""  # of the last attempt
    tried_s: float | None = None
    linked_s: float | None = None


class Peering:
    """See the module. random: a number from 0 to 1."""

    def __init__(self, me: SiteID, random: Callable[[], float]) -> None:
        self._me = me
        self._random = random
        self._dialled_too = True  # whether others can dial this site
        self.attempts: dict[SiteID, Attempts] = {}

    def members(self, members: Mapping[SiteID, Sequence[str]], now_s: float) -> None:
        """The members and their addresses, this site's too."""
        self._dialled_too = bool(members.get(self._me))
        members = {site: members[site] for site in members if site != self._me}
        for site in [site for site in self.attempts if site not in members]:
            del self.attempts[site]
        for site, addresses in members.items():
            known = self.attempts.get(site)
            if known is None:
                self.attempts[site] = Attempts(list(addresses), now_s + self._turn_s(site))
            elif list(known.addresses) != list(addresses):
                known.addresses, known.place, known.rounds = list(addresses), 0, 0
                if known.due_s is not None:
                    known.due_s = now_s + self._turn_s(site)

    def due(self, now_s: float) -> list[Dial]:
        """The attempts to make now; each is to end in `linked` or `failed`."""
        under_way = sum(1 for each in self.attempts.values() if each.dialling)
        dials = []
        for site, each in self.attempts.items():
            if under_way >= limits.DIALS_MAX:
                break
            if each.due_s is None or each.due_s > now_s or not each.addresses:
                continue
            each.dialling = each.addresses[each.place % len(each.addresses)]
            each.due_s = None
            under_way += 1
            dials.append(Dial(site, each.dialling))
        return dials

    @property
    def deadline_s(self) -> float:
        """When something is due next; no earlier than an attempt under way ends, if all do."""
        if sum(1 for each in self.attempts.values() if each.dialling) >= limits.DIALS_MAX:
            return float("inf")
        return min(
            (e.due_s for e in self.attempts.values() if e.due_s is not None and e.addresses),
            default=float("inf"),
        )

    def failed(self, site: SiteID, error: str, now_s: float) -> None:
        """An attempt led to no link: the next address at once, or all of them again later."""
        each = self.attempts.get(site)
        if each is None:
            return
        each.dialling, each.error, each.tried_s = "", error, now_s
        if each.linked_s is not None:
            return
        each.place += 1
        if each.place % max(len(each.addresses), 1):
            each.due_s = now_s
        else:
            each.rounds += 1
            each.due_s = now_s + self._wait_s(each.rounds)

    def linked(self, site: SiteID, now_s: float) -> None:
        """There is a link, whoever dialled."""
        each = self.attempts.get(site)
        if each is not None:
            each.dialling, each.error, each.due_s, each.linked_s = "", "", None, now_s

    def lost(self, site: SiteID, now_s: float) -> None:
        """There is no link any more."""
        each = self.attempts.get(site)
        if each is None or each.linked_s is None:
            return
        if now_s - each.linked_s >= limits.SETTLED_S:
            each.rounds = 0
        else:
            each.rounds += 1
        each.linked_s = None
        wait_s = self._random() * limits.REDIAL_LOST_S
        if each.rounds:
            wait_s += self._wait_s(each.rounds)
        each.due_s = now_s + wait_s

    def _turn_s(self, site: SiteID) -> float:
        """The site with the smaller key dials first, so that seldom two links meet."""
        if self._me < site or not self._dialled_too:
            return 0.0
        return limits.DIAL_TURN_S * (0.5 + self._random() / 2)

    def _wait_s(self, rounds: int) -> float:
        longest_s = limits.REDIAL_S_MIN * 2.0 ** min(rounds, 32)
        return min(longest_s, limits.REDIAL_S_MAX) * (0.5 + self._random() / 2)
