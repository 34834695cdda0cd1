"""How many pilots to submit, of which shape, to which batch system; and which to do without. Pure.

Ready units are binned by what they ask for. What is idle, soon will be, or is on its way, is there
for them first: a pilot is charged for what it asked. What is left over is offered to the batch
systems, the one with the least in its queue first; each gets one submission at most. A pilot is to
have WORK_S of work at least: of short units it takes several, one after the other.

A pilot that waits keeps units from being offered elsewhere for PATIENT_S, or for HEDGE_S to where
pilots wait as well; one that is held does not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from node.dispatch import Room
from node.model.dataset import Needs
from node.model.units import show_span
from node.provisioning.settings import Factory, SystemConfig
from node.provisioning.shapes import NoFit, Shape, shape_for
from schedulers.base import JobName, Queue

WORK_S: Final = 300.0  # of work for each slot of a pilot, or fewer pilots do
PATIENT_S: Final = 120.0  # a batch system with free workers starts a pilot sooner than this
HEDGE_S: Final = 900.0  # queued so long, a pilot counts at its own batch system only
SURPLUS_S: Final = 300.0  # queued pilots without work are cancelled after so long


@dataclass(frozen=True, slots=True)
class Bin:
    """Ready units that ask for the same, in the order in which they are to be served."""

    needs: Needs
    units: int
    expected_s: float  # wall time of one

    @property
    def turns(self) -> int:
        """How many of them a slot is to run one after the other."""
        return max(1, int(WORK_S / max(self.expected_s, 0.01)))


@dataclass(frozen=True, slots=True)
class Coming:
    """A pilot that was submitted and has not announced itself. job: None if it is not known."""

    shape: Shape
    age_s: float  # since it was submitted or, if it is not queued any more, started
    job: JobName | None = None
    queued: bool = True
    held: bool = False

    @property
    def vain_s(self) -> float:
        """For how long it has come to nothing: for ever while somebody holds it."""
        return float("inf") if self.held else self.age_s


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """One batch system as it is now."""

    settings: SystemConfig
    queued: int  # pilots that have not started, those in doubt included
    running: int  # all others that have not ended for certain
    coming: Sequence[Coming] = ()
    queues: Sequence[Queue] = ()
    mine: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # factory: queued, running
    allowed: Mapping[Shape, int] = field(default_factory=dict)  # no more at once, by breakers
    words: Mapping[Shape, str] = field(default_factory=dict)  # of breakers, and why pilots wait
    barred: str = ""  # why nothing is submitted now, but of kinds that are spared
    surplus_s: Mapping[Shape, float] = field(default_factory=dict)  # how long it has had no work
    silent: int = 0  # of those that run: their pilots are lost, and it has not told of their end
    spared: Collection[Shape] = ()
    limits: Mapping[Shape, str] = field(default_factory=dict)  # what they mean, where one was met


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a plan depends on."""

    bins: Sequence[Bin] = ()
    idle: Sequence[Room] = ()  # free at pilots that are up
    soon: Sequence[Room] = ()  # pilots that are up and busy, with short units only
    systems: Sequence[SystemFacts] = ()
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """One submission."""

    factory: Factory
    shape: Shape
    count: int


