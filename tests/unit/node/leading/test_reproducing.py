"""Outputs that units need and that no site keeps: which they are, and that they are made again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock

from federation import codec
from federation.errors import RemoteRefused
from federation.ids import DatasetID, Lane, SiteID
from federation.records import Dataset, Grant, Holds, Outcome, Record, Reproduce
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from node.changes import Change
from node.leading.needed import DIFFERS_MAX, Found, Search
from node.leading.needs import KEPT_S, Needs
from node.leading.reproducing import ASK_AGAIN_S, Reproducing
from node.meshing.filenames import OfAttempt
from node.meshing.files import RemoteFiles
from node.meshing.fileserver import FileServer
from node.model.document import load
from node.model.inputs import read_digest
from node.model.rules import Foreign
from node.model.validate import pack_document
from node.store import tasks
from node.store.blobs import Blobs
from tests.fakes.requests import Exchange
from tests.unit.node.claims.mesh import a_fold
from tests.unit.node.fold.world import ANA, Log, database, fold_into, results
from tests.unit.node.work.house import result_of

JOBS = 4
AWAY = "input-fetch"


def description(**more: Any) -> dict[str, Any]:
    """A chain: `use` reads what `make` puts out, `idle` only waits for it."""
    run = {"module": [{"run": ["true"]}]}
    return {
        "floe": 1,
        "name": "chain",
        "jobs": JOBS,
        "task": [
            {"name": "make", "outputs": ["x"], **run},
            {"name": "use", "after": ["make"], "inputs": {"x": "make/x"}, **run},
            {"name": "idle", "after": ["make"], **run},
        ],
        **more,
    }


class World:
    """A leader, and two sites that make and copy things."""

    def __init__(self, folder: Path) -> None:
        self.leader, self.maker, self.other = (
            Log(SiteKey(name * 32)) for name in (b"l", b"m", b"o")
        )
        self.exchange = Exchange()
        self.blobs = {
            log.site: Blobs(folder / name, grace_s=-1.0) for name, log in self.logs.items()
        }
        self.conn, self.fold, self.folded = database(), a_fold(self.leader.site), 0
        self.leader.found()
        self.dataset = self.submit(description())
        self.grant(self.dataset, 3)
        self.lists = [self.outputs(self.maker, b"made by %d" % job) for job in range(JOBS)]

    @property
    def logs(self) -> dict[str, Log]:
        return {"leader": self.leader, "maker": self.maker, "other": self.other}

    def submit(self, told: dict[str, Any], resolve: Any = lambda name: None) -> DatasetID:
        document = load(told).build(resolve, told["name"].encode().ljust(16)).document
        self.leader.control(Dataset(self.leader.shard, pack_document(document), ANA, ANA))
        return DatasetID(digest(Purpose.DATASET, document))

    def grant(self, dataset: DatasetID, count: int) -> None:
        for log in self.logs.values():
            indices = list(range(count))
            self.leader.control(Grant(self.leader.shard, dataset, indices, [0, JOBS], log.site))

    def outputs(self, log: Log, content: bytes) -> bytes:
        """Keep an output of a unit at a site; the digest of its list."""
        blobs = self.blobs[log.site]
        file = blobs.put(content)
        listing = [{"path": "x", "digest": file.hex(), "size": len(content), "mode": 0o644}]
        return blobs.put(json.dumps(listing).encode())

    def run(self, log: Log, task: int, *jobs: int, **more: Any) -> None:
        """Units that a site reports, accepted at once."""
        if task == 0 and "outputs" not in more and not more.get("outcome"):
            more["outputs"] = [self.lists[job] for job in jobs]
        log.results(results(self.dataset, task, list(jobs), **more), accept=False)
        log.accept(self.leader)

    def catch_up(self) -> list[Change]:
        """Fold what was written, the leader's feed last: nothing then has to wait."""
        logs = [self.maker, self.other, self.leader]
        new = [entry for log in logs for entry in log.entries if entry.id not in self._known()]
        return fold_into(self.conn, new, self.fold)

    def _known(self) -> set[bytes]:
        return {id_ for (id_,) in self.conn.execute("SELECT id FROM entry")}

    def search(self, *lost: Log, asked: Any = ()) -> Found:
        self.catch_up()
        sites = {log.site for log in lost}
        return Search(self.conn, tasks.spec, self.leader.site, 1, sites, asked).run()

    def gone(self, *lost: Log) -> list[tuple[int, list[int]]]:
        return [(each.task, list(each.ranges)) for each in self.search(*lost).gone]

    def close(self) -> None:
        for blobs in self.blobs.values():
            blobs.close()
        self.conn.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    here = World(tmp_path)
    yield here
    here.close()


