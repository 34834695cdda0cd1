"""When a keeper of outputs is gone for good another site keeps them: which, and how often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock

from federation.ids import DatasetID, Lane, SiteID
from federation.records import Dataset, Grant, Holds, Record, Reproduce
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from node.meshing.copies import AGAIN_S
from node.meshing.files import RemoteFiles
from node.meshing.fileserver import FileServer
from node.meshing.recopying import Recopying
from node.model.document import load
from node.model.validate import pack_document
from node.store import lone, tasks
from node.store.blobs import Blobs
from tests.fakes.requests import Exchange
from tests.unit.node.claims.mesh import a_fold
from tests.unit.node.fold.world import ANA, Log, database, fold_into, results

JOBS = 8
RUN = {"module": [{"run": ["true"]}]}
CHAIN = {
    "floe": 1,
    "name": "chain",
    "jobs": JOBS,
    "task": [{"name": "make", "outputs": ["x"], **RUN}, {"name": "end", "after": ["make"], **RUN}],
}


class World:
    """Four sites of one mesh, with one database that has read all feeds; the first one leads."""

    def __init__(self, folder: Path) -> None:
        self.logs = [Log(SiteKey(name * 32)) for name in (b"l", b"m", b"k", b"t")]
        self.leader, self.maker, self.keeper, self.third = self.logs
        self.clock, self.exchange, self.conn = Clock(), Exchange(), database()
        self.fold = a_fold(self.leader.site)
        self.blobs = {log.site: Blobs(folder / str(n)) for n, log in enumerate(self.logs)}
        self.lost: set[SiteID] = set()
        self.read_count = 0
        self.leader.found()
        document = load(CHAIN).build(lambda name: None, bytes(16)).document
        self.dataset = DatasetID(digest(Purpose.DATASET, document))
        self.leader.control(Dataset(self.leader.shard, pack_document(document), ANA, ANA))
        for log in self.logs:
            grant = Grant(self.leader.shard, self.dataset, [0, 1], [0, JOBS], log.site)
            self.leader.control(grant)
            server = FileServer(self.read, self.blobs[log.site], maybeDeferred)
            server.serve(self.exchange.of(log.site))
        self.services = {log.site: self.service(log) for log in self.logs}

    def service(self, log: Log) -> Recopying:
        files = RemoteFiles(self.exchange.of(log.site), self.blobs[log.site], maybeDeferred)
        return Recopying(
            self.clock, log.site, Notes(self, log), self.read, tasks.spec, self.blobs[log.site],
            files, maybeDeferred, self.alive, lambda: self.lost,
        )  # fmt: skip

    def read(self, fn: Any) -> Deferred[Any]:
        self.read_count += 1
        return maybeDeferred(fn, self.conn)

    def alive(self) -> list[SiteID]:
        return [log.site for log in self.logs if log.site not in self.lost]

    def catch_up(self) -> None:
        known = {id_ for (id_,) in self.conn.execute("SELECT id FROM entry")}
        logs = [*self.logs[1:], self.leader]
        fold_into(
            self.conn,
            [entry for log in logs for entry in log.entries if entry.id not in known],
            self.fold,
        )

    def outputs(self, job: int, *sites: Log, what: bytes = b"made by %d") -> bytes:
        """Have sites keep what a unit puts out; the digest of its list."""
        content = what % job
        for log in sites:
            file = self.blobs[log.site].put(content)
            listing = [{"path": "x", "digest": file.hex(), "size": len(content), "mode": 0o644}]
            list_ = self.blobs[log.site].put(json.dumps(listing).encode())
        return list_

    def make(self, *jobs: int, copied: bool = True, by: Log | None = None) -> None:
        """Units that ran at the maker and were copied by the keeper; all folded."""
        by = by or self.maker
        for job in jobs:  # an entry each
            list_ = self.outputs(job, by, *([self.keeper] if copied else []))
            by.results(results(self.dataset, 0, [job], outputs=list_), accept=False)
            if copied:
                self.keeper.write(Lane.RESULTS, [Holds(self.dataset, 0, [job], list_)])
        by.accept(self.leader)
        self.catch_up()

    def look(self) -> None:
        for service in self.services.values():
            service.look()
        self.catch_up()

    def keepers(self) -> dict[int, set[SiteID]]:
        """By job, the sites that are left and have its output on disk and say so."""
        listed = lone.tasks(self.conn)[0]
        lone_jobs = {
            job for each in lone.lone(self.conn, listed, 0, JOBS, self.lost) for job in each.jobs
        }
        found = {
            job: {site for site in self.alive() if self._has(site, job)}
            for job in range(JOBS)
            if job not in lone_jobs
        }
        return {job: sites for job, sites in found.items() if sites}

    def _has(self, site: SiteID, job: int) -> bool:
        return not self.blobs[site].missing([blake2b(b"made by %d" % job, digest_size=32).digest()])

    def written(self, log: Log) -> list[Holds]:
        records = [record for entry in log.entries for record in entry.records()]
        return [record for record in records if isinstance(record, Holds)]

    def close(self) -> None:
        for service in self.services.values():
            service.stop()
        for blobs in self.blobs.values():
            blobs.close()
        self.conn.close()


class Notes:
    """A journal that writes into a site's feed at once."""

    def __init__(self, world: World, log: Log) -> None:
        self._world = world
        self._log = log

    def results(self, record: Record, local: Any = None) -> Deferred[None]:
        self._log.write(Lane.RESULTS, [record])
        return succeed(None)

    def local(self, fn: Any, *, in_order: bool = False) -> Deferred[None]:
        raise AssertionError("nothing local is noted")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    here = World(tmp_path)
    yield here
    here.close()


