"""Units of other logs are imported by the leader of the log that waits, once they are settled."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock

from federation.ids import DatasetID, EntryRef, Lane, ShardID
from federation.records import Accept, Ack, Dataset, FoundCouncil, Grant, Import, Record
from keys.signing import Purpose, digest
from node.changes import DatasetChanged, ShardSettled
from node.fold.acts import Acts
from node.fold.proving import proof_of
from node.leading.importing import NOTED_S_MAX, SOON_S, Importing
from node.store import held
from tests.unit.node.fold.test_moves import Logs
from tests.unit.node.fold.test_terms import Node
from tests.unit.node.fold.world import ANA, counts, document, results, some

JOBS = 5


class World:
    """Two logs of one site each, read by the leader of the second, where a dataset waits."""

    def __init__(self, *, whole: bool = False) -> None:
        self.logs, self.node, self.clock = Logs(), Node(), Clock()
        self.acts: Acts = self.node.fold.acts()
        self.taken = 0
        self.imports: list[Import] = []
        leader = self.logs.sites[1]
        self.importing = Importing(self.clock, leader.site, 1, self, self.read, self.proof)
        self.whole = whole
        self.source = self.logs.sites[0].shard
        self.first, self.second = b"", b""

    def begin(self) -> None:
        """A dataset of the first log, and one of the second that waits for it."""
        self.first = self.logs.submit(0, "first")
        self.logs.grant(0, self.first, 2)
        waits = (self.first, 0, JOBS if self.whole else 0)
        self.second = self.logs.submit(1, "second", [("x", [waits])])

    def read(self, fn: Any) -> Deferred[Any]:
        return maybeDeferred(fn, self.node.conn)

    def proof(self, shard: ShardID, place: EntryRef) -> list[EntryRef] | None:
        return proof_of(self.node.conn, self.acts, shard, place)

    def control(self, record: Record, intake: bool = False) -> Deferred[None]:
        assert isinstance(record, Import)
        self.imports.append(record)
        self.logs.sites[1].control(record)
        self.fold()
        return succeed(None)

    def fold(self) -> None:
        entries = self.logs.entries
        known = {id_ for (id_,) in self.node.conn.execute("SELECT id FROM entry")}
        for entry in entries:
            if entry.id not in known:
                self.node.take(entry)
        self.node.catch_up()

    def run(self, *jobs: int) -> None:
        """Units of the first log that it accepts."""
        self.logs.run(2, self.first, 0, jobs)
        self.logs.accept(0, 2)

    def ranges(self) -> list[list[int]]:
        """What was imported, after a look."""
        self.fold()
        self.importing.changed(self.node.changes)
        self.importing.look()
        return [list(each.ranges) for each in self.imports]

    def seen(self) -> dict[str, int]:
        sql = "SELECT no FROM dataset WHERE id = ?"
        return some(counts(self.node.conn, self.node.conn.execute(sql, (self.second,)).get * 64))


def test_what_is_settled_elsewhere_is_imported_and_nothing_twice() -> None:
    world = World()
    world.begin()
    assert world.ranges() == []
    world.run(0, 1)
    assert world.ranges() == [[0, 2]]
    assert world.seen() == {"ready": 2}
    assert world.ranges() == [[0, 2]]
    world.run(3)
    assert world.ranges() == [[0, 2], [3, 4]]
    assert world.seen() == {"ready": 3}


def test_a_task_that_waits_for_all_is_ready_with_the_last() -> None:
    world = World(whole=True)
    world.begin()
    world.run(0, 1, 2)
    world.ranges()
    assert world.seen() == {}
    world.run(3, 4)
    assert world.ranges() == [[0, 3], [3, 5]]
    assert world.seen() == {"ready": JOBS}


def test_the_first_import_tells_that_the_dataset_waits_for_another_task_now() -> None:
    world = World()
    world.begin()
    world.run(0)
    world.fold()
    world.node.changes.clear()
    world.ranges()
    verbs = [each.verb for each in world.node.changes if isinstance(each, DatasetChanged)]
    assert verbs == ["linked"]
    world.run(1)
    world.fold()
    world.node.changes.clear()
    world.ranges()
    assert not [each for each in world.node.changes if isinstance(each, DatasetChanged)]


def test_a_log_that_somebody_else_leads_is_left_to_them() -> None:
    world = World()
    world.begin()
    world.run(0)
    other = Importing(world.clock, world.logs.sites[2].site, 1, world, world.read, world.proof)
    world.fold()
    other.look()
    assert world.imports == []


def test_what_waits_for_an_import_says_who_leads_the_other_log() -> None:
    world = World()
    world.begin()
    world.run(0, 1)
    world.fold()
    conn = world.node.conn
    first, second = (
        conn.execute("SELECT no FROM dataset WHERE id = ?", (id_,)).get
        for id_ in (world.first, world.second)
    )
    leader = world.logs.sites[0].site.hex()[:8]
    assert held.not_imported(conn, second, first * 64, 0, JOBS) == (2, leader)
    world.ranges()
    assert held.not_imported(conn, second, first * 64, 0, JOBS) == (0, leader)
    assert held.not_imported(conn, second, second * 64, 0, JOBS) == (0, "")


# A council, whose acks come later


class Council(World):
    """The first log has three voters."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = self.logs.sites
        nonce = bytes([1] * 16)
        shard = ShardID(digest(Purpose.SHARD, a.site + nonce))
        a.control(FoundCouncil(shard, nonce, [a.site, b.site, c.site], [1, 1, 1]))  # type: ignore[arg-type]
        self.source = shard

    def begin(self) -> None:
        a = self.logs.sites[0]
        text = document("first", (("a", ()), ("b", (0,))), JOBS)
        self.first = digest(Purpose.DATASET, text)
        a.control(Dataset(self.source, zlib.compress(text), ANA, ANA))
        maker = self.logs.sites[2].site
        a.control(Grant(self.source, DatasetID(self.first), [0, 1], [0, JOBS], maker))
        self.second = self.logs.submit(1, "second", [("x", [(self.first, 0, 0)])])

    def run(self, *jobs: int) -> None:
        maker = self.logs.sites[2]
        entry = maker.write(Lane.RESULTS, [results(self.first, 0, jobs)])
        ref = entry.ref
        self.logs.sites[0].control(Accept(self.source, maker.site, 1, ref.seq, ref.id))

    def ack(self) -> None:
        """Another voter acks all that the leader wrote."""
        last = self.logs.sites[0].entries[-1].ref
        leader = self.logs.sites[0].site
        self.logs.sites[2].control(Ack(self.source, 0, leader, 1, last.seq, last.id))


