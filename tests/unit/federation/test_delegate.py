"""Delegates over time: who leads in the end, and how soon."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from federation import limits
from federation.canvass import Answer, Lead
from federation.delegate import Delegate
from federation.election import Pace
from federation.ids import EntryRef, FeedID
from federation.opening import Ballot
from federation.records import Ack, Open, Vote
from federation.settle import settled
from federation.voting import Reply, View, above
from tests.unit.federation.seats import at, council, seat, vote
from tests.unit.federation.test_election import cast
from tests.unit.federation.test_shard import later
from tests.unit.federation.test_voting import ME, OTHER, ROOT, said, view
from tests.unit.federation.voters import Voter, World

PACE = Pace(60.0)
TICK_S = 0.5


class Member(Voter):
    """A voter with a delegate and a clock. Off: it does nothing and nobody reaches it."""

    def start(self) -> None:
        super().start()
        self.on = True
        self.delegate = Delegate(PACE, Random(self.world.random.random()).random, self.world.now_s)
        self.lead_s = float("-inf")

    def tip(self, feed: FeedID) -> EntryRef | None:
        held = self.held.get(feed, 0)
        return self.world.feeds[feed][held - 1][0] if held else None

    def tick(self) -> None:
        view = self.view()
        if view is None:
            return
        now_s = self.world.now_s
        plan = self.delegate.plan(view, now_s)
        assert plan.again_s > now_s
        if plan.stand:
            self.canvass(view)
        if plan.ack or plan.write or plan.stand:
            records = self.delegate.records(self.current(), self.tip, now_s)
            if records:
                self.write(*records)
        if self.current().leads and now_s >= self.lead_s + PACE.lead_every_s:
            self.lead_s = now_s
            self.say()

    def current(self) -> View:
        view = self.view()
        assert view is not None
        return view

    def canvass(self, view: View) -> None:
        answers = []
        for other in self.world.reached(self):
            seen = other.view()
            if other is not self and seen is not None:
                said = other.delegate.answer(seen, self.me.site, self.world.now_s)
                answers.append((other.me, Answer(said, above(seen), other.me.generation)))
        self.delegate.agreed(view, answers, self.world.now_s)

    def say(self) -> None:
        newest = self.current().shard.newest
        at = self.tip(self.me)
        assert at is not None
        lead = Lead(self.me, 1, 1, self.world.shard, newest.number, at.seq, at.id)
        for other in self.world.reached(self):
            view = other.view()
            if view is not None:
                other.delegate.hear(view, lead, self.world.now_s)


class Timed(World):
    """A world with a clock and links that may be cut."""

    voter = Member

    def __init__(self, seed: int, count: int = 3) -> None:
        self.now_s = 1000.0
        self.cut: set[frozenset[int]] = set()
        super().__init__(Random(seed), count)
        self.members: list[Member] = self.voters  # type: ignore[assignment]
        self.members[0].lead_s = float("-inf")
        self.run(2)

    def reached(self, member: Member) -> list[Member]:
        """Who has a link with a member that is on, itself among them."""
        return [
            other
            for other in self.members
            if other.on and member.on and frozenset({member.number, other.number}) not in self.cut
        ]

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """Let time pass; how much it took."""
        began_s = self.now_s
        while self.now_s < began_s + seconds and not until():
            self.now_s += TICK_S
            for member in self.random.sample(self.members, len(self.members)):
                if member.on:
                    for other in self.reached(member):
                        for feed, count in list(other.held.items()):
                            member.take(feed, count)
                    member.tick()
        return self.now_s - began_s

    def split(self, *parts: set[int]) -> None:
        """Only members of one part reach each other."""
        numbers = range(len(self.members))
        self.cut = {
            frozenset({one, other})
            for one in numbers
            for other in numbers
            if not any({one, other} <= part for part in parts)
        }

    def leaders(self) -> set[int]:
        """Who takes itself for the leader."""
        return {
            each.number
            for each in self.members
            if each.on and (view := each.view()) is not None and view.leads
        }

    def settles(self) -> bool:
        """Whether there is one leader, and what it writes is settled."""
        if len(self.leaders()) != 1:
            return False
        leader = self.members[min(self.leaders())]
        view = leader.current()
        position = settled(view.shard, view.seats)
        own = view.seat.acked.get((view.shard.newest.number, leader.me))
        return (
            position is not None
            and own is not None
            and position == (view.shard.newest, own.entry.seq)
        )

    def goes_on(self, seconds: float) -> float:
        """How long until a new record of the one leader is settled."""

        def written() -> bool:
            return self.settles() and self.members[min(self.leaders())].writes_log()

        took = self.run(seconds, written)
        assert self.leaders(), f"nobody leads after {took} s"
        took += self.run(seconds - took, self.settles)
        assert self.settles(), f"not settled after {took} s, led by {self.leaders()}"
        return took


def entries(world: Timed) -> int:
    return sum(map(len, world.feeds.values()))


def votes(world: Timed) -> int:
    return sum(
        isinstance(record, Vote)
        for feed in world.feeds.values()
        for _, records in feed
        for record in records
    )


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_leader_that_is_heard_stays_and_an_idle_council_writes_nothing(count: int) -> None:
    world = Timed(1, count)
    world.goes_on(10)
    before = entries(world)
    world.run(10 * PACE.patience_s)
    assert world.leaders() == {0}
    assert entries(world) == before


def test_one_ack_a_voter_settles_many_records() -> None:
    world = Timed(1)
    for _ in range(20):
        world.members[0].writes_log()
    world.run(5)
    assert world.settles()
    records = [record for feed in world.feeds.values() for _, each in feed for record in each]
    assert sum(isinstance(record, Ack) for record in records) <= 4


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [3, 5])
def test_a_lost_leader_is_replaced_within_two_timeouts(count: int, seed: int) -> None:
    world = Timed(seed, count)
    world.members[0].on = False
    took = world.goes_on(2 * PACE.patience_s)
    assert took >= PACE.patience_s - PACE.lead_every_s
    assert world.leaders() != {0}


def test_the_lost_leader_follows_when_it_is_back() -> None:
    world = Timed(3)
    world.members[0].on = False
    world.goes_on(2 * PACE.patience_s)
    world.members[0].on = True
    world.run(2)
    assert world.leaders() == {number for number in world.leaders() if number}
    before = votes(world)
    world.goes_on(10)
    world.run(5 * PACE.patience_s)
    assert votes(world) == before


@pytest.mark.parametrize("seed", range(5))
def test_many_candidates_at_once_end_with_one_leader(seed: int) -> None:
    world = Timed(seed, 5)
    for member in world.members[1:]:
        member.delegate = Delegate(PACE, Random(7).random, 0.0)  # all draw alike
        member.delegate._began_s = 0.0
    world.members[0].on = False
    assert world.goes_on(3 * PACE.patience_s) > 0


def test_a_minority_writes_no_votes_and_a_majority_goes_on() -> None:
    world = Timed(2, 5)
    world.split({0, 1}, {2, 3, 4})
    world.run(3 * PACE.patience_s)
    assert world.leaders() & {2, 3, 4}
    assert 0 in world.leaders()  # it cannot know
    assert not any(
        isinstance(record, Vote)
        for number in (0, 1)
        for _, records in world.feeds[world.members[number].me]
        for record in records
    )
    world.split({0, 1, 2, 3, 4})
    world.goes_on(10)
    assert not world.leaders() & {0, 1}


def test_two_two_and_one_wait_and_go_on_after_healing() -> None:
    world = Timed(4, 5)
    world.split({0, 1}, {2, 3}, {4})
    world.run(5 * PACE.patience_s)
    assert votes(world) == 0
    world.split({0, 1, 2, 3, 4})
    assert world.goes_on(2 * PACE.patience_s) < PACE.patience_s


def test_a_term_that_was_opened_and_that_nobody_learned_of_is_bypassed() -> None:
    world = Timed(5)
    world.members[0].on = False
    one, two = world.members[1:]
    world.run(2 * PACE.patience_s, lambda: one.view().shard.newest.number > 0)  # type: ignore[union-attr]
    opener = min(world.leaders())
    world.members[opener].on = False
    world.members[0].on = True
    world.goes_on(4 * PACE.patience_s)
    assert world.leaders() != {opener}
    world.members[opener].on = True
    world.goes_on(10)
    assert world.leaders() != {opener}
    assert one is not two


def test_a_leader_that_too_many_voted_past_stands_again_at_once() -> None:
    world = Timed(6)
    world.members[0].on = False
    world.run(2 * PACE.patience_s, lambda: votes(world) == 2)
    assert votes(world) == 2
    bid = max(
        (record for _, records in world.feeds[world.members[1].me] for record in records),
        key=lambda record: isinstance(record, Vote),
    )
    for member in world.members[1:]:
        if member.me.site == bid.candidate:  # type: ignore[union-attr]
            member.on = False  # before it opens
    world.members[0].on = True
    world.goes_on(PACE.patience_s)
    assert world.leaders() == {0} or len(world.leaders()) == 1


def test_a_bound_voter_is_won_back_when_it_is_needed() -> None:
    """One voter is bound to a later term, the other gone: the leader and it are a majority."""
    world = Timed(7)
    world.members[1].write(
        Vote(
            world.shard,
            1,
            world.members[1].me.site,
            0,
            1,
            world.feeds[world.members[0].me][0][0].id,
        )
    )
    world.members[2].on = False
    world.members[0].writes_log()
    world.goes_on(3 * PACE.patience_s)


def test_a_revoked_leader_is_replaced_at_once() -> None:
    world = Timed(8)
    world.revoked = {world.members[0].me.site}
    took = world.run(PACE.patience_s, lambda: bool(world.leaders() - {0}))
    assert took <= 2 * PACE.round_s
    world.goes_on(PACE.patience_s)


def test_a_revoked_voters_seat_is_closed_and_settles_nothing_more() -> None:
    world = Timed(9)
    world.revoked = {world.members[2].me.site}
    world.run(5)
    leader = world.members[0]
    assert [close.seat for close in leader.current().shard.closes] == [world.members[2].me]
    before = entries(world)
    world.run(5)
    assert entries(world) == before  # closed once
    world.members[1].on = False
    leader.writes_log()
    world.run(5)
    assert not world.settles()


def test_a_leader_that_goes_on_under_a_later_generation_is_replaced_at_once() -> None:
    world = Timed(10)
    world.members[0].is_restored()
    world.members[0].reports()
    took = world.run(PACE.patience_s, lambda: bool(world.leaders() - {0}))
    assert took <= 2 * PACE.round_s
    world.goes_on(PACE.patience_s)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [3, 5])
def test_after_any_faults_any_majority_goes_on(count: int, seed: int) -> None:
    world = Timed(seed, count)
    for _ in range(6):
        for member in world.members:
            member.on = world.random.random() < 0.7
        numbers = set(range(count))
        part = set(world.random.sample(sorted(numbers), world.random.randint(0, count)))
        world.split(part, numbers - part)
        for number in world.leaders():
            world.members[number].writes_log()
        world.run(world.random.uniform(0, 2 * PACE.patience_s))
        if world.random.random() < 0.3:
            world.random.choice(world.members).crashes()
    world.split(set(range(count)))
    left = world.random.sample(world.members, count // 2 + 1)
    for member in world.members:
        member.on = member in left
    assert world.goes_on(5 * PACE.patience_s) > 0


def test_a_candidate_waits_a_while_for_the_greatest_cut_and_then_does_without() -> None:
    shard = council(5)
    heads = {1: (0, at(ROOT, 5)), 2: (0, at(ROOT, 6)), 3: (0, at(ROOT, 6)), 4: (0, at(ROOT, 9))}
    seen = view(shard, votes=cast(shard, heads), seats={ME: said(1)}, whole=6)
    delegate = Delegate(PACE, Random(1).random, 0.0)
    plan = delegate.plan(seen, 100.0)
    assert not plan.write
    assert plan.again_s <= 100 + PACE.round_s
    assert not delegate.plan(seen, 99 + PACE.round_s).write
    assert delegate.plan(seen, 100 + PACE.round_s).write
    [record] = delegate.records(seen, lambda feed: None, 100 + PACE.round_s)
    assert isinstance(record, Open)
    assert (record.seq, len(record.votes)) == (6, 3)


def test_a_candidate_that_holds_the_greatest_cut_opens_at_once() -> None:
    shard = council(5)
    heads = {1: (0, at(ROOT, 5)), 2: (0, at(ROOT, 6)), 3: (0, at(ROOT, 6))}
    seen = view(shard, votes=cast(shard, heads), seats={ME: said(1)}, whole=6)
    [record] = Delegate(PACE, Random(1).random, 0.0).records(seen, lambda feed: None, 100.0)
    assert isinstance(record, Open)


def test_an_old_bid_is_not_answered() -> None:
    shard = council()
    bid = Ballot(vote(shard.id, 1, OTHER, 0, at(ROOT, 1)), at(OTHER, 9))
    seen = view(shard, votes=[bid])
    delegate = Delegate(PACE, Random(1).random, 0.0)
    assert not delegate.plan(seen, PACE.patience_s - 3 * PACE.round_s).write  # the leader is heard
    assert not delegate.plan(seen, PACE.patience_s + 1).write
    fresh = Delegate(PACE, Random(1).random, 0.0)
    assert fresh.plan(seen, PACE.patience_s + 1).write
    [ack, record] = fresh.records(seen, lambda feed: None, PACE.patience_s + 1)
    assert isinstance(ack, Ack)
    assert record == vote(shard.id, 1, OTHER, 0, at(ROOT, 7))


def test_a_leader_is_heard_by_its_word_for_the_newest_term_or_one_not_known_yet() -> None:
    def silent_until(lead: Lead | None) -> float:
        delegate = Delegate(PACE, Random(1).random, 0.0)
        if lead is not None:
            delegate.hear(seen, lead, 50.0)
        times = [each * 10.0 for each in range(20)]
        return next(s for s in times if delegate.answer(seen, OTHER.site, s) is Reply.AGREED)

    shard = later(council(), 1, 0, 4, council().newest, 3)
    seen = view(shard)
    entry = at(ROOT, 9)
    for term, leader, heard_s in ((1, ROOT, 110), (2, OTHER, 110), (1, OTHER, 60), (0, ROOT, 60)):
        lead = Lead(leader, 1, 1, shard.id, term, entry.seq, entry.id)
        assert silent_until(lead) == heard_s
    assert silent_until(None) == 60


def test_a_word_of_a_term_that_never_opens_is_believed_for_a_while_and_of_strangers_never() -> None:
    def silent_until(leader: FeedID, term: int) -> float:
        delegate = Delegate(PACE, Random(1).random, 0.0)
        for now_s in range(1000):
            if now_s % 10 == 5:
                lead = Lead(leader, 1, now_s, seen.shard.id, term, 9, at(leader, 9).id)
                delegate.hear(seen, lead, float(now_s))
            if delegate.answer(seen, OTHER.site, float(now_s)) is Reply.AGREED:
                return now_s
        return float("inf")

    seen = view()
    assert PACE.patience_s < silent_until(OTHER, 1) <= 2 * PACE.patience_s + 10
    assert silent_until(seat(7), 1) == PACE.patience_s
    assert silent_until(OTHER, limits.TERM_MAX) == PACE.patience_s


@pytest.mark.parametrize("count", [3, 5])
def test_a_member_that_votes_for_a_far_term_keeps_nobody_from_going_on(count: int) -> None:
    """It also says that it could vote above that term only, and can then follow nobody."""
    world = Timed(1, count)
    liar = world.members[-1]
    held = liar.current().shard.terms[0].began
    liar.write(Vote(world.shard, limits.TERM_MAX - 1, liar.me.site, 0, held.seq, held.id))
    world.run(5)
    for _ in range(3):
        [leader] = world.leaders()
        if leader == liar.number:
            break
        world.members[leader].on = False
        if count == 3:  # the two others are no majority without the liar's vote
            world.run(4 * PACE.patience_s)
            world.members[leader].on = True
        world.goes_on(4 * PACE.patience_s)
        world.members[leader].on = True
        world.run(5)
    honest = [member.current() for member in world.members[:-1]]
    assert all(seen.seat.voted < 100 for seen in honest)
    assert all(seen.shard.newest.number < 100 for seen in honest)


def test_who_asks_for_ever_and_never_stands_keeps_nobody_from_standing() -> None:
    delegate = Delegate(PACE, Random(1).random, 0.0)
    seen = view()
    now_s = 2 * PACE.patience_s
    stood = []
    for _ in range(100):
        now_s += PACE.round_s / 4
        assert delegate.answer(seen, OTHER.site, now_s) is Reply.AGREED
        if delegate.plan(seen, now_s).stand:
            yes = [(ROOT, Answer(Reply.AGREED, 0, 1))]
            stood.append(delegate.agreed(seen, yes, now_s))
            break
    assert stood == [1]
    assert now_s <= 2 * PACE.patience_s + 2 * PACE.round_s
