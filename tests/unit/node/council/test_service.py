"""The council's service over several sites: acks in time, leads, take-overs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from random import Random

import pytest
from twisted.internet.defer import Deferred

from federation.canvass import CANVASS, Lead, Question, read_answer
from federation.errors import RemoteRefused
from federation.holding import ENTRIES_A_CALL
from federation.ids import EntryID, EntryRef, Lane, ShardID
from federation.opening import as_ref
from federation.records import Accept, Ack, Adopt, Dataset, Grant, Move, SeatClose, Vote
from federation.segments import segments
from federation.settle import Seats
from federation.shard import Shard, found
from federation.voting import Reply
from node.council.service import ACK_GATHER_S
from tests.fakes.councils import PACE, CouncilNet, CouncilSite
from tests.unit.federation.builders import DATASET, PERSON, results


@pytest.fixture
def net() -> CouncilNet:
    net = CouncilNet(3)
    net.found()
    return net


def log(net: CouncilNet, site: CouncilSite) -> Grant:
    return Grant(net.shard, DATASET, [0], [0, 1], site.id)


def written(site: CouncilSite, kind: type) -> list[object]:
    entries = site.facts.feeds.entries(site.me, 0, 10_000)
    return [each for entry in entries for each in entry.records() if isinstance(each, kind)]


def entries(net: CouncilNet) -> int:
    return sum(site.facts.feeds.tip(site.me).seq for site in net.sites)


def goes_on(net: CouncilNet, seconds: float) -> float:
    """How long until there is one leader, and what it writes is settled."""
    took = net.run(seconds, lambda: len(net.leaders()) == 1)
    assert len(net.leaders()) == 1
    [leader] = net.leaders()
    entry = net.sites[leader].write([log(net, net.sites[leader])])
    took += net.run(seconds - took, lambda: net.settled_at(leader) == entry.ref)
    assert net.settled_at(leader) == entry.ref
    return took


# Acks


def test_voters_ack_what_the_leader_writes_and_it_is_settled(net: CouncilNet) -> None:
    assert goes_on(net, 5) < ACK_GATHER_S + 1
    assert written(net.sites[1], Ack)
    assert not written(net.sites[0], Ack)


def test_acks_of_many_records_gather_for_a_second(net: CouncilNet) -> None:
    before = len(written(net.sites[1], Ack))
    for _ in range(15):
        net.sites[0].write([log(net, net.sites[0])])
        net.run(0.05)
    net.run(2)
    assert len(written(net.sites[1], Ack)) == before + 1


def test_a_submission_is_acked_at_once(net: CouncilNet) -> None:
    entry = net.sites[0].write([Dataset(net.shard, b"{}", b"signature", PERSON)])
    took = net.run(5, lambda: net.settled_at(0) == entry.ref)
    assert took < ACK_GATHER_S / 2


def test_nothing_is_acked_before_the_results_that_it_accepts_are_here(net: CouncilNet) -> None:
    net.split({0}, {1, 2})
    accepted = net.sites[0].write([results()], Lane.RESULTS).ref
    held = net.sites[0].facts.feeds.entries(accepted.feed, 0, 1)
    accept = Accept(net.shard, net.sites[0].id, 1, accepted.seq, accepted.id)
    entry = net.sites[0].write([accept])
    control = net.sites[0].facts.feeds.entries(net.sites[0].me, entry.header.seq - 1, 1)
    net.sites[1].take(control)
    net.run(5)
    before = written(net.sites[1], Ack)
    net.sites[1].take(held)
    net.run(2)
    acks = written(net.sites[1], Ack)
    assert len(acks) == len(before) + 1
    assert acks[-1].seq == entry.header.seq  # type: ignore[attr-defined]


def test_what_comes_costs_a_look_only_at_the_shards_of_which_it_speaks(net: CouncilNet) -> None:
    leader, voter = net.sites[:2]
    for number in range(20):
        leader.write([found(leader.me, bytes([number]) * 16, [site.me for site in net.sites])])
    net.run(3)
    voter.heard = []  # leaders' words, one a shard, are another matter
    looked_at: list[ShardID] = []
    seats = voter.facts.seats

    def looked(id_: ShardID) -> Seats:
        looked_at.append(id_)
        return seats(id_)

    voter.facts.seats = looked  # type: ignore[method-assign]
    for _ in range(4):
        leader.write([results()], Lane.RESULTS)
        net.run(1)
    assert not looked_at
    entry = leader.write([log(net, leader)])
    net.run(3)
    assert set(looked_at) == {net.shard}
    assert net.settled_at(0) == entry.ref


def test_an_idle_council_writes_nothing(net: CouncilNet) -> None:
    goes_on(net, 5)
    net.run(3)
    before = entries(net)
    net.run(20 * PACE.patience_s)
    assert entries(net) == before
    assert net.leaders() == {0}


def test_a_council_of_one_sends_and_writes_nothing() -> None:
    net = CouncilNet(1)
    net.found()
    entry = net.sites[0].write([log(net, net.sites[0])])
    net.run(10 * PACE.patience_s)
    assert net.settled_at(0) == entry.ref
    assert net.sites[0].leads == []
    assert entries(net) == 2


def test_an_adopt_is_acked_soon_however_long_the_log_from_which_its_dataset_came() -> None:
    net = CouncilNet(4)
    net.found(3)
    founding = found(net.sites[3].me, bytes(16), [net.sites[3].me])
    net.sites[3].write([founding])
    grant = Grant(founding.shard, DATASET, [0], [0, 1], net.sites[3].id)
    for _ in range(ENTRIES_A_CALL):
        net.sites[3].write([grant])
    move = net.sites[3].write([Move(founding.shard, DATASET, net.shard)]).ref
    net.run(5)
    adopt = Adopt(net.shard, DATASET, founding.shard, as_ref(move), [as_ref(move)])
    entry = net.sites[0].write([adopt])
    assert net.run(30, lambda: net.settled_at(0) == entry.ref) < 5


# Leads


def test_a_leader_says_so_after_a_commit_of_its_own(net: CouncilNet) -> None:
    said = len(net.terms_said())
    net.run(3 * PACE.lead_every_s)
    assert said + 2 <= len(net.terms_said()) <= said + 4
    assert set(net.terms_said()) == {0}


def test_a_leader_whose_disk_stands_still_is_replaced(net: CouncilNet) -> None:
    net.sites[0].disk = False
    said = len(net.sites[0].leads)
    net.run(2 * PACE.patience_s, lambda: bool(net.leaders() - {0}))
    assert net.leaders() - {0}
    assert len(net.sites[0].leads) == said


def test_a_lead_in_anothers_name_counts_for_nothing(net: CouncilNet) -> None:
    net.run(PACE.lead_every_s + 1)
    genuine = net.sites[0].leads[-1]
    net.switch(0, False)

    def forge() -> None:
        for fn in net.sites[1].heard + net.sites[2].heard:
            fn(net.sites[2].id, genuine)
            fn(net.sites[2].id, b"garbage")
        net.clock.callLater(1, forge)

    forge()
    net.run(2 * PACE.patience_s, lambda: bool(net.leaders()))
    assert net.leaders()


def test_a_shard_that_cannot_be_looked_at_silences_no_other(net: CouncilNet) -> None:
    other = found(net.sites[0].me, b"another nonce.. ", [site.me for site in net.sites])
    net.sites[0].write([other])
    net.run(3)
    shard = net.sites[0].facts.shard

    def looked(id_: ShardID) -> Shard | None:
        if id_ == net.shard:
            raise ZeroDivisionError("a bug")
        return shard(id_)

    net.sites[0].facts.shard = looked  # type: ignore[method-assign]
    net.run(4 * PACE.patience_s)
    terms = net.sites[1].facts.shard(other.shard)
    assert terms is not None
    assert terms.newest.number == 0


def test_a_look_that_fails_is_followed_by_another(net: CouncilNet) -> None:
    site = net.sites[1]
    councils = site.facts.councils

    def broken() -> Sequence[ShardID]:
        raise OSError("the disk is slow")

    net.sites[2].council.stop()  # it answers, and does nothing by itself
    site.facts.councils = broken  # type: ignore[method-assign]
    for _ in range(300):
        with suppress(OSError):
            net.clock.advance(0.5)
    site.facts.councils = councils  # type: ignore[method-assign]
    net.switch(0, False)
    net.run(4 * PACE.patience_s)
    assert written(site, Vote)


def test_a_site_without_a_seat_cannot_speak_for_a_leader() -> None:
    net = CouncilNet(4)
    net.found(3)
    net.switch(0, False)
    outsider = net.sites[3]

    def pretend() -> None:
        ref = outsider.facts.feeds.tip(net.sites[0].me)
        lead = Lead(outsider.me, 1, 1, net.shard, 99, ref.seq, EntryID(ref.id))
        outsider.flood("lead", lead.pack())
        net.clock.callLater(1, pretend)

    pretend()
    net.run(2 * PACE.patience_s, lambda: bool(net.leaders()))
    assert net.leaders()


# Take-overs


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_the_work_of_a_lost_leader_goes_on_within_two_timeouts(count: int, seed: int) -> None:
    net = CouncilNet(count, seed)
    net.found()
    net.switch(0, False)
    assert goes_on(net, 2 * PACE.patience_s) > PACE.patience_s / 2
    net.switch(0, True)
    net.run(5)
    assert 0 not in net.leaders()
    goes_on(net, 5)


def test_a_cut_off_leader_goes_on_in_ignorance_and_follows_when_it_knows(net: CouncilNet) -> None:
    net.split({0}, {1, 2})
    net.run(2 * PACE.patience_s)
    assert 0 in net.leaders()
    assert len(net.leaders()) == 2
    assert not written(net.sites[0], Vote)
    net.split({0, 1, 2})
    goes_on(net, 5)
    assert 0 not in net.leaders()


def test_a_site_that_stops_between_its_votes_and_its_open_goes_on_after_it_wakes(
    net: CouncilNet,
) -> None:
    net.switch(0, False)
    net.run(2 * PACE.patience_s, lambda: any(written(site, Vote) for site in net.sites[1:]))
    [candidate] = [n for n in (1, 2) if written(net.sites[n], Vote)]
    net.switch(candidate, False)
    net.switch(0, True)
    goes_on(net, 4 * PACE.patience_s)
    net.switch(candidate, True)
    goes_on(net, 2 * PACE.patience_s)


def test_a_crash_forgets_no_promise(net: CouncilNet) -> None:
    net.switch(0, False)
    net.run(2 * PACE.patience_s, lambda: bool(net.leaders()))
    for site in net.sites[1:]:
        site.crash()
    goes_on(net, 3 * PACE.patience_s)
    for site in net.sites:
        terms = [vote.term for vote in written(site, Vote)]  # type: ignore[attr-defined]
        assert terms == sorted(set(terms))


def test_a_minority_asks_and_writes_no_vote(net: CouncilNet) -> None:
    net.split({0}, {1}, {2})
    before = entries(net)
    net.run(6 * PACE.patience_s)
    assert entries(net) == before


def test_a_revoked_voters_seat_is_closed_by_the_leader(net: CouncilNet) -> None:
    net.revoke(net.sites[2])
    net.run(3)
    [close] = written(net.sites[0], SeatClose)
    assert close.site == net.sites[2].id  # type: ignore[attr-defined]
    goes_on(net, 5)


def test_a_revoked_leader_is_replaced_at_once(net: CouncilNet) -> None:
    net.revoke(net.sites[0])
    assert net.run(PACE.patience_s, lambda: bool(net.leaders() - {0})) < PACE.round_s


# What others ask


def answer(site: CouncilSite, asking: CouncilSite, body: bytes) -> object:
    found: list[object] = []
    done = Deferred.fromCoroutine(site.handlers[CANVASS](asking.id, body))
    done.addBoth(found.append)
    return found[0]


def test_a_canvass_is_answered_with_what_binds_the_voter(net: CouncilNet) -> None:
    one, two = net.sites[1:]
    said = read_answer(answer(one, two, Question(net.shard, 1).pack()))  # type: ignore[arg-type]
    assert (said.reply, said.above, said.generation) == (Reply.LEADER_HEARD, 0, 1)
    net.switch(0, False)
    net.run(PACE.patience_s - 1)
    asked = read_answer(answer(one, two, Question(net.shard, 1).pack()))  # type: ignore[arg-type]
    assert asked.reply in (Reply.LEADER_HEARD, Reply.AGREED)


def test_a_canvass_for_another_generation_or_shard_is_not_agreed_to(net: CouncilNet) -> None:
    zero, one = net.sites[:2]
    said = read_answer(answer(one, zero, Question(net.shard, 2).pack()))  # type: ignore[arg-type]
    assert said.reply is Reply.CANNOT_LEAD
    unknown = Question(b"?" * 32, 1).pack()  # type: ignore[arg-type]
    assert read_answer(answer(one, zero, unknown)).reply is Reply.UNKNOWN_SHARD  # type: ignore[arg-type]


def test_a_canvass_that_is_none_is_refused(net: CouncilNet) -> None:
    failure = answer(net.sites[1], net.sites[2], b"garbage")
    assert failure.check(RemoteRefused)  # type: ignore[attr-defined]


# For people


def test_what_is_under_way_is_shown(net: CouncilNet) -> None:
    assert net.sites[0].council.standing(net.shard).silent_s is None  # type: ignore[union-attr]
    net.switch(0, False)
    net.run(10)
    standing = net.sites[1].council.standing(net.shard)
    assert standing is not None
    assert standing.silent_s is not None
    assert 10 <= standing.silent_s <= 10 + PACE.lead_every_s
    assert (standing.vote_term, standing.voted) == (0, [])
    net.run(2 * PACE.patience_s, lambda: any(written(site, Vote) for site in net.sites[1:]))
    net.run(0.2)
    seen = [site.council.standing(net.shard) for site in net.sites[1:]]
    assert any(each and (each.vote_term == 1 or each.vote_term == 0) for each in seen)
    assert net.sites[1].council.standing(b"?" * 32) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("seed", range(6))
def test_after_any_faults_any_majority_goes_on_and_loses_nothing(count: int, seed: int) -> None:
    net, random = CouncilNet(count, seed), Random(seed)
    net.found()
    told: set[EntryRef] = set()
    for _ in range(5):
        for number, site in enumerate(net.sites):
            fault = random.random()
            if site.on and fault < 0.2:
                net.switch(number, False)
            elif not site.on and fault < 0.6:
                net.switch(number, True)
            elif site.on and fault < 0.3:
                site.crash()
        part = set(random.sample(range(count), random.randint(0, count)))
        net.split(part, set(range(count)) - part)
        for number in net.leaders():
            net.sites[number].write([log(net, net.sites[number])])
        net.run(random.uniform(0, 2 * PACE.patience_s))
        told |= {ref for number in range(count) if (ref := net.settled_at(number)) is not None}
    net.split(set(range(count)))
    left = set(random.sample(range(count), count // 2 + 1))
    for number in range(count):
        net.switch(number, number in left)
    net.run(1)
    goes_on(net, 6 * PACE.patience_s)
    [leader] = net.leaders()
    shard = net.sites[leader].facts.shard(net.shard)
    assert shard is not None
    path = segments(shard)
    for ref in told:
        assert any(
            part.feed == ref.feed and (part.through is None or ref.seq <= part.through.seq)
            for part in path
        ), f"{ref} was settled and is lost"
