"""What a voter must hold, by its own acts. Pure."""

from __future__ import annotations

from typing import NamedTuple

from tests.model.rules import Rules
from tests.model.states import NOTHING, State


class Held(NamedTuple):
    """By term, through which record: the leader's feed, and the results which that accepts.

    NOTHING: not even the open is known.
    """

    log: tuple[int, ...]
    results: tuple[int, ...]


def held(state: State, site: int, rules: Rules) -> Held:
    """The least that `site` holds: what it acked, voted on or wrote itself, and all before that."""
    acks, votes = state.voters[site]
    log = list(acks)
    results = list(acks) if rules.acks_need_results else [0] * len(acks)
    for vote in votes:
        if vote is not None:
            log[vote.base] = max(log[vote.base], vote.head)
            if rules.heads_need_results:
                results[vote.base] = max(results[vote.base], vote.head)
    for term in range(len(acks) - 1, -1, -1):  # newest first: each log reaches down into its base
        opened = state.opens[term]
        if opened is None:
            continue
        leader, base, cut = opened
        if leader == site:
            log[term] = results[term] = state.records[term]
        if base != NOTHING and log[term] >= 0 and (rules.acks_need_the_log or leader == site):
            log[base] = max(log[base], cut)
            if results[term] >= 0:
                results[base] = max(results[base], cut)
    return Held(tuple(log), tuple(results))


def newest_known(known: tuple[int, ...]) -> int:
    """The newest term whose open a voter with this `log` holds; term 0 is known to all."""
    term = len(known) - 1
    while term and known[term] < 0:
        term -= 1
    return term
