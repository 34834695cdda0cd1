"""What a site gives back leaves dispatch at once, and is said until the leader has heard it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from federation import claims, limits
from federation.claims import Recall
from federation.errors import RemoteRefused
from federation.ids import DatasetID, ShardID, SiteID
from federation.ports import Handler
from federation.records import Record, Release
from federation.shapes import Workers
from node.claims.releasing import AGAIN_S_MIN, MISFIT_S, Releasing
from node.ranges import Flat
from node.unitstate import DatasetFacts, TaskFacts
from tests.unit.node.claims.test_picking import BIG, SMALL_WORKERS, ready
from tests.unit.node.work.house import result_of

DATASET, SHARD = DatasetID(b"d" * 32), ShardID(b"h" * 32)
LEADER, OTHER = SiteID(b"l" * 32), SiteID(b"o" * 32)


class House:
    def __init__(self, *after: Sequence[int], **more: Any) -> None:
        self.clock = Clock()
        self.ready = ready(*(after or ((),)), **more)
        self.written: list[Release] = []
        self.waiting: list[Deferred[None]] = []
        self.at_once = True
        self.broken = False
        self.led = True
        self.drained = self.lonely = False
        self.back: dict[int, Flat] = {}
        self.workers: Sequence[Workers] = SMALL_WORKERS
        self.releasing = Releasing(
            self.clock, self, self.ready, self, lambda: self.workers, self,
            lambda: self.drained, lambda: self.lonely,
        )  # fmt: skip

    # Ports

    def control(self, record: Record, intake: bool = False) -> Deferred[None]:
        if self.broken:
            return fail(RuntimeError("the disk is gone"))
        assert isinstance(record, Release)
        self.written.append(record)
        if self.at_once:
            return succeed(None)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def place(self, dataset: int) -> tuple[DatasetID, ShardID, SiteID] | None:
        return (DATASET, SHARD, LEADER) if self.led else None

    def number(self, dataset: DatasetID, shard: ShardID) -> int | None:
        return 1 if (dataset, shard) == (DATASET, SHARD) else None

    def released(self) -> Mapping[int, Flat]:
        return dict(self.back)

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        raise AssertionError("an owner asks nobody")

    def serve(self, kind: str, handler: Handler) -> None:
        assert kind == claims.RECALL

    # Acts

    def recall(
        self, units: int, by: SiteID = LEADER, dataset: DatasetID = DATASET
    ) -> Deferred[Any]:
        body = claims.write_recall(Recall(SHARD, dataset, 0, (0,), units))
        return Deferred.fromCoroutine(self.releasing.recall(by, body))  # type: ignore[arg-type]

    def tick(self, after_s: float = 0.0) -> None:
        self.clock.advance(after_s)
        result_of(Deferred.fromCoroutine(self.releasing.tick()))  # type: ignore[arg-type]

    def held(self) -> list[int]:
        return self.ready.tasks[64].owned.flat


def test_a_recall_is_answered_once_the_release_is_durable() -> None:
    house = House()
    house.at_once = False
    waiting = house.recall(30)
    assert house.written == [Release(SHARD, DATASET, [0], [70, 100], "recalled")]
    assert not waiting.called
    house.waiting[0].callback(None)
    assert claims.read_recalled(result_of(waiting)).units == 30


def test_a_release_binds_before_it_is_durable() -> None:
    house = House()
    house.at_once = False
    house.recall(30)
    assert house.held() == [0, 70]
    assert house.ready.tasks[64].ready == 70


def test_what_cannot_be_written_stays() -> None:
    house = House()
    house.broken = True
    with pytest.raises(RemoteRefused, match="could not be written"):
        result_of(house.recall(30))
    assert house.held() == [0, 100]


@pytest.mark.parametrize(("by", "dataset"), [(OTHER, DATASET), (LEADER, DatasetID(b"?" * 32))])
def test_only_the_leader_recalls_units_of_its_datasets(by: SiteID, dataset: DatasetID) -> None:
    house = House()
    with pytest.raises(RemoteRefused, match="only the leader"):
        result_of(house.recall(30, by, dataset))
    assert house.written == []


def test_bytes_that_are_no_recall_are_refused() -> None:
    with pytest.raises(RemoteRefused, match="not a recall"):
        result_of(Deferred.fromCoroutine(House().releasing.recall(LEADER, b"?")))  # type: ignore[arg-type]


def test_a_drained_site_gives_everything_back_that_is_not_out() -> None:
    house = House()
    house.ready.lease(house.ready.tasks[64], [0, 4])
    house.drained = True
    house.tick()
    assert house.written == [Release(SHARD, DATASET, [0], [4, 100], "drained")]
    house.tick()
    assert len(house.written) == 1


def test_a_drained_site_that_is_alone_keeps_its_units() -> None:
    house = House()
    house.drained = house.lonely = True
    house.tick()
    assert (house.written, house.held()) == ([], [0, 100])


def test_units_of_a_log_that_nobody_leads_stay() -> None:
    house = House()
    house.drained, house.led = True, False
    house.tick()
    assert (house.written, house.held()) == ([], [0, 100])


def test_releases_of_many_ranges_come_in_pieces_that_a_record_can_hold() -> None:
    house = House()
    task = house.ready.tasks[64]
    house.ready.datasets[1].jobs = 12_000
    task.owned.add(0, 12_000)
    house.ready.lease(task, [bound for job in range(0, 12_000, 2) for bound in (job, job + 1)])
    house.drained = True
    house.tick()
    assert len(house.written) > 1
    assert max(len(record.ranges) for record in house.written) <= limits.RANGES_MAX


def test_units_that_fit_no_worker_are_given_back_after_a_while() -> None:
    house = House((), (), needs=[BIG, BIG])
    house.tick()
    house.tick(MISFIT_S - 1)
    assert house.written == []
    house.tick(1)
    assert house.written == [Release(SHARD, DATASET, [0, 1], [0, 100], "fits no worker here")]


def test_units_for_which_a_worker_comes_stay() -> None:
    house = House(needs=[BIG])
    house.tick()
    house.workers = [Workers(8, 0, 10**6, 10**6, 0, 1, 8)]
    house.tick(MISFIT_S)
    house.workers = SMALL_WORKERS
    house.tick(MISFIT_S - 1)
    assert house.written == []


def test_units_that_begin_while_another_release_waits_for_the_disk_stay() -> None:
    house = House(needs=[BIG])
    second = TaskFacts(128, 0, BIG, (), owned=[0, 100])
    house.ready.load(DatasetFacts(2, b"p", "g", 50, 1, 100, False, (second,)))
    house.tick()
    house.at_once = False
    house.clock.advance(MISFIT_S)
    ticks = [Deferred.fromCoroutine(house.releasing.tick()) for _ in range(2)]  # type: ignore[arg-type]
    house.ready.lease(house.ready.tasks[128], [0, 60])
    while house.waiting:
        house.waiting.pop().callback(None)
    for each in ticks:
        result_of(each)
    assert [(each.ranges, each.why) for each in house.written] == [
        ([0, 100], "fits no worker here"),
        ([60, 100], "fits no worker here"),
    ]
    assert house.ready.tasks[128].owned.flat == [0, 60]


def test_a_release_that_the_log_does_not_answer_is_said_again_ever_more_seldom() -> None:
    house = House()
    house.back = {64: [70, 100]}
    said_s = []
    for _ in range(8 * 60):
        before = len(house.written)
        house.tick(60)
        if len(house.written) > before:
            said_s.append(house.clock.seconds())
    assert house.written[0] == Release(SHARD, DATASET, [0], [70, 100], "released before")
    waits = [after - before for before, after in itertools.pairwise(said_s)]
    assert waits == sorted(waits)
    assert waits[0] >= AGAIN_S_MIN
    assert len(said_s) < 8


def test_a_release_that_was_answered_is_not_said_again() -> None:
    house = House()
    house.back = {64: [70, 100]}
    house.tick(AGAIN_S_MIN)
    house.back = {64: [90, 100]}
    house.tick(AGAIN_S_MIN)
    assert [record.ranges for record in house.written] == [[90, 100]]
