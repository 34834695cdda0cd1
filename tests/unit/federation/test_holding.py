"""How far a log is held whole: records, bases, results."""

from __future__ import annotations

from federation.holding import ENTRIES_A_CALL, ENTRIES_AT_ONCE, Holding
from federation.ids import EntryRef, FeedID, Lane, ShardID
from federation.opening import as_ref
from federation.records import Accept, Adopt, Grant, Import, Record, Site
from federation.shard import Shard, found, open_founded
from tests.unit.federation.builders import DATASET
from tests.unit.federation.seats import NONCE, at, council, seat
from tests.unit.federation.test_shard import later

ROOT, ONE = seat(0), seat(1)
SHARD = council().id
SOURCE = ShardID(b"o" * 32)
RESULTS = FeedID(seat(2).site, 1, Lane.RESULTS)
GRANT = Grant(SHARD, DATASET, [0], [0, 1], ROOT.site)
OTHER = Site("desy", "1")


class Disk:
    """What one site has, and how far it holds the logs."""

    def __init__(self) -> None:
        self.entries: dict[FeedID, list[list[Record]]] = {}
        self.absent: set[EntryRef] = set()
        self.without_body: set[EntryRef] = set()
        self.reads = 0
        self.moves: set[tuple[ShardID, EntryRef]] = set()
        self.holding = Holding(
            SHARD, self.read, lambda ref: ref not in self.absent, lambda *move: move in self.moves
        )

    def write(self, feed: FeedID, *records: Record) -> EntryRef:
        self.entries.setdefault(feed, []).append(list(records))
        return at(feed, len(self.entries[feed]))

    def read(
        self, feed: FeedID, after: int, limit: int
    ) -> list[tuple[EntryRef, list[Record] | None]]:
        self.reads += 1
        found = []
        for row, records in enumerate(self.entries.get(feed, [])[after : after + limit]):
            here = at(feed, after + row + 1)
            found.append((here, None if here in self.without_body else records))
        return found

    def whole(self, shard: Shard, number: int) -> EntryRef | None:
        term = shard.term(number)
        assert term is not None
        return self.holding.whole(shard, term)


def accept(seq: int) -> Accept:
    return Accept(SHARD, RESULTS.site, 1, seq, at(RESULTS, seq).id)


def test_a_log_is_held_through_its_last_entry_with_records_of_it() -> None:
    disk = Disk()
    disk.write(ROOT, GRANT)
    last = disk.write(ROOT, OTHER, GRANT)
    disk.write(ROOT, OTHER)
    assert disk.whole(council(), 0) == last


def test_it_ends_before_the_first_accept_whose_results_are_not_here() -> None:
    disk = Disk()
    first = disk.write(ROOT, GRANT)
    disk.absent = {at(RESULTS, 5)}
    waiting = disk.write(ROOT, GRANT, accept(5))
    disk.write(ROOT, GRANT)
    assert disk.whole(council(), 0) == first
    disk.absent = set()
    assert disk.whole(council(), 0) == at(ROOT, 3)
    assert waiting.seq == 2


def test_a_body_that_is_not_here_ends_it_too() -> None:
    disk = Disk()
    first = disk.write(ROOT, GRANT)
    disk.without_body = {disk.write(ROOT, GRANT)}
    assert disk.whole(council(), 0) == first
    disk.without_body = set()
    assert disk.whole(council(), 0) == at(ROOT, 2)


def test_a_later_term_is_held_with_its_bases_through_their_cuts() -> None:
    disk = Disk()
    shard = later(council(), 1, 1, 2, council().newest, 3)
    disk.write(ROOT, GRANT)
    disk.write(ROOT, GRANT)
    disk.write(ONE, OTHER)
    opening = disk.write(ONE, GRANT)
    assert disk.whole(shard, 1) is None
    disk.absent = {at(RESULTS, 5)}
    disk.write(ROOT, accept(5))
    assert disk.whole(shard, 1) is None
    disk.absent = set()
    assert disk.whole(shard, 1) == opening
    disk.absent = {at(RESULTS, 6)}
    disk.write(ROOT, accept(6))  # beyond the cut
    assert disk.whole(shard, 1) == opening
    assert disk.whole(shard, 0) == at(ROOT, 3)


