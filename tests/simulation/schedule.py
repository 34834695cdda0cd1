"""What happens to a site, and when: drawn from a seed, and shrunk once it makes a run fail.

An event carries a number of its own from which everything about it is drawn, so that leaving one
out changes no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

STEPS = 60
STEPS_A_DAY = 4  # in long lives
SPACING_S = 10.0  # between two events, on average

# How often each kind of event comes, in parts of all.
PEOPLE = {"submit": 14, "order": 22}
FAULTS = {
    "kill": 7, "power": 7, "stumble": 3, "full": 4, "slow": 3, "clock": 4, "copy": 3, "restore": 1,
    "recover": 2, "vanish": 4, "silence": 4, "lossy": 4, "repeat": 3, "leave": 2, "broken": 2,
}  # fmt: skip
NETWORK_FAULTS = {"partition": 6, "oneway": 4, "apart": 4, "reset": 4, "far": 2}
SITE_FAULTS = {"drain": 4, "wipe": 3, "lose": 2}  # datasets move, and units run again
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that people or fate do. at_s: on the virtual clock."""

    at_s: float
    kind: str
    number: int  # everything else about it is drawn from this

    def random(self) -> Random:
        return Random(self.number)


Schedule = tuple[Event, ...]


def draw(
    seed: int,
    steps: int = STEPS,
    faults: Mapping[str, int] = FAULTS,
    span_s: float | None = None,
    people: Mapping[str, int] = PEOPLE,
) -> Schedule:
    """The events of a seed, in order of time; the first is a submission.

    faults, people: the kinds that may come, and how often. span_s: in which the events come.
    """
    random = Random(f"schedule {seed}")
    weights = {**people, **faults}
    kinds = random.choices(list(weights), list(weights.values()), k=max(0, steps - 1))
    span_s = steps * SPACING_S if span_s is None else span_s
    events = [
        Event(round(random.uniform(2.0, span_s), 3), kind, random.getrandbits(48)) for kind in kinds
    ]
    first = [Event(1.0, kind, random.getrandbits(48)) for kind in people if kind == "submit"]
    return (*first, *sorted(events, key=lambda event: event.at_s))


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool], tries: int = 80) -> Schedule:
    """A part of a failing schedule that still fails: every part left out is not needed.

    fails: runs a schedule. tries: how many runs to spend at most.
    """
    left = schedule
    size = max(1, len(left) // 2)
    while tries > 0:
        at = 0
        smaller = False
        while at < len(left) and tries > 0:
            part = (*left[:at], *left[at + size :])
            tries -= 1
            if fails(part):
                left, smaller = part, True
            else:
                at += size
        if size == 1 and not smaller:
            break
        size = max(1, size // 2)
    return left


def shown(schedule: Sequence[Event]) -> str:
    """A schedule for people, and as Python for a named scenario."""
    return "\n".join(f"    {event!r}," for event in schedule)
