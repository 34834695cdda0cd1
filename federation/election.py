"""When a seat stands, in which term, and what a candidate opens. Pure; time is an argument.

A candidacy goes: ask the others, unlogged (`Canvass`); with a majority's word write a vote for
oneself in a term above all that anybody named; others see it in the candidate's feed and answer
with theirs; with a majority of votes, and the log through the cut at hand, write the `open`.

Source: docs/protocol.md, "Votes", "Opens".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from federation.ids import EntryRef, FeedID
from federation.opening import BadOpen, Ballot, as_ref, base_and_cut, seats_closed
from federation.quorum import majority
from federation.records import Open
from federation.shard import Term
from federation.voting import View, above, highest, reach, sits, vacant

PATIENCE_S: Final = 30 * 60.0  # by default: how long a leader may be silent


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of an election, all from how long a leader may be silent.

    Raising `patience_s` saves needless take-overs; it costs as much idle time after a leader's
    loss. round_s: how long a candidacy may take before the next; it must exceed the time in which
    an entry goes to all voters and back.
    """

    patience_s: float = PATIENCE_S

    @property
    def round_s(self) -> float:
        return min(20.0, self.patience_s / 6)

    @property
    def lead_every_s(self) -> float:
        """How often a leader says that it leads: several may be lost."""
        return min(60.0, self.patience_s / 5)

    @property
    def spread_s(self) -> float:
        """Over how much time voters that lost the leader at once begin to stand."""
        return min(60.0, self.patience_s / 6)

    @property
    def round_s_max(self) -> float:
        """The longest wait between candidacies that fail one after another."""
        return self.patience_s / 3


@dataclass(frozen=True, slots=True)
class Since:
    """What a seat remembers between two looks, in seconds of its monotonic clock.

    heard_s: when the newest leader was last heard, or that term was learned, or the node began.
    tried_s: its last candidacy or vote; -inf for none since the newest term was learned.
    tries: candidacies since then. stalled_s: since when the leader's own last record has not
    settled; None if it has. draw: from [0, 1), drawn anew for each candidacy.
    """

    heard_s: float
    draw: float
    tried_s: float = float("-inf")
    tries: int = 0
    stalled_s: float | None = None


def stands_at(view: View, pace: Pace, since: Since) -> float:
    """When this seat should stand; inf if it need not as things are. To be asked anew after news.

    A leader stands again when too few voters are left to ack its term, or when its last record
    does not settle for long and a voter is bound to a later term. Others stand when it is silent
    too long, at once when it can lead no more, and when an election has come to nothing.
    """
    never = float("inf")
    if view.shard.stopped or not sits(view, view.me):
        return never
    again_s = since.tried_s + _round_s(pace, since)
    newest = view.shard.newest
    if view.leads:
        if outvoted(view):
            return again_s
        if since.stalled_s is not None and bound(view):
            return max(since.stalled_s + pace.patience_s, again_s)
        return never
    if vacant(view):
        return max(since.heard_s, again_s)
    silent_s = since.heard_s + pace.patience_s + since.draw * pace.spread_s
    if view.seat.voted > newest.number:
        return again_s
    return max(silent_s, again_s)


def bound(view: View) -> set[FeedID]:
    """The voters that voted above the newest term: they cannot ack it any more."""
    newest = view.shard.newest
    return {
        voter
        for voter in view.shard.voters(newest)
        if voter in view.seats and view.seats[voter].voted > newest.number
    }


def outvoted(view: View) -> bool:
    """Whether the voters that can still ack the newest term are no majority."""
    voters = view.shard.voters(view.shard.newest)
    return len(voters) - len(bound(view)) < majority(len(voters))


def next_term(view: View, replies: Iterable[int] = ()) -> int | None:
    """The term in which to stand: above all that this seat knows, and that others named.

    Terms out of reach, which only a member that lies comes to, are left to it. None: no term is
    left, or none that others would follow.
    replies: the terms above which those who agreed may vote.
    """
    last = highest(view)
    known = [*(ballot.vote.term for ballot in view.votes), *replies]
    term = max(above(view), *(each for each in known if each < last), 0) + 1
    return term if term <= last else None


def enough(view: View, agreed: Iterable[FeedID]) -> bool:
    """Whether these voters, with this seat, are a majority."""
    voters = set(view.shard.voters(view.shard.newest))
    return len(voters & {*agreed, view.me}) >= majority(len(voters))


@dataclass(frozen=True, slots=True)
class Choice:
    """An `open` that a candidate's votes allow, and the cut behind which it would lead."""

    open: Open
    base: Term
    cut: EntryRef


def choices(view: View, term: int) -> list[Choice]:
    """What this candidate may open in a term for which it stood, the greatest cut first.

    Each is a majority of the votes that were cast for it here, as many as have its cut. Empty
    while they are no majority, and once a later term is open.
    """
    if view.shard.stopped or term <= view.shard.newest.number or not sits(view, view.me):
        return []
    cast = [
        ballot
        for ballot in view.votes
        if (ballot.vote.term, ballot.vote.candidate) == (term, view.me.site)
    ]
    cast.sort(key=lambda ballot: (ballot.vote.base, ballot.vote.seq))
    found = [_choice(view, term, cast[: count + 1]) for count in range(len(cast))]
    distinct = {choice.cut: choice for choice in found if choice is not None}
    return list(distinct.values())[::-1]


def may_open(view: View, choice: Choice) -> bool:
    """Whether the log through the cut, and all that it names, is held here."""
    base, head = reach(view)
    if choice.base == base:
        return head.seq >= choice.cut.seq
    whole = view.whole(choice.base)
    return whole is not None and whole.seq >= choice.cut.seq


def _choice(view: View, term: int, cast: Sequence[Ballot]) -> Choice | None:
    """The open by votes in ascending order of base and head; None if they do not allow one."""
    voters = view.shard.voters(view.shard.newest)
    number, (seq, entry) = cast[-1].vote.base, cast[-1].head
    base = next((each for each in view.shard.alive if each.number == number), None)
    if base is None:
        return None
    cut = EntryRef(base.feed, seq, entry)
    shut = seats_closed(view.shard, base, cut)
    cast = [
        ballot
        for ballot in cast
        if ballot.voter in voters and ballot.at.seq <= shut.get(ballot.voter, ballot.at.seq)
    ]
    if len(cast) < majority(len(voters)):
        return None
    try:
        follows = base_and_cut(cast) == (number, (seq, entry))
    except BadOpen:
        follows = False
    if not follows:
        return None
    votes = [as_ref(ballot.at) for ballot in cast]
    return Choice(Open(view.shard.id, term, votes, number, seq, entry), base, cut)


def _round_s(pace: Pace, since: Since) -> float:
    """How long to wait after a candidacy: longer after each, and never the same for two seats."""
    grown = pace.round_s * float(2 ** min(since.tries, 16))
    return min(grown, max(pace.round_s_max, pace.round_s)) * (1 + since.draw)