@pytest.mark.parametrize("gone", ["maker", "keeper"])
def test_outputs_get_another_keeper_when_one_of_two_is_lost(world: World, gone: str) -> None:
    world.make(*range(JOBS))
    world.lost = {getattr(world, gone).site}
    assert world.keepers() == {}
    world.look()
    found = world.keepers()
    assert {job: len(sites) for job, sites in found.items()} == dict.fromkeys(range(JOBS), 2)
    new = [log for log in world.logs if log is not world.keeper and world.written(log)]
    assert len(new) > 1  # the work is shared out
    assert all(len(world.written(log)) == 1 for log in new)  # one record for many entries


def test_outputs_whose_keeper_was_lost_before_it_had_them_get_one(world: World) -> None:
    world.make(0, copied=False)
    world.lost = {world.keeper.site}
    world.look()
    assert len(world.keepers()[0]) == 2


def test_while_two_sites_keep_them_nobody_else_does(world: World) -> None:
    world.make(*range(JOBS))
    world.look()
    world.lost = {world.third.site}
    world.look()
    assert not any(world.written(log) for log in world.logs if log is not world.keeper)


def test_a_keeper_is_found_once_for_each_site_that_is_lost(world: World) -> None:
    world.make(*range(JOBS))
    world.lost = {world.keeper.site}
    world.look()
    before = world.read_count
    world.look()
    assert world.read_count == before
    world.lost |= {world.third.site}
    world.look()
    assert {len(sites) for sites in world.keepers().values()} == {2}
    assert world.keepers().keys() == set(range(JOBS))


def test_where_nobody_else_is_left_nothing_can_be_done(world: World) -> None:
    world.make(0)
    world.lost = {log.site for log in world.logs if log is not world.keeper}
    world.look()
    assert world.keepers() == {}


def test_a_keeper_that_cannot_be_asked_is_asked_again(world: World) -> None:
    world.make(0)
    world.lost = {world.maker.site}
    world.exchange.cut[world.keeper.site] = 100
    world.look()
    assert world.keepers() == {}
    world.exchange.cut.clear()
    world.look()
    assert world.keepers() == {}
    world.clock.advance(AGAIN_S)
    world.look()
    assert len(world.keepers()[0]) == 2


def test_who_made_a_unit_again_just_so_is_a_keeper(world: World) -> None:
    world.make(0)
    world.leader.control(Reproduce(world.leader.shard, world.dataset, [0], [0, 1]))
    world.make(0, by=world.third, copied=False)
    world.lost = {world.maker.site}
    assert len(world.keepers()[0]) == 2
    world.look()
    assert not any(world.written(log) for log in world.logs if log is not world.keeper)
