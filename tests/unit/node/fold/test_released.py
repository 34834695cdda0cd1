"""Owners that give units back: known until the next grant of them, and no part of the log."""

from __future__ import annotations

import apsw

from federation.ids import DatasetID
from federation.records import Grant, Release
from node.changes import Change, UnitsReleased
from node.fold.roots import digest, state_root
from node.ranges import size
from node.store import ledgers
from tests.unit.node.fold.world import Log, database, document, fold_into

JOBS = 100


class Mesh:
    """A leader, an owner, and one node that holds the feeds of both."""

    def __init__(self) -> None:
        self.leader, self.owner = Log.new(), Log.new(b"o" * 32)
        self.leader.found()
        self.dataset = DatasetID(self.leader.submit(document("d", jobs=JOBS)))
        self.conn = database()
        self.read = 0, 0

    def grant(self, *ranges: int, to: Log | None = None) -> None:
        site = (to or self.owner).site
        self.leader.control(Grant(self.leader.shard, self.dataset, [0], list(ranges), site))

    def release(self, *ranges: int, by: Log | None = None) -> None:
        (by or self.owner).control(
            Release(self.leader.shard, self.dataset, [0], list(ranges), "drained")
        )

    def fold(self) -> list[Change]:
        """What the leader wrote since, then what the owner did."""
        leader, owner = self.read
        entries = [*self.leader.entries[leader:], *self.owner.entries[owner:]]
        self.read = len(self.leader.entries), len(self.owner.entries)
        return fold_into(self.conn, entries)

    def released(self) -> list[int]:
        return ledgers.released(self.conn, 64)

    def owners(self) -> dict[bytes, list[int]]:
        return {bytes(site): list(flat) for site, flat in ledgers.owners(self.conn, 64).items()}


def test_what_an_owner_gives_back_is_told_and_no_longer_counted_as_its_own() -> None:
    mesh = Mesh()
    mesh.grant(0, JOBS)
    mesh.fold()
    mesh.release(60, 80, 90, 95)
    assert mesh.fold() == [UnitsReleased(1, [64], [60, 80, 90, 95], mesh.owner.site)]
    assert mesh.released() == [60, 80, 90, 95]
    assert mesh.owners() == {mesh.owner.site: [0, 60, 80, 90, 95, JOBS]}


def test_a_release_is_no_part_of_the_log() -> None:
    mesh = Mesh()
    mesh.grant(0, JOBS)
    mesh.fold()
    before = state_root(mesh.conn)
    mesh.release(60, 80)
    mesh.fold()
    assert state_root(mesh.conn) == before
    other = database()
    found, dataset, grant = mesh.leader.entries
    fold_into(other, [found, dataset, *mesh.owner.entries, grant])  # the release came first
    assert ledgers.released(other, 64) == []
    assert digest(other) == digest(mesh.conn)


def test_the_next_grant_ends_a_release() -> None:
    mesh = Mesh()
    mesh.grant(0, JOBS)
    mesh.fold()
    mesh.release(60, 80)
    mesh.fold()
    mesh.grant(50, 70)
    mesh.fold()
    assert mesh.released() == [70, 80]


def test_a_release_said_twice_counts_once() -> None:
    mesh = Mesh()
    mesh.grant(0, JOBS)
    mesh.fold()
    mesh.release(60, 80)
    mesh.release(70, 90)
    mesh.fold()
    assert size(mesh.released()) == 30


def test_nobody_gives_back_what_another_owns() -> None:
    mesh = Mesh()
    mesh.grant(0, 50)
    mesh.grant(50, JOBS, to=mesh.leader)
    mesh.fold()
    mesh.release(40, 60)
    mesh.fold()
    assert mesh.released() == [40, 50]


def test_a_leader_that_gives_back_its_own_units_leaves_them_to_nobody() -> None:
    mesh = Mesh()
    mesh.grant(0, JOBS, to=mesh.leader)
    mesh.release(60, 80, by=mesh.leader)
    changes = mesh.fold()
    assert UnitsReleased(1, [64], [60, 80], mesh.leader.site) in changes
    assert mesh.owners() == {mesh.leader.site: [0, 60, 80, JOBS]}
    assert mesh.released() == []


def test_releases_of_unknown_datasets_and_tasks_change_nothing() -> None:
    mesh = Mesh()
    mesh.grant(0, JOBS)
    mesh.fold()
    shard = mesh.leader.shard
    mesh.owner.control(Release(shard, DatasetID(b"?" * 32), [0], [0, 5], ""))
    mesh.owner.control(Release(shard, mesh.dataset, [7], [0, 5], ""))
    mesh.owner.control(Release(shard, mesh.dataset, [0], [JOBS + 5, JOBS + 9], ""))
    assert mesh.fold() == []
    assert refused(mesh.conn) == 0


def refused(conn: apsw.Connection) -> int:
    return int(conn.execute("SELECT count(*) FROM refused").fetchall()[0][0])