def test_what_a_lost_site_alone_had_is_gone_while_somebody_needs_it(world: World) -> None:
    world.run(world.maker, 0, 0, 1)
    world.run(world.leader, 0, 2)
    assert world.gone() == []
    assert world.gone(world.maker) == [(0, [0, 2])]
    world.run(world.leader, 1, 0, inputs=read_digest([world.lists[0]]))
    assert world.gone(world.maker) == [(0, [1, 2])]
    world.run(world.leader, 1, 1, inputs=read_digest([world.lists[1]]))
    assert world.gone(world.maker) == []  # that `idle` waits for them needs no files


def test_a_second_copy_serves_until_its_site_is_lost_too(world: World) -> None:
    world.run(world.maker, 0, 0, 1)
    world.other.write(Lane.RESULTS, [Holds(world.dataset, 0, [1], world.lists[1])])
    assert world.gone(world.maker) == [(0, [0, 1])]
    assert world.gone(world.maker, world.other) == [(0, [0, 2])]


def test_units_that_put_nothing_out_are_not_missed(world: World) -> None:
    world.run(world.maker, 0, 0, 1, outputs=[b"", world.lists[1]])
    assert world.gone(world.maker) == [(0, [1, 2])]


def test_what_runs_again_needs_what_it_read(world: World) -> None:
    dataset = world.submit(description(name="longer", task=_longer()))
    world.grant(dataset, 3)
    world.dataset = dataset
    world.run(world.maker, 0, 0)
    made = world.outputs(world.maker, b"used")
    world.run(world.maker, 1, 0, outputs=made, inputs=read_digest([world.lists[0]]))
    assert world.gone(world.maker) == [(1, [0, 1])]
    world.leader.control(Reproduce(world.leader.shard, dataset, [1], [0, 1]))
    assert world.gone(world.maker) == [(0, [0, 1])]


def _longer() -> list[dict[str, Any]]:
    run = {"module": [{"run": ["true"]}]}
    return [
        {"name": "make", "outputs": ["x"], **run},
        {"name": "use", "after": ["make"], "inputs": {"x": "make/x"}, "outputs": ["y"], **run},
        {"name": "end", "after": ["use"], "inputs": {"y": "use/y"}, **run},
    ]


def test_what_was_made_again_elsewhere_is_there(world: World) -> None:
    world.run(world.maker, 0, 0)
    world.leader.control(Reproduce(world.leader.shard, world.dataset, [0], [0, 1]))
    assert world.gone(world.maker) == []  # under way
    world.run(world.other, 0, 0)
    assert world.gone(world.maker) == []
    assert world.gone(world.maker, world.other) == [(0, [0, 1])]


def test_what_comes_out_differently_each_time_is_not_made_for_ever(world: World) -> None:
    world.run(world.maker, 0, 0)
    world.run(world.leader, 2, 0, inputs=read_digest([world.lists[0]]))  # has read the first
    for time in range(DIFFERS_MAX):
        assert world.gone(world.maker) == [(0, [0, 1])]
        world.leader.control(Reproduce(world.leader.shard, world.dataset, [0], [0, 1]))
        world.run(world.other, 0, 0, outputs=bytes([time]) * 32)
    assert world.gone(world.maker) == []


def test_a_dataset_of_the_same_log_may_need_it(world: World) -> None:
    world.run(world.maker, 0, *range(JOBS))
    world.run(world.leader, 1, *range(JOBS))
    world.run(world.leader, 2, *range(JOBS))
    assert world.gone(world.maker) == []
    merge = {"name": "merge", "after": ["chain/make:*"], "inputs": {"in/": "chain/make:*/x"},
             "module": [{"run": ["true"]}]}  # fmt: skip
    other = Foreign(world.dataset, JOBS, ("make", "use", "idle"))
    world.submit({"floe": 1, "name": "sum", "task": [merge]}, lambda name: other)
    assert world.gone(world.maker) == [(0, [0, JOBS])]


# The service


class Service:
    """What the leader runs; its journal writes into the leader's feed."""

    def __init__(self, world: World) -> None:
        self.world, self.clock = world, Clock()
        self.lost: set[SiteID] = set()
        self.asked = 0
        world.catch_up()
        for log in (world.maker, world.other):
            server = FileServer(self.read, world.blobs[log.site], maybeDeferred)
            server.serve(world.exchange.of(log.site))
        blobs = world.blobs[world.leader.site]
        files = RemoteFiles(world.exchange.of(world.leader.site), blobs, maybeDeferred)
        self.reproducing = Reproducing(
            self.clock, world.leader.site, 1, self, self.read, tasks.spec, files, blobs,
            maybeDeferred, lambda: self.lost, lambda: [log.site for log in world.logs.values()],
            lambda: self.needs.current(),
        )  # fmt: skip
        end = world.exchange.of(world.leader.site)
        self.needs = Needs(self.clock, world.leader.site, world.conn, end, self.reproducing.wanted)

    def read(self, fn: Any) -> Deferred[Any]:
        self.asked += 1
        return maybeDeferred(fn, self.world.conn)

    def control(self, record: Record, intake: bool = False) -> Deferred[None]:
        self.world.leader.control(record)
        self.world.catch_up()
        return succeed(None)

    def again(self) -> list[int]:
        """Jobs of `make` that run again, after a look."""
        self.reproducing.changed(self.world.catch_up())
        self.reproducing.look()
        sql = "SELECT job FROM reproducing ORDER BY job"
        return [job for (job,) in self.world.conn.execute(sql)]

    def fails_to_read(self, *jobs: int) -> None:
        loss = int(Outcome.INFRASTRUCTURE)
        self.world.run(self.world.leader, 1, *jobs, outcome=loss, error=AWAY)


