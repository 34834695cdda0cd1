"""The leader's desk: claims that were answered, those that wait, and recalls under way. Pure.

A claim that finds nothing waits here for two minutes. What becomes free meanwhile (new datasets,
releases, units of a lost owner) goes to those that wait, and owners are asked for them again and
again, so that nobody has to claim twice for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from federation.asking import Asking
from federation.claims import Claim, Verdict
from federation.ids import SiteID
from federation.portions import DAY_S, is_dry
from federation.shapes import Shape
from node.leading.book import Ask, Book, Give, Peer

WAIT_S_MAX: Final = 120.0  # what a claim says is old news by then
RETRY_S: Final = 100  # for a claim that waits: it need not be made again before
WAITING_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a claim: grants to write, owners to ask, and the answer."""

    gives: Sequence[Give]
    asks: Sequence[Ask]
    verdict: Verdict
    retry_s: int

    @property
    def units(self) -> int:
        return sum(give.units for give in self.gives)


@dataclass(frozen=True, slots=True)
class _Waiting:
    peer: Peer
    claim: Claim
    since_s: float

    def order(self) -> tuple[bool, float]:
        return not is_dry(self.claim), self.since_s


@dataclass(slots=True, eq=False)
class Desk:
    """Answers claims out of the book."""

    book: Book
    recalling: Asking  # by (owner, dataset, task)
    _waiting: dict[tuple[SiteID, Shape], _Waiting] = field(default_factory=dict)

    def claim(self, asker: Peer, claim: Claim, peers: Sequence[Peer], now_s: float) -> Decision:
        """Decide about a claim; what it gets counts as granted from now on.

        peers: sites that may be granted units, the asker among them or not.
        """
        key = (asker.site, claim.shape)
        self._waiting.pop(key, None)
        gives = self.book.serve(asker, claim, peers)
        if gives:
            return Decision(gives, [], Verdict.GRANTED, 0)
        if not claim.slots or len(self._waiting) >= WAITING_MAX:
            return Decision([], [], Verdict.NOTHING, 0)
        self._waiting[key] = _Waiting(asker, claim, now_s)
        return Decision([], self._ask(asker, claim, peers, now_s), Verdict.LATER, RETRY_S)

    def again(
        self, peers: Sequence[Peer], now_s: float
    ) -> tuple[list[tuple[SiteID, list[Give]]], list[Ask]]:
        """Call when units became free, and every few seconds: what those get that wait, sites that
        are about to be idle first, and whom to ask for more."""
        served: list[tuple[SiteID, list[Give]]] = []
        asks: list[Ask] = []
        for key in [key for key, each in self._waiting.items() if _over(each, peers, now_s)]:
            del self._waiting[key]
        for waiting in sorted(self._waiting.values(), key=_Waiting.order):
            claim = _aged(waiting.claim, now_s - waiting.since_s)
            if gives := self.book.serve(waiting.peer, claim, peers):
                del self._waiting[waiting.peer.site, claim.shape]
                served.append((waiting.peer.site, gives))
            else:
                asks += self._ask(waiting.peer, claim, peers, now_s)
        return served, asks

    @property
    def waiting(self) -> int:
        """Claims that nothing was found for yet."""
        return len(self._waiting)

    def forget(self, site: SiteID) -> None:
        """A site that may be granted nothing any more."""
        for key in [key for key in self._waiting if key[0] == site]:
            del self._waiting[key]

    def _ask(self, asker: Peer, claim: Claim, peers: Sequence[Peer], now_s: float) -> list[Ask]:
        """Recalls to send; none to an owner that is being asked for the same already."""
        asks = []
        for ask in self.book.recalls(asker, claim, peers):
            if self.recalling.may(recall_key(ask), now_s):
                self.recalling.sent(recall_key(ask), now_s)
                asks.append(ask)
        return asks


def recall_key(ask: Ask) -> Hashable:
    """What is asked of an owner once at a time."""
    return (ask.owner, ask.dataset, ask.task)


def _over(waiting: _Waiting, peers: Sequence[Peer], now_s: float) -> bool:
    listed = any(peer.site == waiting.peer.site for peer in peers)
    return now_s - waiting.since_s > WAIT_S_MAX or not listed


def _aged(claim: Claim, age_s: float) -> Claim:
    """The claim with what its site has probably begun since."""
    held = sum(each.units for each in claim.held)
    if not held:
        return claim
    left = max(0.0, 1 - age_s * claim.per_day / DAY_S / held)
    return replace(claim, held=[replace(each, units=int(each.units * left)) for each in claim.held])
