"""What the leader of a shard writes, and when."""

from collections.abc import Sequence

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from federation import limits
from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.records import Accept, Grant, Record
from node.changes import DatasetAdded, DatasetChanged, TermOpened, UnitsGranted
from node.lead import Lead
from node.leading.ledger import Ungranted

SITE = SiteID(b"s" * 32)
SHARD = ShardID(b"h" * 32)
FEED = FeedID(SITE, 0, Lane.RESULTS)


class Tables:
    def __init__(self) -> None:
        self.free: dict[int, list[Ungranted]] = {}
        self.left: list[EntryRef] = []
        self.asked: list[tuple[ShardID, SiteID]] = []
        self.strangers: set[tuple[ShardID, SiteID]] = set()

    def ungranted(self, dataset: int) -> Sequence[Ungranted]:
        return self.free.pop(dataset, [])

    def open_datasets(self) -> Sequence[int]:
        return list(self.free)

    def shard_of(self, dataset: int) -> ShardID | None:
        return SHARD

    def unaccepted(self) -> Sequence[EntryRef]:
        return self.left

    def was_granted(self, shard: ShardID, site: SiteID) -> bool:
        self.asked.append((shard, site))
        return (shard, site) not in self.strangers

    def unaccepted_by(self, shard: ShardID) -> Sequence[EntryRef]:
        return self.left if shard == SHARD else []


class House:
    def __init__(self, *, busy: bool = True, shards: Sequence[ShardID] = (SHARD,)) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.tables = Tables()
        self.written: list[Record] = []
        self.lead = Lead(self.clock, SITE, self, self.tables, lambda: shards, lambda: busy)

    def control(self, record: Record, intake: bool = False) -> Deferred[None]:
        self.written.append(record)
        return succeed(None)


def entry(seq: int) -> EntryRef:
    return EntryRef(FEED, seq, EntryID(seq.to_bytes(32, "big")))


def accept(seq: int, shard: ShardID = SHARD) -> Accept:
    return Accept(shard, SITE, 0, seq, entry(seq).id)


def test_the_first_results_after_a_quiet_second_are_accepted_in_their_own_commit() -> None:
    house = House()
    assert house.lead.accept([entry(1)]) == [accept(1)]


def test_what_follows_is_gathered_for_a_second_into_one_accept() -> None:
    house = House()
    house.lead.accept([entry(1)])
    assert house.lead.accept([entry(2)]) == house.lead.accept([entry(3)]) == []
    house.clock.advance(0.99)
    assert house.written == []
    house.clock.advance(0.02)
    assert house.written == [accept(3)]
    house.clock.advance(10)
    assert house.written == [accept(3)]


def test_nothing_is_gathered_when_nothing_more_will_come() -> None:
    house = House(busy=False)
    assert house.lead.accept([entry(1)]) == [accept(1)]
    assert house.lead.accept([entry(2)]) == [accept(2)]


def test_an_accept_that_joined_a_commit_is_not_written_again() -> None:
    house = House()
    house.lead.accept([entry(1)])
    house.lead.accept([entry(2)])
    house.clock.rightNow += 1.5  # the timer is late
    assert house.lead.accept([entry(3)]) == [accept(3)]
    house.clock.advance(5)
    assert house.written == []


def test_a_shard_that_is_taken_over_accepts_at_once_what_its_log_lacks() -> None:
    house = House(shards=[ShardID(b"n" * 32)])
    house.tables.left = [entry(7)]
    house.lead.take_over(SHARD)
    assert house.written == [accept(7)]


def test_each_shard_that_is_led_here_accepts_for_itself() -> None:
    other = ShardID(b"o" * 32)
    house = House(shards=[SHARD, other])
    assert house.lead.accept([entry(1)]) == [accept(1), accept(1, other)]


def test_a_restart_accepts_and_grants_what_was_left_before_anything_else() -> None:
    house = House()
    house.tables.left = [entry(7)]
    house.tables.free = {1: [Ungranted(1, DatasetID(b"d" * 32), SHARD, [0, 1], [5, 9])]}
    list_of = Deferred.fromCoroutine(house.lead.start())
    assert list_of.called
    assert house.written == [accept(7), Grant(SHARD, DatasetID(b"d" * 32), [0, 1], [5, 9], SITE)]