@pytest.fixture
def service(world: World) -> Service:
    return Service(world)


def test_what_is_lost_with_its_site_runs_again(world: World, service: Service) -> None:
    world.run(world.maker, 0, 0, 2)
    assert service.again() == []
    service.lost = {world.maker.site}
    assert service.again() == [0, 2]


def test_while_nothing_happens_nothing_is_looked_for(world: World, service: Service) -> None:
    world.run(world.maker, 0, 0)
    service.again()
    before = service.asked
    service.reproducing.look()
    assert service.asked == before
    service.lost = {world.maker.site}
    service.reproducing.look()
    assert service.asked == before + 1


def test_what_no_site_has_though_all_are_there_runs_again(world: World, service: Service) -> None:
    world.run(world.maker, 0, 0, 1)
    service.fails_to_read(0)
    assert service.again() == []  # it is there: something else was in the way
    world.blobs[world.maker.site].sweep([])
    world.blobs[world.leader.site].sweep([])
    assert service.again() == []  # asked just now
    service.clock.advance(ASK_AGAIN_S)
    assert service.again() == [0]


def fetched(world: World, job: int, task: int = 2) -> OfAttempt:
    """The name by which a person's node looks for an output of `idle`, which nothing reads."""
    entry = [each for each in world.maker.entries if each.header.lane is Lane.RESULTS][-1]
    return OfAttempt(world.dataset, task, job, entry.ref)


def last_output(world: World) -> None:
    world.run(world.leader, 0, 0)
    world.run(world.maker, 2, 0, outputs=world.lists[0], inputs=read_digest([world.lists[0]]))
    world.run(world.leader, 1, 0, inputs=read_digest([world.lists[0]]))


def test_what_nobody_but_a_person_needs_is_made_again_when_it_is_lost(
    world: World, service: Service
) -> None:
    last_output(world)
    service.lost = {world.maker.site}
    assert service.again() == []
    service.needs.tell([fetched(world, 0)])
    assert service.again() == [0]


def test_another_site_tells_the_leader_what_its_people_need(world: World, service: Service) -> None:
    last_output(world)
    world.catch_up()
    end = world.exchange.of(world.other.site)
    other = Needs(service.clock, world.other.site, world.conn, end, lambda: None)
    other.tell([fetched(world, 0)])
    assert other.current() == {}
    assert service.again() == []  # its maker has it: why it did not come is another question
    service.lost = {world.maker.site}
    assert service.again() == [0]


def test_what_was_asked_for_is_forgotten_after_a_while(world: World, service: Service) -> None:
    last_output(world)
    world.catch_up()
    service.needs.tell([fetched(world, 0)])
    service.clock.advance(KEPT_S)
    service.lost = {world.maker.site}
    assert service.again() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"\x93", codec.pack([b"d" * 31, 0, [0, 1]]), codec.pack([b"d" * 32, 64, [0, 1]]),
     codec.pack([b"d" * 32, 0, [0]]), codec.pack([b"d" * 32, 0, []]),
     codec.pack([b"d" * 32, 0, [3, 2]]), codec.pack([b"d" * 32, 0, [0, 1, 1, 2]]),
     codec.pack([b"d" * 32, 0, [0, 2**32 + 1]])],
)  # fmt: skip
def test_a_question_that_names_no_units_is_refused(service: Service, body: bytes) -> None:
    with pytest.raises(RemoteRefused):
        result_of(Deferred.fromCoroutine(service.needs.asked(SiteID(b"x" * 32), body)))
    assert service.needs.current() == {}


def test_what_a_site_may_have_that_cannot_be_asked_is_waited_for(
    world: World, service: Service
) -> None:
    world.run(world.maker, 0, 0)
    service.fails_to_read(0)
    world.exchange.cut[world.maker.site] = 100
    assert service.again() == []
    service.clock.advance(ASK_AGAIN_S)
    service.lost = {world.maker.site}
    assert service.again() == [0]