def test_an_adopt_needs_the_log_that_it_takes_over_and_its_acks() -> None:
    move, ack = at(seat(3), 8), at(seat(4), 9)
    disk = Disk()
    first = disk.write(ROOT, GRANT)
    disk.write(ROOT, Adopt(SHARD, DATASET, SOURCE, as_ref(move), [as_ref(ack)]))
    assert disk.whole(council(), 0) == first
    disk.moves = {(SOURCE, move)}
    disk.absent = {ack}
    assert disk.whole(council(), 0) == first
    disk.absent = set()
    assert disk.whole(council(), 0) == at(ROOT, 2)


def test_an_import_needs_its_place_and_its_acks() -> None:
    place, ack = at(seat(3), 8), at(seat(4), 9)
    for missing in (place, ack):
        disk = Disk()
        first = disk.write(ROOT, GRANT)
        disk.absent = {missing}
        record = Import(SHARD, DATASET, 0, [0, 1], SOURCE, as_ref(place), [as_ref(ack)])
        disk.write(ROOT, record)
        assert disk.whole(council(), 0) == first
        disk.absent = set()
        assert disk.whole(council(), 0) == at(ROOT, 2)


def test_every_entry_is_looked_at_once() -> None:
    disk = Disk()
    for _ in range(3 * ENTRIES_AT_ONCE):
        disk.write(ROOT, GRANT)
    assert disk.whole(council(), 0) == at(ROOT, 3 * ENTRIES_AT_ONCE)
    before = disk.reads
    assert disk.whole(council(), 0) == at(ROOT, 3 * ENTRIES_AT_ONCE)
    assert disk.reads == before + 1


def test_a_long_log_is_looked_at_in_parts() -> None:
    disk = Disk()
    for _ in range(2 * ENTRIES_A_CALL + 1):
        disk.write(ROOT, GRANT)
    reached = []
    for _ in range(3):
        whole = disk.whole(council(), 0)
        assert whole is not None
        reached.append((whole.seq, disk.holding.more))
    assert reached == [
        (ENTRIES_A_CALL, True),
        (2 * ENTRIES_A_CALL, True),
        (2 * ENTRIES_A_CALL + 1, False),
    ]


def test_what_was_acked_before_is_not_looked_at_again() -> None:
    disk = Disk()
    disk.absent = {at(RESULTS, 5)}
    disk.write(ROOT, accept(5))
    acked = disk.write(ROOT, GRANT)
    disk.holding.assume(council().newest, acked)
    assert disk.whole(council(), 0) == acked
    disk.holding.assume(council().newest, at(ROOT, 1))
    assert disk.whole(council(), 0) == acked


class Pair:
    """Two logs between which datasets moved both ways, each through its own eleventh entry.

    In each the sixth entry is the move to the other, and the eleventh adopts what came from there.
    """

    def __init__(self) -> None:
        record = found(ONE, NONCE, [ROOT, ONE, seat(2)])
        self.shards = {each.id: each for each in (council(), open_founded(record, at(ONE, 1)))}
        self.logs = {id_: shard.newest.feed for id_, shard in self.shards.items()}
        self.disks = {id_: Disk() for id_ in self.shards}
        for id_, other in zip(self.shards, reversed(self.shards), strict=True):
            for _ in range(10):
                self.disks[id_].write(self.logs[id_], self.grant(id_))
            ack = as_ref(at(seat(4), 9))
            move = as_ref(at(self.logs[other], 6))
            self.disks[id_].write(self.logs[id_], Adopt(id_, DATASET, other, move, [ack]))
            self.disks[id_].holding = Holding(
                id_, self.disks[id_].read, lambda ref: True, self.holds_log
            )

    def grant(self, shard: ShardID) -> Grant:
        return Grant(shard, DATASET, [0], [0, 1], ROOT.site)

    def holds_log(self, shard: ShardID, place: EntryRef) -> bool:
        known = self.shards[shard]
        whole = self.disks[shard].holding.whole(known, known.newest)
        return whole is not None and whole.seq >= place.seq


def test_logs_that_adopted_of_each_other_are_held() -> None:
    pair = Pair()
    for id_, shard in pair.shards.items():
        assert pair.disks[id_].holding.whole(shard, shard.newest) == at(pair.logs[id_], 11)
