"""The second reading of shards sees what is settled, and what must never happen."""

from __future__ import annotations

import pytest

from federation.entry import seal
from federation.ids import FeedID, Lane, SiteID
from federation.records import Accept, Ack, Dataset, FoundCouncil, Open, SeatClose, Vote
from federation.shard import shard_id
from keys.identity import SiteKey
from tests.simulation.terms import holders, read_shards, two_leaders
from tests.unit.federation.builders import results

KEYS = [SiteKey(bytes([number + 1]) * 32) for number in range(3)]
NONCE = b"n" * 16
SHARD = shard_id(SiteID(KEYS[0].site), NONCE)


class Council:
    """Three voters, and what each has written. Site 0 founded the shard."""

    def __init__(self):
        self.feeds = {}
        sites = [SiteID(key.site) for key in KEYS]
        self.write(0, FoundCouncil(SHARD, NONCE, sites, [1, 1, 1]))

    def feed(self, number, lane=Lane.CONTROL):
        return FeedID(SiteID(KEYS[number].site), 1, lane)

    def write(self, number, *records, lane=Lane.CONTROL):
        entries = self.feeds.setdefault(self.feed(number, lane), [])
        prev = entries[-1].id if entries else b""
        entry = seal(KEYS[number], self.feed(number, lane), len(entries) + 1, prev, 1, records)
        entries.append(entry)
        return entry

    def log(self, number):
        return self.write(number, Dataset(SHARD, b"d", b"s", b"k" * 32))

    def ack(self, number, term, entry):
        header = entry.header
        ack = Ack(SHARD, term, header.site, header.generation, header.seq, entry.id)
        return self.write(number, ack)

    def vote(self, number, term, candidate, base, head):
        vote = Vote(SHARD, term, KEYS[candidate].site, base, head.header.seq, head.id)
        return self.write(number, vote)

    def open(self, number, term, votes, base, cut):
        refs = [[v.header.site, v.header.generation, v.header.seq, v.id] for v in votes]
        return self.write(number, Open(SHARD, term, refs, base, cut.header.seq, cut.id))

    @property
    def reading(self):
        return read_shards(self.feeds)[SHARD]

    @property
    def settled(self):
        return [self.reading.settled[term] for term in self.reading.terms]


@pytest.fixture
def council():
    return Council()


def test_a_record_is_settled_once_a_majority_has_it(council):
    entry = council.log(0)
    assert council.settled == [0]
    council.ack(1, 0, entry)
    assert council.settled == [2]


def test_an_ack_after_a_vote_for_a_later_term_does_not_count(council):
    entry = council.log(0)
    council.vote(1, 1, 2, 0, entry)
    council.ack(1, 0, entry)
    assert council.settled == [0]


def test_a_leaders_records_after_its_own_later_vote_do_not_count(council):
    entry = council.log(0)
    council.vote(0, 1, 1, 0, entry)
    council.ack(1, 0, council.log(0))
    assert council.settled == [2]


def elected(council):
    """Site 1 leads term 1 behind the first two entries of site 0."""
    entry = council.log(0)
    council.ack(1, 0, entry)
    votes = [council.vote(number, 1, 1, 0, entry) for number in (1, 2)]
    return council.open(1, 1, votes, 0, entry)


def test_a_majority_of_votes_opens_a_term_behind_their_greatest_head(council):
    opened = elected(council)
    first, second = council.reading.terms
    assert (second.number, second.feed, second.base, second.cut) == (1, council.feed(1), first, 2)
    council.ack(2, 1, opened)
    assert council.settled == [2, opened.header.seq]
    assert council.reading.faults == []
    log = council.reading.log(second)
    assert [type(act.record).__name__ for act in log] == ["FoundCouncil", "Dataset", "Open"]


def test_what_a_leader_writes_beyond_the_cut_is_no_part_of_the_later_log(council):
    elected(council)
    council.log(0)
    second = council.reading.newest
    assert len(council.reading.log(second)) == 3


@pytest.mark.parametrize("what", ["one vote", "own head", "no majority's base"])
def test_an_open_that_its_votes_do_not_allow_opens_nothing(council, what):
    first, second = council.feeds[council.feed(0)][0], council.log(0)
    votes = [council.vote(1, 1, 1, 0, first), council.vote(2, 1, 1, 0, second)]
    if what == "one vote":
        council.open(1, 1, votes[1:], 0, second)
    elif what == "own head":
        council.open(1, 1, votes, 0, first)
    else:
        council.open(1, 1, votes, 1, second)
    assert [term.number for term in council.reading.terms] == [0]


def test_the_second_vote_of_a_voter_in_a_term_is_none(council):
    entry = council.log(0)
    for candidate in (1, 2):
        votes = [council.vote(number, 1, candidate, 0, entry) for number in (0, candidate)]
        council.open(candidate, 1, votes, 0, entry)
    assert [term.feed for term in council.reading.terms] == [council.feed(0), council.feed(1)]


def test_one_term_with_two_leaders_in_the_eyes_of_two_sites_is_a_fault(council):
    """Site 0 shows one vote to some and another to others."""
    entry = council.log(0)
    other = Council()
    other.log(0)
    readings = []
    for candidate, each in ((1, council), (2, other)):
        votes = [each.vote(number, 1, candidate, 0, entry) for number in (0, candidate)]
        each.open(candidate, 1, votes, 0, entry)
        readings.append(each.reading)
    assert two_leaders(readings[:1]) == []
    assert two_leaders(readings) == ["I1: 2 sites opened term 1"]


def test_a_settled_record_that_a_later_term_lacks_is_a_fault(council):
    """Site 2 lies about its head."""
    first, entry = council.feeds[council.feed(0)][0], council.log(0)
    council.ack(2, 0, entry)
    votes = [council.vote(number, 1, 1, 0, first) for number in (1, 2)]
    council.open(1, 1, votes, 0, first)
    assert council.reading.faults == ["I2: 2 of term 0 is settled, and term 1 lacks it"]


def test_a_closed_seat_settles_and_elects_nothing(council):
    close = council.write(0, SeatClose(SHARD, KEYS[2].site, 1, 0, b""))
    council.ack(2, 0, close)
    assert council.settled == [0]
    council.ack(1, 0, close)
    assert council.settled == [2]
    votes = [council.vote(number, 1, 1, 0, close) for number in (1, 2)]
    council.open(1, 1, votes, 0, close)
    assert len(council.reading.terms) == 1


def test_who_lacks_the_results_that_a_log_names_does_not_hold_it(council):
    result = council.write(2, results(1), lane=Lane.RESULTS)
    accept = council.write(0, Accept(SHARD, KEYS[2].site, 1, 1, result.id))
    term = council.reading.newest
    whole = {council.feed(0): accept.header.seq, council.feed(2, Lane.RESULTS): 1}
    held = {SiteID(key.site): dict(whole) for key in KEYS}
    assert len(holders(council.reading, term, 2, held)) == 3
    del held[SiteID(KEYS[1].site)][council.feed(2, Lane.RESULTS)]
    assert len(holders(council.reading, term, 2, held)) == 2
