"""When a site claims units, of which leader, of which shape, and how many. Pure.

What competes for a site are *lines*: the work of one person in one shape. Of each line that some
leader has units of the site wants to hold some: two hours' worth, divided by the number of lines,
so that a second person's units are here minutes after they were submitted, whatever of the first
one's is held. A line that runs low is asked for; dispatch decides whose units go first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from federation import limits
from federation.asking import Asking
from federation.claims import Claim, Held
from federation.ids import SiteID
from federation.portions import ASKED_S, DAY_S, Pace, asked, is_dry, runs_dry, runs_low
from federation.shapes import Shape, Workers, idle_slots, slots

Owner = tuple[str, bytes]  # group and person; of a dataset that is not known here, its label
Line = tuple[Owner, Shape]
Key = tuple[SiteID, Shape]
_DRY: Final = "dry"
CLAIMS_MAX: Final = 64  # of one look: leaders times shapes


@dataclass(frozen=True, slots=True)
class Demand:
    """Units that a leader would grant. standing: of whose they are, the neediest lowest."""

    leader: SiteID
    dataset: bytes  # the label of its id
    owner: Owner
    standing: tuple[float, float]
    shape: Shape
    free: int
    movable: int  # granted, and not over


@dataclass(frozen=True, slots=True)
class Stock:
    """Units of one dataset and shape that this site has.

    held: not begun, and nothing is missing for them but what is held here, too. begun: out at
    workers. unit_s: mean wall time here, None when none has ended.
    """

    leader: SiteID
    dataset: bytes
    owner: Owner
    shape: Shape
    held: int
    begun: int
    unit_s: float | None


@dataclass(slots=True, eq=False)
class Claiming:
    """Decides about claims; the caller sends them and tells what became of each.

    One is outstanding to each leader and shape. A site that was told to wait while it still had
    work may ask again when it is about to be idle: only then are others asked to give some back.
    """

    asking: Asking
    asked_s: float = ASKED_S
    _most: dict[Line, int] = field(default_factory=dict)  # held since the last claim

    def look(
        self,
        now_s: float,
        workers: Sequence[Workers],
        demands: Sequence[Demand],
        stocks: Sequence[Stock],
    ) -> list[tuple[SiteID, Claim]]:
        """Claims to send now, the neediest first; each counts as sent."""
        site = _Site(workers, stocks)
        fits = [each for each in demands if slots(workers, each.shape)]
        lines = {(each.owner, each.shape) for each in fits if each.free or each.movable}
        lines |= {line for line, held in site.held.items() if held}
        self._remember(site, lines)
        claims: list[tuple[SiteID, Claim]] = []
        asked_for: set[Key] = set()
        for each in sorted(fits, key=lambda demand: (demand.standing, demand.owner)):
            key = (each.leader, each.shape)
            if key in asked_for or len(claims) >= CLAIMS_MAX:
                continue
            full = asked(site.pace(each.shape), len(lines), self.asked_s)
            if not self._wanted(site, each, full):
                continue
            claim = site.claim(each.leader, each.shape, full)
            if not self._may(each.leader, claim, now_s):
                continue
            asked_for.add(key)
            self.asking.sent(key, now_s)
            self._forget(each.shape)
            claims.append((each.leader, claim))
        return claims

    def granted(self, leader: SiteID, claim: Claim, now_s: float) -> None:
        """The leader answered with a grant, which is on its way."""
        self.asking.granted((leader, claim.shape), now_s)

    def arrived(self, leader: SiteID, shape: Shape) -> None:
        """Units of a leader came."""
        self.asking.arrived((leader, shape))
        self.asking.arrived((leader, shape, _DRY))

    def refused(self, leader: SiteID, claim: Claim, now_s: float, retry_s: float) -> None:
        """The leader has nothing now."""
        self.asking.refused((leader, claim.shape), now_s, retry_s)
        if is_dry(claim):
            self.asking.refused((leader, claim.shape, _DRY), now_s, retry_s)

    def failed(self, leader: SiteID, claim: Claim, now_s: float) -> None:
        """The leader did not answer, or refused to talk."""
        self.asking.failed((leader, claim.shape), now_s)
        self.asking.failed((leader, claim.shape, _DRY), now_s)

    def news(self, leader: SiteID, shape: Shape) -> None:
        """The leader has units again of which it had none."""
        self.asking.woke((leader, shape))
        self.asking.woke((leader, shape, _DRY))

    def _may(self, leader: SiteID, claim: Claim, now_s: float) -> bool:
        key = (leader, claim.shape)
        if self.asking.may(key, now_s):
            return True
        dry = is_dry(claim) and not self.asking.waits(key, now_s)
        return dry and self.asking.may((*key, _DRY), now_s)

    def _remember(self, site: _Site, lines: set[Line]) -> None:
        self._most = {line: max(self._most.get(line, 0), site.held[line]) for line in lines}

    def _forget(self, shape: Shape) -> None:
        for line in self._most:
            if line[1] == shape:
                self._most[line] = 0

    def _wanted(self, site: _Site, demand: Demand, full: int) -> bool:
        line = (demand.owner, demand.shape)
        own = site.pace(demand.shape)
        held = site.held[line]
        if demand.free:
            return runs_low(held, own, self._most.get(line, 0), full)
        # Others would have to give some back: only when there is nothing else to do.
        elsewhere = demand.movable - site.outstanding[demand.leader, demand.dataset, demand.shape]
        return elsewhere > 0 and runs_dry(site.of_shape[demand.shape], own, site.idle(demand.shape))


class _Site:
    """Sums over what this site has."""

    def __init__(self, workers: Sequence[Workers], stocks: Sequence[Stock]) -> None:
        self.held: Counter[Line] = Counter()
        self.of_shape: Counter[Shape] = Counter()
        self.outstanding: Counter[tuple[SiteID, bytes, Shape]] = Counter()
        self._workers = workers
        self._stocks = stocks
        self._unit_s = _mean_unit_s(stocks)
        self._paces: dict[Shape, Pace] = {}
        for stock in stocks:
            self.held[stock.owner, stock.shape] += stock.held
            self.of_shape[stock.shape] += stock.held
            place = (stock.leader, stock.dataset, stock.shape)
            self.outstanding[place] += stock.held + stock.begun

    def pace(self, shape: Shape) -> Pace:
        """How quickly this site does units of a shape."""
        found = self._paces.get(shape)
        if found is None:
            found = Pace(slots(self._workers, shape), self._unit_s.get(shape))
            self._paces[shape] = found
        return found

    def idle(self, shape: Shape) -> int:
        return idle_slots(self._workers, shape)

    def claim(self, leader: SiteID, shape: Shape, units: int) -> Claim:
        own = self.pace(shape)
        held = Counter[bytes]()
        for stock in self._stocks:
            if stock.leader == leader and stock.shape == shape:
                held[stock.dataset] += stock.held
        per_day = 0 if own.unit_s is None else min(int(own.per_s * DAY_S), limits.PER_DAY_MAX)
        return Claim(
            shape,
            min(units, limits.UNITS_MAX),
            own.slots,
            per_day,
            tuple(self._workers),
            [Held(name, units) for name, units in held.most_common(limits.HELD_MAX) if units],
        )


def _mean_unit_s(stocks: Iterable[Stock]) -> Mapping[Shape, float]:
    """Mean wall time of each shape's units, weighted by what is here of each dataset."""
    sums: dict[Shape, tuple[float, float]] = {}
    for stock in stocks:
        if stock.unit_s is not None:
            weight = 1.0 + stock.held + stock.begun
            time_s, total = sums.get(stock.shape, (0.0, 0.0))
            sums[stock.shape] = (time_s + weight * stock.unit_s, total + weight)
    return {shape: time_s / total for shape, (time_s, total) in sums.items()}