@pytest.mark.parametrize("change", [DatasetAdded(1), DatasetChanged(1, "extend")])
def test_new_jobs_are_granted_to_a_site_that_is_alone(
    change: DatasetAdded | DatasetChanged,
) -> None:
    house = House()
    house.tables.free = {1: [Ungranted(1, DatasetID(b"d" * 32), SHARD, [0], [0, 10**6])]}
    house.lead.changed([change])
    assert house.written == [Grant(SHARD, DatasetID(b"d" * 32), [0], [0, 10**6], SITE)]


def test_a_pause_grants_nothing() -> None:
    house = House()
    house.tables.free = {1: [Ungranted(1, DatasetID(b"d" * 32), SHARD, [0], [0, 5])]}
    house.lead.changed([DatasetChanged(1, "pause")])
    assert house.written == []


def test_grants_of_many_ranges_come_in_pieces_that_a_record_can_hold() -> None:
    house = House()
    holes = [bound for job in range(0, 20_000, 2) for bound in (job, job + 1)]
    house.tables.free = {1: [Ungranted(1, DatasetID(b"d" * 32), SHARD, [0], holes)]}
    house.lead.changed([DatasetAdded(1)])
    grants = [record for record in house.written if isinstance(record, Grant)]
    assert [bound for grant in grants for bound in grant.ranges] == holes
    assert max(len(grant.ranges) for grant in grants) <= limits.RANGES_MAX


def test_a_shard_accepts_only_results_of_sites_that_it_granted_units_to() -> None:
    other = ShardID(b"o" * 32)
    house = House(shards=[SHARD, other])
    house.tables.strangers = {(other, SITE)}
    assert house.lead.accept([entry(1)]) == [accept(1)]
    house.tables.strangers = set()
    house.lead.changed([UnitsGranted(1, [64], [0, 5], SITE)])
    house.clock.advance(10)
    assert house.lead.accept([entry(2)]) == [accept(2), accept(2, other)]


def test_the_tables_are_asked_once_who_was_granted_units_until_that_changes() -> None:
    """They look at every task of a shard, which may have had many thousands."""
    other = ShardID(b"o" * 32)
    house = House(busy=False, shards=[SHARD, other])
    house.tables.strangers = {(other, SITE)}
    for seq in range(1, 9):
        house.lead.accept([entry(seq)])
    assert house.tables.asked == [(SHARD, SITE), (other, SITE)]
    house.lead.changed([UnitsGranted(1, [64], [0, 5], SITE)])
    house.lead.accept([entry(9)])
    assert house.tables.asked[2:] == [(other, SITE)]
    house.lead.changed([DatasetChanged(1, "anew")])
    house.lead.accept([entry(10)])
    assert house.tables.asked[3:] == [(SHARD, SITE), (other, SITE)]


def test_what_came_while_a_log_was_folded_again_is_accepted_once_that_is_done() -> None:
    led: list[ShardID] = []
    house = House(shards=led)
    assert house.lead.accept([entry(7)]) == []
    house.tables.left = [entry(7)]
    house.lead.look()
    assert house.written == []
    led.append(SHARD)
    house.lead.look()
    house.lead.look()  # the results cursor may wait for long
    assert house.written == [accept(7)]
    house.tables.left = [entry(8)]
    house.lead.look()
    assert house.written == [accept(7), accept(8)]


def test_a_new_term_takes_again_what_the_one_before_may_have_lost() -> None:
    house = House(busy=False)
    assert house.lead.accept([entry(7)]) == [accept(7)]
    house.tables.left = [entry(7)]
    house.lead.changed([TermOpened(SHARD, 3, FeedID(SITE, 1, Lane.CONTROL))])
    assert house.written == [accept(7)]


def test_a_term_that_this_site_was_voted_for_begins_with_what_its_log_lacks() -> None:
    house = House()
    house.tables.left = [entry(7)]
    mine = FeedID(SITE, 1, Lane.CONTROL)
    house.lead.changed([TermOpened(ShardID(b"o" * 32), 3, mine)])  # another leads that one
    assert house.written == []
    house.lead.changed([TermOpened(SHARD, 3, mine)])
    assert house.written == [accept(7)]
