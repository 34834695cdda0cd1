"""What must hold in every state of a shard. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import combinations
from typing import NamedTuple

from tests.model.knowledge import Held, held, newest_known
from tests.model.rules import Setting
from tests.model.settling import Settled, is_quorum, settled
from tests.model.states import State, highest_vote, in_log, log
from tests.model.steps import votes_for


class Invariant(Enum):
    """What a fault breaks."""

    ONE_LEADER = "one leader a term"
    SETTLED_STAYS = "what is settled is in the log of every later term"
    SETTLED_IS_HELD = "a majority holds what is settled, with the log before it and its results"
    CUT_OFF_STAYS_OFF = "what a settled open cut off never comes back"
    GOES_ON = "with any minority gone for good, the rest can go on"
    ONE_OWNER = "a dataset is owned by one shard at most"
    SOME_OWNER = "a dataset is owned by some shard in the end"
    RESULT_STAYS = "a settled result never changes"


class Fault(NamedTuple):
    """An invariant that a state breaks, and how."""

    invariant: Invariant
    text: str

    def __str__(self) -> str:
        return f"broken: {self.invariant.value}: {self.text}"


def fault(setting: Setting, state: State) -> Fault | None:
    """The first invariant that this state breaks; None when all hold."""
    return next(_faults(setting, state), None)


def _faults(setting: Setting, state: State) -> Iterator[Fault]:
    found = list(settled(setting, state))
    yield from _two_leaders(setting, state)
    yield from _settled_lost(state, found)
    if not (setting.rules.acks_need_the_log and setting.rules.acks_need_results):
        yield from _settled_missing(setting, state, found)  # else so by what an ack means
    yield from _cut_off_back(setting, state, found)
    if setting.size.healing:
        yield from _stuck(setting, state, found)


def _two_leaders(setting: Setting, state: State) -> Iterator[Fault]:
    for term, candidates in enumerate(setting.stands):
        opened = state.opens[term]
        for candidate in candidates:
            if opened is None or candidate == opened.leader:
                continue
            if is_quorum(setting, votes_for(state, candidate, term)):
                text = f"site {candidate} can open term {term} too"
                yield Fault(Invariant.ONE_LEADER, text)


def _settled_lost(state: State, found: list[Settled]) -> Iterator[Fault]:
    for term, record, under in found:
        for later in range(under + 1, len(state.opens)):
            if state.opens[later] and not in_log(state.opens, later, (term, record)):
                text = f"record {record} of term {term} is settled, but the log of {later} lacks it"
                yield Fault(Invariant.SETTLED_STAYS, text)


def _settled_missing(setting: Setting, state: State, found: list[Settled]) -> Iterator[Fault]:
    views = [held(state, site, setting.rules) for site in range(setting.size.voters)]
    for term, record, _ in found:
        runs = log(state.opens, term, record)
        whole = sum(
            all(view.log[run] >= last and view.results[run] >= last for run, last in runs)
            for view in views
        )
        if whole < setting.majority:
            text = (
                f"record {record} of term {term} is settled, but only {whole} hold all through it"
            )
            yield Fault(Invariant.SETTLED_IS_HELD, text)


def _cut_off_back(setting: Setting, state: State, found: list[Settled]) -> Iterator[Fault]:
    """What is cut off by a final open is submitted again, elsewhere: it must not come back."""
    opens = state.opens
    if setting.rules.settled_opens_cut_off:
        finals = [term for term, _, _ in found if term]
    else:
        finals = [term for term, opened in enumerate(opens) if term and opened]
    for final in finals:
        later = [term for term in range(final + 1, len(opens)) if opens[term]]
        for term in range(final) if later else ():
            for record in range(1, state.records[term] + 1):
                if in_log(opens, final, (term, record)):
                    continue
                for back in later:
                    if in_log(opens, back, (term, record)):
                        text = (
                            f"record {record} of term {term} was cut off by {final}, is in {back}"
                        )
                        yield Fault(Invariant.CUT_OFF_STAYS_OFF, text)


def _stuck(setting: Setting, state: State, found: list[Settled]) -> Iterator[Fault]:
    """After healing, with any minority gone for good: does one more term settle everything?"""
    voters = range(setting.size.voters)
    views = [held(state, site, setting.rules) for site in voters]
    seen: set[Held] = set()
    for gone_count in range(setting.size.voters - setting.majority + 1):
        for gone in combinations(voters, gone_count):
            live = [site for site in voters if site not in gone]
            known = _together([views[site] for site in live])
            if known in seen and setting.rules.votes_at_once_if_voted:
                continue  # who is live matters for what they hold, and for nothing else
            seen.add(known)
            text = _what_stops(setting, state, found, live, known)
            if text:
                yield Fault(Invariant.GOES_ON, f"sites {gone} gone: {text}" if gone else text)


def _together(views: list[Held]) -> Held:
    if len(views) == 1:
        return views[0]
    log, results = zip(*views, strict=True)
    return Held(tuple(map(max, *log)), tuple(map(max, *results)))


def _what_stops(
    setting: Setting, state: State, found: list[Settled], live: list[int], known: Held
) -> str | None:
    """Why the live voters, who together hold `known`, cannot open one more term; else None."""
    rules, opens = setting.rules, state.opens
    base = newest_known(known.log)
    opened = opens[base]
    assert opened is not None
    if not rules.votes_at_once_if_voted and opened.leader in live:
        able = [site for site in live if highest_vote(state.voters[site].votes) <= base]
        if len(able) >= setting.majority:
            return None
        return f"the leader of term {base} is heard, nobody votes, and only {able} can still ack it"
    head = (
        min(known.log[base], known.results[base]) if rules.heads_need_results else known.log[base]
    )
    runs = log(opens, base, head)
    for term, record, _ in found:
        if not any(run == term and record <= last for run, last in runs):
            return f"the next log lacks record {record} of term {term}, which is settled"
    for term, last in runs:
        if known.log[term] < last:
            return f"nobody holds term {term} through record {last}, which the next log needs"
        if known.results[term] < last:
            return f"nobody holds the results that term {term} accepts through record {last}"
    return None
