"""A council in memory: voters that hold what reached them, and one reader who sees all.

Every entry is one site's decision, made by the functions that nodes use from what that site holds.
The reader checks after each that no settled record can be lost (I1, I2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from federation.election import Choice, choices, may_open, next_term
from federation.holding import Holding
from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, SiteID
from federation.ledger import Ledger
from federation.opening import Ballot
from federation.quorum import majority
from federation.records import Accept, Grant, Record, Refused, SeatClose
from federation.segments import contains, segments
from federation.settle import settled_through
from federation.shard import Shard, Term, found
from federation.voting import View, ack_due, bids, sits, vote_for
from tests.unit.federation.seats import NONCE, seat

Written = tuple[EntryRef, Sequence[Record | Refused]]


class Broken(AssertionError):
    """An invariant that does not hold, with what happened before."""


class Voter:
    """One site: its feeds, and how far it holds those of others."""

    restored = False  # the disk was put back to an earlier day

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.me = seat(number)
        self.held: dict[FeedID, int] = {}
        self.start()

    def start(self) -> None:
        """Begin as a process does: all that is known is what is on disk."""
        self.ledger = Ledger(self.world.shard, self.holds)
        self.holding = Holding(self.world.shard, self.read, self.holds, lambda _, __: True)
        held, self.held = self.held, {}
        for feed, count in held.items():
            self.take(feed, count)

    def holds(self, ref: EntryRef) -> bool:
        if self.held.get(ref.feed, 0) < ref.seq:
            return False
        return self.world.feeds[ref.feed][ref.seq - 1][0] == ref

    def read(self, feed: FeedID, after: int, limit: int) -> Sequence[Written]:
        upto = min(after + limit, self.held.get(feed, 0))
        return self.world.feeds.get(feed, [])[after:upto]

    def take(self, feed: FeedID, count: int) -> None:
        """Hold the feed through entry `count`."""
        for at, records in self.world.feeds[feed][self.held.get(feed, 0) : count]:
            self.held[feed] = at.seq
            if feed.lane is Lane.CONTROL:
                self.ledger.take(at, records)

    def view(self) -> View | None:
        shard = self.ledger.shard
        if shard is None:
            return None
        return View(
            shard,
            self.me,
            self.ledger.seats,
            self.ledger.votes_above(-1),
            lambda term: self.holding.whole(shard, term),
            {feed.site: 2 for feed in self.held if feed.generation > 1},
            self.world.revoked,
        )

    def write(self, *records: Record, lane: Lane = Lane.CONTROL) -> None:
        feed = replace(self.me, lane=lane)
        self.world.append(feed, list(records))
        self.take(feed, len(self.world.feeds[feed]))
        if lane is Lane.CONTROL:
            self.world.check()

    # What a site may do; each says whether it did

    def writes_log(self) -> bool:
        view = self.view()
        if view is None or not view.leads or view.shard.stopped:
            return False
        self.write(self.log_record())
        return True

    def log_record(self) -> Record:
        results = [feed for feed in self.held if feed.lane is Lane.RESULTS]
        if results and self.world.random.random() < 0.5:
            feed = self.world.random.choice(sorted(results, key=lambda each: each.site))
            entry = self.world.feeds[feed][self.held[feed] - 1][0]
            return Accept(self.world.shard, feed.site, feed.generation, entry.seq, entry.id)
        return Grant(self.world.shard, DatasetID(bytes(32)), [0], [0, 1], self.me.site)

    def reports(self) -> bool:
        self.write(lane=Lane.RESULTS)
        return True

    def acks(self) -> bool:
        view = self.view()
        ack = ack_due(view) if view is not None else None
        if ack is not None:
            self.write(ack)
        return ack is not None

    def stands(self) -> bool:
        view = self.view()
        if view is None or not sits(view, self.me):
            return False
        term = next_term(view)
        return term is not None and self._votes(view, term, self.me)

    def answers(self, pick: Callable[[list[Ballot]], Ballot] | None = None) -> bool:
        view = self.view()
        wanted = bids(view) if view is not None and sits(view, self.me) else []
        if view is None or not wanted:
            return False
        bid = (pick or self.world.random.choice)(wanted)
        return self._votes(view, bid.vote.term, bid.voter)

    def _votes(self, view: View, term: int, candidate: FeedID) -> bool:
        vote = vote_for(view, term, candidate.site)
        if vote is None:
            return False
        if view.leads and self.world.random.random() < 0.5:  # sealed together
            records = [self.log_record(), vote, self.log_record()]
            self.write(*records[self.world.random.randrange(2) :])
        else:
            self.write(vote)
        return True

    def opens(self) -> bool:
        view = self.view()
        if view is None:
            return False
        allowed = [choice for choice in self.choices(view) if may_open(view, choice)]
        if not allowed:
            return False
        self.write(self.world.random.choice(allowed).open)
        return True

    def choices(self, view: View) -> list[Choice]:
        return choices(view, view.seat.voted)

    def closes(self) -> bool:
        view = self.view()
        if view is None or not view.leads:
            return False
        other = self.world.random.choice([each for each in view.shard.seats if each != self.me])
        through = self.held.get(other, 0)
        id_ = self.world.feeds[other][through - 1][0].id if through else EntryID(b"")
        self.write(SeatClose(self.world.shard, other.site, other.generation, through, id_))
        return True

    def crashes(self) -> bool:
        self.start()
        return True

    def is_restored(self) -> bool:
        """The disk is put back to an earlier day; the site goes on under the next generation."""
        if self.restored:
            return False
        self.restored = True
        for feed in self.held:
            self.held[feed] = self.world.random.randint(0, self.held[feed])
        self.me = replace(self.me, generation=2)
        self.start()
        return True


class World:
    """All feeds, and what the reader who sees all concludes."""

    voter = Voter

    def __init__(self, random: Random, count: int = 3) -> None:
        self.random = random
        self.feeds: dict[FeedID, list[Written]] = {}
        self.log: list[str] = []
        self.found: list[tuple[Term, int]] = []
        self.revoked: set[SiteID] = set()
        seats = [seat(number) for number in range(count)]
        record = found(seats[0], NONCE, seats)
        self.shard = record.shard
        self.reader = Ledger(self.shard, self.has)
        self.voters = [self.voter(self, number) for number in range(count)]
        self.voters[0].write(record)

    def has(self, ref: EntryRef) -> bool:
        entries = self.feeds.get(ref.feed, [])
        return len(entries) >= ref.seq and entries[ref.seq - 1][0] == ref

    def append(self, feed: FeedID, records: list[Record]) -> None:
        entries = self.feeds.setdefault(feed, [])
        name = feed.site[:1] + bytes([feed.generation, feed.lane]) + len(entries).to_bytes(4, "big")
        at = EntryRef(feed, len(entries) + 1, EntryID(name.ljust(32, b"\0")))
        entries.append((at, records))
        if feed.lane is Lane.CONTROL:
            self.reader.take(at, records)
            self.note(at, records)

    def note(self, at: EntryRef, records: Sequence[Record]) -> None:
        self.log += [f"{at.feed.site[0] - 1}/{at.seq}: {record}" for record in records]

    def check(self) -> None:
        shard = self.reader.shard
        if shard is None:
            return
        if shard.stopped:
            self.broken("I1: two opens hold for one term")
        if self.reader.void:
            self.broken(f"an honest open does not hold: {self.reader.void[-1]}")
        seats = self.reader.seats
        found = [(term, settled_through(shard, seats, term)) for term in shard.terms]
        if found == self.found:
            return
        self.found = found
        for term, seq in found:
            if seq:
                self.check_settled(shard, term, seq)

    def check_settled(self, shard: Shard, term: Term, seq: int) -> None:
        for later in shard.terms:
            if later.number > term.number and not contains(
                segments(shard, later), term.number, term.feed, seq
            ):
                self.broken(f"I2: {term.number}/{seq} is settled and not in term {later.number}")
        if any(voter.restored for voter in self.voters):
            return  # a disk that was put back may hold less
        holders = [voter for voter in self.voters if self.holds_log(voter, shard, term, seq)]
        if len(holders) < majority(len(shard.voters(term))):
            self.broken(f"D1: {term.number}/{seq} is settled and {len(holders)} hold it")

    def holds_log(self, voter: Voter, shard: Shard, term: Term, seq: int) -> bool:
        holds = partial(Voter.holds, voter)  # whatever rule that voter breaks
        whole = Holding(self.shard, voter.read, holds, lambda _, __: True).whole(shard, term)
        return whole is not None and whole.seq >= seq

    def broken(self, why: str) -> None:
        raise Broken("\n".join([*self.log, why]))

    def gossip(self) -> bool:
        """One site gets a piece of one feed from another."""
        if len(self.voters) < 2:
            return False
        giver, taker = self.random.sample(self.voters, 2)
        ahead = [feed for feed, count in giver.held.items() if count > taker.held.get(feed, 0)]
        if not ahead:
            return False
        for feed in self.random.sample(ahead, self.random.randint(1, len(ahead))):
            taker.take(feed, self.random.randint(taker.held.get(feed, 0) + 1, giver.held[feed]))
        return True

    def gives(self, giver: Voter, taker: Voter) -> None:
        """Everything that one site has, unless that gets lost."""
        if self.random.random() < 0.85:
            for feed, count in list(giver.held.items()):
                taker.take(feed, count)

    def campaign(self) -> bool:
        """A candidacy in one go, of which any step may be missing."""
        candidate, *others = self.random.sample(self.voters, len(self.voters))
        candidate.stands()
        for other in others:
            self.gives(candidate, other)
            other.answers()
            self.gives(other, candidate)
        return candidate.opens()

    def round(self) -> bool:
        """The leader's news go to others, who ack, in one go; any step may be missing."""
        leader, *others = self.random.sample(self.voters, len(self.voters))
        done = leader.writes_log()
        for other in others:
            self.gives(leader, other)
            done |= other.acks()
            self.gives(other, leader)
        return done

    def heal(self, voters: Sequence[Voter]) -> None:
        """Give everybody all that one of these holds."""
        for feed in list(self.feeds):
            most = max(voter.held.get(feed, 0) for voter in voters)
            for voter in voters:
                voter.take(feed, most)
