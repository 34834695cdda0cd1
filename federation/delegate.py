"""One site's part in one shard's council, from look to look. Pure: time and chance are arguments.

It remembers only what need not survive a restart: when the leader was heard, when it last stood.
All promises are in the feeds. `plan` says what to write now and when to look again; what is written
is planned once more when its entry is sealed (`records`), because a vote has to cover all that its
author wrote before it.

Source: docs/protocol.md, "Acks and settled", "Votes", "Opens", "Closed seats".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from federation.canvass import Answer, Lead
from federation.election import (
    Choice,
    Pace,
    Since,
    choices,
    enough,
    may_open,
    next_term,
    stands_at,
)
from federation.ids import EntryID, EntryRef, FeedID, SiteID
from federation.records import Record, SeatClose
from federation.settle import settled
from federation.shard import Term
from federation.voting import (
    Reply,
    View,
    ack_due,
    bids,
    highest,
    reply,
    seats_to_close,
    sits,
    vote_for,
)

Tip = Callable[[FeedID], EntryRef | None]
"""The newest entry of a feed that is here; None for none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done in a shard as things are.

    ack: whether there is something to ack, which may wait a moment for more. write: whether there
    is anything that should not wait. stand: whether to ask the others now. again_s: when to look
    again if nothing happens before; inf for never. waits: whether votes allow an open for which
    entries are lacking here.
    """

    ack: bool = False
    write: bool = False
    stand: bool = False
    again_s: float = float("inf")
    waits: bool = False


@dataclass(slots=True)
class _Memory:
    """What is remembered while one term is the newest."""

    term: Term | None = None
    heard_s: float = 0.0
    later_s: float | None = None  # since when somebody says to lead a term that is not open here
    tried_s: float = float("-inf")
    tries: int = 0
    draw: float = 0.0
    stalled_s: float | None = None
    stalled_at: int = 0
    waiting_s: float | None = None  # since when votes allow an open whose log is not here
    bids: dict[tuple[int, SiteID], float] = field(default_factory=dict)  # when first seen
    yields_until_s: float = float("-inf")  # another candidate goes first
    yielded: set[SiteID] = field(default_factory=set)  # those that this seat let go first


class Delegate:
    """See the module."""

    def __init__(self, pace: Pace, draw: Callable[[], float], now_s: float) -> None:
        """draw: chance, from [0, 1).

        now_s: this site's monotonic clock; what came before it counts as just heard.
        """
        self._pace = pace
        self._draw = draw
        self._began_s = now_s
        self._memory = _Memory(heard_s=now_s, draw=draw())
        self._candidacy: int | None = None  # the term in which others agreed that this site stands

    # What comes in

    def hear(self, view: View, lead: Lead, now_s: float) -> None:
        """A leader's word: of the newest term here, or of one that is not open here yet.

        Only who sits in the council leads; a force may have given its site another generation.
        """
        self._note(view, now_s)
        newest = view.shard.newest
        of_newest = (lead.term, lead.leader) == (newest.number, newest.feed)
        if of_newest or self._believed(view, lead, now_s):
            self._memory.heard_s = now_s

    def _believed(self, view: View, lead: Lead, now_s: float) -> bool:
        """Whether a later term may be open of which nothing but such words came.

        Its open comes as soon as they do; who has nothing else to show is no leader.
        """
        within = view.shard.newest.number < lead.term <= highest(view)
        if not within or lead.leader.site not in view.shard.council:
            return False
        memory = self._memory
        memory.later_s = now_s if memory.later_s is None else memory.later_s
        return now_s - memory.later_s < self._pace.patience_s

    def answer(self, view: View, candidate: SiteID, now_s: float) -> Reply:
        """Whether this seat would vote for a candidate now.

        If so, and of two that would stand at once, the one with the larger key goes first.
        """
        self._note(view, now_s)
        said = self._reply(view, candidate, now_s)
        # Once: who asks for ever and never stands must not keep others from it.
        yields = candidate > view.me.site and candidate not in self._memory.yielded
        if said is Reply.AGREED and yields:
            self._memory.yielded.add(candidate)
            self._memory.yields_until_s = now_s + self._pace.round_s
            self._candidacy = None
        return said

    def agreed(
        self, view: View, answers: Sequence[tuple[FeedID, Answer]], now_s: float
    ) -> int | None:
        """The others were asked: the term in which to stand now; None if too few agree.

        answers: by the control feed in which each votes.
        """
        self._note(view, now_s)
        self._tried(now_s)
        last = highest(view)
        yes = [
            (seat, answer)
            for seat, answer in answers
            if answer.reply is Reply.AGREED and answer.above < last  # else its vote cannot come
        ]
        willing = self._reply(view, view.me.site, now_s) is Reply.AGREED
        first = now_s >= self._memory.yields_until_s
        if first and willing and enough(view, [seat for seat, _ in yes]):
            self._candidacy = next_term(view, [answer.above for _, answer in yes])
        else:
            self._candidacy = None
        return self._candidacy

    def silent_s(self, view: View, now_s: float) -> float:
        """For how long the newest leader was not heard."""
        self._note(view, now_s)
        return now_s - self._memory.heard_s

    # What goes out

    def plan(self, view: View, now_s: float) -> Plan:
        """What to do now."""
        self._note(view, now_s)
        if view.shard.stopped or not sits(view, view.me):
            return Plan()
        at_once = bool(self._vote(view, now_s)) or bool(self._open(view, now_s))
        at_once = at_once or bool(seats_to_close(view))
        stand_s = max(stands_at(view, self._pace, self._since()), self._memory.yields_until_s)
        return Plan(
            ack_due(view) is not None,
            at_once,
            stand_s <= now_s,
            self._again_s(stand_s, now_s),
            self._memory.waiting_s is not None,
        )

    def records(self, view: View, tip: Tip, now_s: float) -> list[Record]:
        """What to write now, in this order, as the last records of the entry that is sealed."""
        self._note(view, now_s)
        if view.shard.stopped or not sits(view, view.me):
            return []
        found: list[Record] = []
        ack = ack_due(view)
        if ack is not None:
            found.append(ack)
        found += [_close(view, seat, tip(seat)) for seat in seats_to_close(view)]
        choice = self._open(view, now_s)
        wanted = self._vote(view, now_s)
        if choice is not None:
            found.append(choice.open)
        elif wanted is not None:
            vote = vote_for(view, *wanted)
            if vote is not None:
                found.append(vote)
                self._tried(now_s)
            self._candidacy = None
        return found

    # How it decides

    def _note(self, view: View, now_s: float) -> None:
        """Begin anew with each newest term: its leader was heard by its open."""
        memory, newest = self._memory, view.shard.newest
        if memory.term != newest:
            heard_s = now_s if memory.term is not None else self._began_s
            self._memory = _Memory(newest, heard_s, draw=self._draw())
            self._candidacy = None
        for ballot in bids(view):
            self._memory.bids.setdefault((ballot.vote.term, ballot.voter.site), now_s)
        self._note_settled(view, now_s)

    def _note_settled(self, view: View, now_s: float) -> None:
        """Since when the leader's own last record has not settled."""
        memory, own = self._memory, view.seat.acked.get((view.shard.newest.number, view.me))
        position = settled(view.shard, view.seats) if view.leads else None
        wrote = own.entry.seq if own is not None else view.shard.newest.began.seq
        if not view.leads or position == (view.shard.newest, wrote):
            memory.stalled_s = None
        elif memory.stalled_s is None or (position is not None and position[1] > memory.stalled_at):
            memory.stalled_s = now_s
        memory.stalled_at = position[1] if position is not None else 0

    def _since(self) -> Since:
        memory = self._memory
        return Since(memory.heard_s, memory.draw, memory.tried_s, memory.tries, memory.stalled_s)

    def _tried(self, now_s: float) -> None:
        self._memory.tries += 1
        self._memory.tried_s = now_s
        self._memory.draw = self._draw()

    def _reply(self, view: View, candidate: SiteID, now_s: float) -> Reply:
        return reply(view, candidate, now_s - self._memory.heard_s, self._pace.patience_s)

    def _vote(self, view: View, now_s: float) -> tuple[int, SiteID] | None:
        """For whom to vote in which term: the own candidacy first, else the highest fresh bid."""
        if self._candidacy is not None:
            if self._candidacy > max(view.shard.newest.number, view.seat.voted):
                return self._candidacy, view.me.site
            self._candidacy = None
        for ballot in bids(view):
            bid = ballot.vote.term, ballot.voter.site
            fresh = now_s - self._memory.bids[bid] <= 2 * self._pace.round_s
            may = fresh and bid[0] > view.seat.voted
            if may and self._reply(view, bid[1], now_s) is Reply.AGREED:
                return bid
        return None

    def _open(self, view: View, now_s: float) -> Choice | None:
        """What to open: the greatest cut that is held, the very greatest for a while."""
        allowed = choices(view, view.seat.voted)
        held = [choice for choice in allowed if may_open(view, choice)]
        if not allowed or (held and held[0] == allowed[0]):
            self._memory.waiting_s = None
            return held[0] if held else None
        if self._memory.waiting_s is None:
            self._memory.waiting_s = now_s
        waited = now_s - self._memory.waiting_s >= self._pace.round_s
        return held[0] if held and waited else None

    def _again_s(self, stand_s: float, now_s: float) -> float:
        """The next moment at which time alone may change the plan."""
        waiting_s = self._memory.waiting_s
        held_s = float("inf") if waiting_s is None else waiting_s + self._pace.round_s
        agree_s = self._memory.heard_s + self._pace.patience_s if self._memory.bids else stand_s
        later = [each for each in (stand_s, held_s, agree_s) if each > now_s]
        return min(later, default=float("inf"))


def _close(view: View, seat: FeedID, newest: EntryRef | None) -> SeatClose:
    """The record that closes a seat behind all of its feed that is here."""
    through, entry = (newest.seq, newest.id) if newest is not None else (0, EntryID(b""))
    return SeatClose(view.shard.id, seat.site, seat.generation, through, entry)
