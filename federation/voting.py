"""What a seat may say about its shard: acks and votes. Pure; every decision is a value.

Why each condition is there: without it a settled record was lost in a short run of events. The
models in tests/model show each of them; change both together.

Source: docs/protocol.md, "Acks and settled", "Votes".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from federation import limits
from federation.ids import EntryRef, FeedID, SiteID
from federation.opening import Ballot, seats_closed
from federation.quorum import majority
from federation.records import Ack, Vote
from federation.settle import Seat, Seats
from federation.shard import Shard, Term

Whole = Callable[[Term], EntryRef | None]
"""The last log entry of a term's own feed through which its log is held; see `Holding.whole`."""


@dataclass(frozen=True, slots=True)
class View:
    """What one site knows of one shard at one moment.

    me: the site's own control feed, in the generation in which it writes now.
    seats, votes: what all control feeds say, its own included; of votes at least those that count
    for terms above the newest. whole: what is held. generations: the newest one known of sites,
    from entries or beacons. revoked: sites that are no members any more.
    """

    shard: Shard
    me: FeedID
    seats: Seats
    votes: Sequence[Ballot]
    whole: Whole
    generations: Mapping[SiteID, int] = field(default_factory=dict)
    revoked: Collection[SiteID] = ()

    @property
    def seat(self) -> Seat:
        """This site's own."""
        return self.seats.get(self.me, Seat())

    @property
    def leads(self) -> bool:
        """Whether this site leads the newest opened term, in this generation."""
        return self.shard.leads(self.me)


class Reply(IntEnum):
    """Whether a seat would vote for a candidate, or why not."""

    AGREED = 0
    UNKNOWN_SHARD = 1
    STOPPED = 2  # two opens hold for one term: only an admin can go on
    NO_SEAT = 3  # the one asked has none, or it is closed
    CANNOT_LEAD = 4  # the candidate has no seat, or it is closed, or goes on elsewhere
    LEADER_HEARD = 5


def sits(view: View, feed: FeedID) -> bool:
    """Whether this control feed has a seat that counts, so that its site may vote and lead.

    Not one that the newest log closes, nor of a site that goes on under a later generation.
    """
    newest = view.shard.newest
    if feed not in view.shard.voters(newest) or feed in seats_closed(view.shard, newest):
        return False
    current = view.generations.get(feed.site, feed.generation)
    return current <= feed.generation and feed.site not in view.revoked


def ack_due(view: View) -> Ack | None:
    """The ack that this seat owes the newest term's log, if it can say more than it did.

    None after its vote for a later term, and for the leader, who acks by writing.
    """
    newest = view.shard.newest
    if view.shard.stopped or view.leads or view.seat.voted > newest.number:
        return None
    whole = view.whole(newest)
    if whole is None or not sits(view, view.me):
        return None
    before = view.seat.acked.get((newest.number, newest.feed))
    if before is not None and before.entry.seq >= whole.seq:
        return None
    feed = newest.feed
    return Ack(view.shard.id, newest.number, feed.site, feed.generation, whole.seq, whole.id)


def reply(view: View, candidate: SiteID, silent_s: float, patience_s: float) -> Reply:
    """Whether this seat would vote now for a candidate, in a term above all that it knows.

    silent_s: since the leader of the newest term was last heard. patience_s: how long that must be.
    """
    if view.shard.stopped:
        return Reply.STOPPED
    if not sits(view, view.me):
        return Reply.NO_SEAT
    seat = seat_for(view, candidate)
    if seat is None or not sits(view, seat):
        return Reply.CANNOT_LEAD
    newest = view.shard.newest
    if seat == newest.feed or vacant(view) or view.seat.voted > newest.number:
        return Reply.AGREED
    return Reply.AGREED if silent_s >= patience_s and not view.leads else Reply.LEADER_HEARD


def vacant(view: View) -> bool:
    """Whether the newest term's leader can lead no more: closed, revoked, or gone on elsewhere."""
    return not sits(view, view.shard.newest.feed)


def seat_for(view: View, site: SiteID) -> FeedID | None:
    """The feed in which a site would lead the next term; None if it has no seat."""
    voters = view.shard.voters(view.shard.newest)
    return next((seat for seat in voters if seat.site == site), None)


def above(view: View) -> int:
    """The term above which this seat may vote: all that are open here, and its own last vote."""
    return max(view.shard.newest.number, view.seat.voted)


def proven(view: View) -> int:
    """A term that an honest seat came to, whatever those that may lie have voted for.

    Opened here, or voted for by this seat, or by so many that one of them is in every majority.
    """
    newest = view.shard.newest
    voters = view.shard.voters(newest)
    voted = sorted((view.seats.get(voter, Seat()).voted for voter in voters), reverse=True)
    return max(above(view), voted[len(voters) - majority(len(voters))])


def highest(view: View) -> int:
    """The last term in which this seat votes as things are: see `TERM_STEP_MAX`."""
    return min(proven(view) + limits.TERM_STEP_MAX, limits.TERM_MAX)


def vote_for(view: View, term: int, candidate: SiteID) -> Vote | None:
    """The vote of this seat, naming what it holds; None if it may not vote in this term.

    To be written with what it knows when its entry is sealed: behind it in its feed no ack of an
    earlier term counts, and before it none may stand that goes beyond its head.
    """
    if not above(view) < term <= highest(view):
        return None
    base, head = reach(view)
    return Vote(view.shard.id, term, candidate, base.number, head.seq, head.id)


def reach(view: View) -> tuple[Term, EntryRef]:
    """The newest term whose log this seat could ack through its open, and how far that one.

    Never less than it said before: what was acked or named in a vote is held.
    """
    for term in sorted(view.shard.alive, key=lambda term: term.number, reverse=True):
        heads = [head for head in (view.whole(term), _said(view, term)) if head is not None]
        if heads:
            return term, max(heads, key=lambda head: head.seq)
    founding = view.shard.terms[0]
    return founding, founding.began


def _said(view: View, term: Term) -> EntryRef | None:
    """How far this seat said before that it holds the log of a term."""
    said = []
    acked = view.seat.acked.get((term.number, term.feed))
    if acked is not None:
        said.append(acked.entry)
    for ballot in view.votes:
        if ballot.voter == view.me and ballot.vote.base == term.number:
            said.append(EntryRef(term.feed, ballot.vote.seq, ballot.vote.entry))
    return max(said, key=lambda ref: ref.seq, default=None)


def seats_to_close(view: View) -> list[FeedID]:
    """Seats of revoked sites that the leader has to close, so that they settle nothing more."""
    if not view.leads or view.shard.stopped:
        return []
    newest = view.shard.newest
    shut = seats_closed(view.shard, newest)
    return [
        seat
        for seat in view.shard.voters(newest)
        if seat.site in view.revoked and seat not in shut and seat != view.me
    ]


def bids(view: View) -> list[Ballot]:
    """Candidates' votes for themselves in terms that may be opened, the highest term first.

    A candidate makes itself known by its own vote; others answer with theirs.
    """
    newest, last = view.shard.newest.number, highest(view)
    own = [
        ballot
        for ballot in view.votes
        if newest < ballot.vote.term <= last and ballot.vote.candidate == ballot.voter.site
    ]
    return sorted(own, key=lambda ballot: -ballot.vote.term)