@dataclass(slots=True)
class Plan:
    """What to do now, by the names of batch systems; and why not more."""

    submit: dict[str, Order] = field(default_factory=dict)
    cancel: dict[str, list[JobName]] = field(default_factory=dict)  # queued ones without work
    excess: dict[str, list[JobName]] = field(default_factory=dict)  # queued ones beyond limits
    drain: dict[str, int] = field(default_factory=dict)  # so many that run are too many
    surplus: dict[str, set[Shape]] = field(default_factory=dict)
    why: dict[Needs, dict[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Want:
    """What is left of a bin."""

    bin: Bin
    units: int


def plan(facts: Facts) -> Plan:
    """What to do at this moment."""
    made = Plan()
    wants = [_Want(each, each.units) for each in facts.bins]
    for room, count in Counter(facts.idle).items():  # thousands, and few that differ
        _absorb(room, wants, count)
    for room, count in Counter(facts.soon).items():
        _absorb(room, wants, count, began=1)
    _charge_coming(facts, wants, made)
    for system in sorted(facts.systems, key=_fullness):
        name = system.settings.name
        _trim(system, made)
        if facts.draining:
            _explain_all(made, wants, name, "this site is being drained")
        elif order := _order(system, _offered(system, facts.systems, wants), made):
            made.submit[name] = order
            _absorb(order.shape.room(), wants, order.count)
    return made


def _fullness(system: SystemFacts) -> tuple[float, str]:
    most = system.settings.queued_max
    return (system.queued / most if most else 1.0, system.settings.name)


def _absorb(room: Room, wants: Sequence[_Want], count: int = 1, began: int = 0) -> None:
    """Let units have so many such rooms. began: turns that these have on their hands already."""
    while count > 0:
        taken: list[tuple[_Want, int]] = []
        left = room
        for want in wants:
            if want.units <= 0 or (turns := want.bin.turns - began) <= 0:
                continue
            if fit := min(-(-want.units // turns), left.units(want.bin.needs)):
                taken.append((want, fit * turns))
                left = left.less(want.bin.needs, fit)
        if not taken:
            return
        # All rooms are filled alike, until one of these bins runs out.
        alike = max(1, min(count, *(want.units // units for want, units in taken)))
        for want, units in taken:
            want.units -= min(want.units, units * alike)
        count -= alike


def _charge_coming(facts: Facts, wants: list[_Want], made: Plan) -> None:
    """Pilots on their way take units; shapes that fit none are surplus."""
    for system in facts.systems:
        queued = {each.shape for each in system.coming if each.queued}
        made.surplus[system.settings.name] = {
            shape
            for shape in queued
            if not any(want.bin.units and shape.room().units(want.bin.needs) for want in wants)
        }
        if system.settings.running_max:  # else they are to go
            _charge(system.coming, wants, until_s=PATIENT_S)


def _charge(
    coming: Sequence[Coming],
    wants: Sequence[_Want],
    after_s: float = 0.0,
    until_s: float | None = None,
) -> None:
    """Let pilots that have come to nothing for so long take units; until_s: None for ever."""
    charged = [
        each.shape
        for each in coming
        if each.vain_s >= after_s and (until_s is None or each.vain_s < until_s)
    ]
    for shape, count in Counter(charged).items():
        _absorb(shape.room(), wants, count)


def _trim(system: SystemFacts, made: Plan) -> None:
    """What is more than the limits allow, or has been of no use for long."""
    settings = system.settings
    name = settings.name
    queued = [each for each in system.coming if each.queued and each.job is not None]
    newest = sorted(queued, key=lambda each: each.age_s)
    spare = max(0, system.queued + system.running - settings.pilots_min)
    useless = [
        each
        for each in newest
        if each.shape in made.surplus[name] and system.surplus_s.get(each.shape, 0.0) >= SURPLUS_S
    ][:spare]
    excess = _excess(system, newest)
    if excess:
        made.excess[name] = list(excess)
    if jobs := [each.job for each in useless if each.job and each.job not in excess]:
        made.cancel[name] = jobs
    if system.running > settings.running_max:
        made.drain[name] = system.running - settings.running_max


def _excess(system: SystemFacts, newest: Sequence[Coming]) -> dict[JobName, None]:
    """What waits beyond the limits, of all pilots and of each kind; `newest` first."""
    jobs: dict[JobName, None] = {}
    all_of_it: SystemConfig | Factory = system.settings
    limits = [(all_of_it, (system.queued, system.running), list(newest))]
    for factory in system.settings.factories:
        of = [each for each in newest if each.shape.factory == factory.name]
        limits.append((factory, system.mine.get(factory.name, (0, 0)), of))
    for limit, (queued, running), waiting in limits:
        over = max(queued - limit.queued_max, queued + running - limit.running_max, 0)
        jobs |= dict.fromkeys(each.job for each in waiting[:over] if each.job is not None)
    return jobs


def _offered(
    system: SystemFacts, systems: Sequence[SystemFacts], wants: Sequence[_Want]
) -> list[_Want]:
    """What is left for this batch system once pilots that wait here and elsewhere have their part.

    Where such pilots wait as well, it is of no use to add more to those that wait elsewhere.
    """
    own = [_Want(want.bin, want.units) for want in wants]
    _charge(system.coming, own, PATIENT_S)
    rest = [_Want(want.bin, want.units) for want in own]
    for other in systems:
        if other is not system and other.settings.running_max:
            _charge(other.coming, rest, PATIENT_S, HEDGE_S)
    slow = {each.shape for each in system.coming if each.vain_s >= PATIENT_S}
    return [
        later if any(shape.room().units(now.bin.needs) for shape in slow) else now
        for now, later in zip(own, rest, strict=True)
    ]


def _order(system: SystemFacts, own: Sequence[_Want], made: Plan) -> Order | None:
    """The submission that is due, if one is: for the shape that has least in the queue.

    own: what is left for this batch system.
    """
    settings = system.settings
    orders: list[tuple[tuple[int, bool, int], int, Order]] = []
    for at, want in enumerate(own):
        if want.units:
            found = _fitting(system, want, made)
            if found is not None:
                factory, shape = found
                # What may be refused comes after what need not.
                turn = (_queued_of(system, shape), shape in system.limits, at)
                orders.append((turn, at, Order(factory, shape, want.units)))
    shapes = {order.shape for _, _, order in orders}
    for turn, at, order in sorted(orders, key=lambda each: each[0]):
        share = max(1, settings.queued_max // max(1, len(shapes)))
        count, why = _count(system, order, own[at], share - turn[0])
        if count > 0:
            _explain_others(made, own, orders, order.shape, settings)
            return Order(order.factory, order.shape, count)
        _explain(made, own[at].bin.needs, settings.name, why)
    return _minimum(system)


def _explain_others(
    made: Plan,
    own: Sequence[_Want],
    orders: Sequence[tuple[tuple[int, bool, int], int, Order]],
    first: Shape,
    settings: SystemConfig,
) -> None:
    """Units for which pilots of another shape are needed than the one that is submitted now."""
    every = show_span(settings.submit_s)
    for _, at, order in orders:
        if order.shape != first:
            why = f"other pilots are submitted first ({first.words()}), one kind in {every}"
            _explain(made, own[at].bin.needs, settings.name, why)


def _queued_of(system: SystemFacts, shape: Shape) -> int:
    return sum(each.queued for each in system.coming if each.shape == shape)


def _fitting(system: SystemFacts, want: _Want, made: Plan) -> tuple[Factory, Shape] | None:
    """The factory whose pilots waste least on such units; None with the reasons in the plan."""
    name = system.settings.name
    fits: list[tuple[Factory, Shape]] = []
    reasons: list[str] = []
    for factory in system.settings.factories:
        try:
            fits.append((factory, shape_for(factory, want.bin.needs, system.queues)))
        except NoFit as why:
            reasons.append(
                f"{factory.name}: {why}" if len(system.settings.factories) > 1 else f"{why}"
            )
    if not fits:
        _explain(made, want.bin.needs, name, "; ".join(reasons))
        return None
    fits.sort(key=lambda fit: (fit[1].gpu, fit[1].cpu, fit[1].memory_bytes, fit[1].time_s))
    able = [fit for fit in fits if system.allowed.get(fit[1], 1) > 0]
    return (able or fits)[0]


def _count(system: SystemFacts, order: Order, want: _Want, share: int) -> tuple[int, str]:
    """How many pilots of a shape to submit; and why none, if none."""
    settings, shape = system.settings, order.shape
    said, limit = system.words.get(shape, ""), system.limits.get(shape, "")
    allowed = system.allowed.get(shape)
    if system.barred and shape not in system.spared:
        told = limit or (said if allowed is None else "")  # of a breaker, both say the same
        return 0, f"{system.barred}; {told}" if told else system.barred
    if allowed == 0:
        return 0, limit or said
    free, why = _free(system, order.factory)
    if free <= 0:
        return 0, f"{why}. {said}" if said else why
    if share <= 0:
        return 0, "its share of the queue is used by pilots that wait already"
    slots = max(1, shape.room().units(want.bin.needs))
    count = -(-want.units // (slots * want.bin.turns))
    count = min(count, free, share, settings.submit_max)
    return (count if allowed is None else min(count, allowed)), said


def _free(system: SystemFacts, factory: Factory) -> tuple[int, str]:
    """How many pilots the limits leave room for, and which limit it is that leaves none."""
    settings = system.settings
    queued, running = system.mine.get(factory.name, (0, 0))
    limits = (
        (settings.queued_max - system.queued, f"{system.queued} of {settings.queued_max} queued"),
        (
            settings.running_max - system.queued - system.running,
            f"{system.queued + system.running} of {settings.running_max} queued and running",
        ),
        (factory.queued_max - queued, f"{queued} of {factory.queued_max} {factory.name} queued"),
        (
            factory.running_max - queued - running,
            f"{queued + running} of {factory.running_max} {factory.name} queued and running",
        ),
    )
    free, words = min(limits, key=lambda limit: limit[0])
    silent = f", {system.silent} of them silent" if system.silent and "running" in words else ""
    return free, f"{words} pilots{silent}, as many as are allowed"


def _minimum(system: SystemFacts) -> Order | None:
    """Pilots that are kept even when there is nothing to do."""
    settings = system.settings
    lacking = settings.pilots_min - system.queued - system.running
    if lacking <= 0 or system.barred:
        return None
    factory = settings.factories[0]
    try:
        shape = shape_for(factory, Needs(1, 0, 0, 0, 0), system.queues)
    except NoFit:
        return None
    free, _ = _free(system, factory)
    count = min(lacking, free, settings.submit_max, system.allowed.get(shape, lacking))
    return Order(factory, shape, count) if count > 0 else None


def _explain(made: Plan, needs: Needs, system: str, why: str) -> None:
    made.why.setdefault(needs, {})[system] = why


def _explain_all(made: Plan, wants: Sequence[_Want], system: str, why: str) -> None:
    for want in wants:
        if want.units:
            _explain(made, want.bin.needs, system, why)


def waiting_words(system: SystemFacts, needs: Needs) -> str:
    """Why units wait although pilots for them are queued; "" if none is."""
    able = [each for each in system.coming if each.queued and each.shape.room().units(needs)]
    if not able:
        return ""
    said = next((said for each in able if (said := system.words.get(each.shape))), "")
    longest_s = max(each.age_s for each in able)
    many = f"{len(able)} pilots wait" if len(able) > 1 else "1 pilot waits"
    one = "the first " if len(able) > 1 else ""
    held = sum(each.held for each in able)
    words = [f"{many} in the queue", f"{one}for {show_span(longest_s)}"]
    words += [f"{held} of them held"] if held and len(able) > 1 else []
    return ", ".join(words) + (f"; {said}" if said else "")