@pytest.fixture
def council() -> Council:
    world = Council()
    world.begin()
    return world


def test_units_of_a_council_wait_until_a_majority_settled_them(council: Council) -> None:
    council.run(0)
    assert council.ranges() == []
    council.ack()
    assert council.ranges() == [[0, 1]]
    assert council.seen() == {"ready": 1}


def test_a_log_whose_end_is_never_settled_is_no_obstacle(council: Council) -> None:
    council.run(0)
    assert council.ranges() == []
    for job in range(1, JOBS):
        council.ack()
        council.run(job)  # its acks come when there is more already
        assert council.ranges() == [[each, each + 1] for each in range(job)]
        council.clock.advance(SOON_S)


def test_acks_are_looked_at_as_they_come(council: Council) -> None:
    council.run(0)
    council.ranges()
    council.ack()
    council.fold()
    settled = [each for each in council.node.changes if isinstance(each, ShardSettled)]
    council.importing.changed(settled)
    council.clock.advance(SOON_S)
    assert len(council.imports) == 1


def test_a_place_that_never_settles_is_given_up_for_a_newer_one(council: Council) -> None:
    council.run(0)
    council.ranges()
    council.clock.advance(NOTED_S_MAX)
    council.run(1)
    council.ranges()
    council.ack()
    assert council.ranges() == [[0, 2]]
