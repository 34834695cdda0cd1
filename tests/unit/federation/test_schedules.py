"""Many voters, any order of delivery, crashes and partitions: what is settled is never lost.

Each rule that looks fussy is broken once: then these schedules must find the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest

import federation.election
import federation.ledger
import federation.opening
import federation.voting
from federation.election import Choice
from federation.ids import EntryID, EntryRef
from federation.opening import Ballot, as_ref
from federation.records import Open, Vote
from federation.settle import Acked, Seat, settled, with_ack, with_log_entry
from federation.voting import View
from tests.unit.federation.voters import Broken, Voter, World

SCHEDULES = 200
STEPS = 60

right_cut = federation.opening.base_and_cut

Act = Callable[[World], bool]


def anybody(act: Callable[[Voter], bool]) -> Act:
    return lambda world: act(world.random.choice(world.voters))


ACTS: dict[Act, float] = {
    World.gossip: 8,
    World.campaign: 1,
    World.round: 1,
    anybody(Voter.writes_log): 3,
    anybody(Voter.reports): 0.5,
    anybody(Voter.acks): 4,
    anybody(Voter.stands): 0.1,
    anybody(Voter.answers): 2,
    anybody(Voter.opens): 3,
    anybody(Voter.crashes): 0.2,
}
RARE: dict[Act, float] = {
    anybody(Voter.closes): 0.3,
    anybody(lambda voter: voter.is_restored()): 0.3,
}


def run(
    seed: int,
    count: int = 3,
    world_class: type[World] = World,
    acts: dict[Act, float] = ACTS,
) -> World:
    """One schedule, drawn from the seed. Raises Broken."""
    world = world_class(Random(seed), count)
    drawn = world.random.choices(list(acts), list(acts.values()), k=STEPS)
    for act in drawn:
        act(world)
    return world


@pytest.mark.parametrize("count", [1, 3, 5])
def test_nothing_settled_is_lost_whatever_arrives_when(count: int) -> None:
    terms = [len(run(seed, count).reader.shard.terms) for seed in range(SCHEDULES)]  # type: ignore[union-attr]
    assert max(terms) > 4  # the schedules are worth something


@pytest.mark.parametrize("count", [3, 5])
def test_nor_when_seats_are_closed_and_disks_put_back(count: int) -> None:
    for seed in range(SCHEDULES):
        run(seed, count, acts=ACTS | RARE)


@pytest.mark.parametrize("count", [3, 5])
def test_everybody_who_has_all_entries_concludes_the_same(count: int) -> None:
    for seed in range(SCHEDULES // 4):
        world = run(seed, count, acts=ACTS | RARE)
        world.heal(world.voters)
        held = {voter: (voter.ledger.shard, voter.ledger.seats) for voter in world.voters}
        shard, seats = held.pop(world.voters[0])
        for other_shard, other_seats in held.values():
            if shard is None or other_shard is None:  # the founding was lost with a disk
                assert shard is other_shard
                continue
            assert other_shard.terms == shard.terms
            assert settled(other_shard, other_seats) == settled(shard, seats)


@pytest.mark.parametrize("count", [3, 5])
def test_any_majority_that_is_left_opens_a_term_and_settles_all_that_was(count: int) -> None:
    for seed in range(SCHEDULES // 2):
        world = run(seed, count)
        left = world.random.sample(world.voters, count // 2 + 1)
        world.heal(left)
        candidate = left[0]
        assert candidate.stands()
        world.heal(left)
        for voter in left[1:]:
            assert voter.answers(lambda bids: bids[0])
        world.heal(left)
        assert candidate.opens(), world.log
        world.heal(left)
        for voter in left[1:]:
            assert voter.acks()
        world.heal(left)
        shard = candidate.ledger.shard
        assert shard is not None
        found = settled(shard, candidate.ledger.seats)
        assert found is not None
        assert found[0] == shard.newest
        assert found[0].leader == candidate.me.site


# Rules broken on purpose


def unbound(seat: Seat, index: int, ack: Acked, *, here: bool = True) -> Seat:
    free = with_ack(replace(seat, voted=0), index, ack, here=here)
    return replace(free, voted=seat.voted)


class LateAcks(Voter):
    def acks(self) -> bool:
        view = self.view()
        if view is None:
            return False
        seats = {**view.seats, self.me: replace(view.seat, voted=0)}
        ack = federation.voting.ack_due(replace(view, seats=seats))
        if ack is not None:
            self.write(ack)
        return ack is not None


class WithoutResults(Voter):
    def holds(self, ref: EntryRef) -> bool:
        return ref.feed.lane == 1 or super().holds(ref)


class WrongCut(Voter):
    """Opens with all its votes, and base and cut by another rule."""

    def choices(self, view: View) -> list[Choice]:
        cast = [
            ballot
            for ballot in view.votes
            if (ballot.vote.term, ballot.vote.candidate) == (view.seat.voted, self.me.site)
        ]
        if view.seat.voted <= view.shard.newest.number or len(cast) <= len(view.shard.seats) // 2:
            return []
        number, (seq, entry) = federation.opening.base_and_cut(cast)
        base = view.shard.term(number)
        if base is None:
            return []
        votes = [as_ref(ballot.at) for ballot in cast]
        record = Open(view.shard.id, view.seat.voted, votes, number, seq, entry)
        return [Choice(record, base, EntryRef(base.feed, seq, entry))]


def own_head(cast: Sequence[Ballot]) -> tuple[int, tuple[int, EntryID]]:
    own = [ballot for ballot in cast if ballot.vote.candidate == ballot.voter.site]
    base, head = right_cut(cast)
    return base, own[0].head if own and own[0].vote.base == base else head


def ignore_base(cast: Sequence[Ballot]) -> tuple[int, tuple[int, EntryID]]:
    ballot = max(cast, key=lambda each: (each.vote.seq, each.vote.base))
    return ballot.vote.base, ballot.head


def short_heads(view: federation.voting.View, term: int, candidate: bytes) -> Vote | None:
    vote = federation.voting.vote_for(view, term, candidate)  # type: ignore[arg-type]
    base = view.shard.term(vote.base) if vote else None
    if vote is None or base is None:
        return vote
    return replace(vote, seq=base.began.seq, entry=base.began.id)


def caught(world_class: type[World]) -> str:
    """What the schedules find; "" for nothing."""
    for seed in range(20 * SCHEDULES):
        try:
            run(seed, 3 + 2 * (seed % 2), world_class)
        except Broken as broken:
            return str(broken).splitlines()[-1]
    return ""


def with_voters(voter_class: type[Voter]) -> type[World]:
    return type("Mutated", (World,), {"voter": voter_class})


def test_late_acks_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation.ledger, "with_ack", unbound)
    assert "I2" in caught(with_voters(LateAcks))


def test_late_acks_of_the_leader_itself_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(seat: Seat, entry: EntryRef, records: int, term: int) -> Seat:
        free = with_log_entry(replace(seat, voted=0), entry, records, term)
        return replace(free, voted=seat.voted)

    monkeypatch.setattr(federation.ledger, "with_log_entry", late)
    assert "I2" in caught(World)


def test_acks_of_an_entry_in_which_the_leader_votes_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take = federation.ledger.Ledger.take

    def early(ledger: federation.ledger.Ledger, at: EntryRef, records: Sequence[object]) -> None:
        """The entry counts as acked by its author before the vote in it."""
        votes = [row for row, record in enumerate(records) if isinstance(record, Vote)]
        take(ledger, at, records[: votes[0]] if votes else records)  # type: ignore[arg-type]
        if votes:
            author = ledger._authors[at.feed]
            author.seat = replace(author.seat, read=(at.seq, -1))
            take(ledger, at, records)  # type: ignore[arg-type]

    monkeypatch.setattr(federation.ledger.Ledger, "take", early)
    assert "I2" in caught(World)


def test_acks_without_the_results_are_caught() -> None:
    assert "D1" in caught(with_voters(WithoutResults))


@pytest.mark.parametrize("wrong", [own_head, ignore_base])
def test_another_cut_is_caught(monkeypatch: pytest.MonkeyPatch, wrong: object) -> None:
    monkeypatch.setattr(federation.opening, "base_and_cut", wrong)
    assert "I2" in caught(with_voters(WrongCut))


def test_heads_below_what_was_acked_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.federation.voters.vote_for", short_heads)
    assert "I2" in caught(World)
