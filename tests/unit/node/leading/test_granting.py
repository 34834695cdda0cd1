"""Claims come in, grants stand in the journal before the answer goes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from federation import claims, limits
from federation.claims import Answer, Claim, Recall, Recalled, Verdict
from federation.errors import RemoteRefused, Unreachable
from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.ports import Handler
from federation.records import Grant, Record
from federation.shapes import Workers
from node.changes import (
    DatasetAdded,
    DatasetChanged,
    TermOpened,
    UnitsGranted,
    UnitsReleased,
    UnitsSettled,
)
from node.leading.book import Peer
from node.leading.granting import LEARN_S, LOST_S, Granting
from node.leading.ledger import DatasetFacts
from node.ranges import JobRanges, size
from node.store.highwater import Head, Heads
from tests.unit.node.leading.books import SHARD, A, B, claim, dataset, peer, task
from tests.unit.node.work.house import result_of

ME = SiteID(b"m" * 32)


class Journal:
    """Commits on demand; each commit is one entry."""

    def __init__(self) -> None:
        self.heads = Heads(1)
        self.written: list[Grant] = []
        self.broken = False
        self.waiting: list[tuple[Record, Deferred[None]]] = []

    def control(self, record: Record, intake: bool = False) -> Deferred[None]:
        if self.broken:
            return fail(RuntimeError("the disk is gone"))
        done: Deferred[None] = Deferred()
        self.waiting.append((record, done))
        return done

    def commit(self) -> list[Grant]:
        waiting, self.waiting = self.waiting, []
        seq = self.heads.control.seq + 1
        self.heads = Heads(1, Head(seq, bytes([seq]) * 32))
        grants = [record for record, _ in waiting if isinstance(record, Grant)]
        self.written += grants
        for _, done in waiting:
            done.callback(None)
        return grants


class Sites:
    def __init__(self) -> None:
        self.others = [peer(A), peer(B)]
        self.drained: set[SiteID] = set()
        self.silent: dict[SiteID, float] = {}

    def alone(self) -> bool:
        return not self.others

    def able(self) -> Sequence[Peer]:
        return [
            Peer(ME, "me", ()),
            *(each for each in self.others if each.site not in self.drained),
        ]

    def peer(self, site: SiteID, workers: Sequence[Workers]) -> Peer | None:
        known = {each.site: each for each in self.able()}
        return Peer(site, known[site].name, workers) if site in known else None

    def heard(self, site: SiteID) -> None:
        self.silent[site] = 0.0

    def silent_s(self, site: SiteID) -> float:
        return self.silent.get(site, 0.0)


class Tables:
    def __init__(self) -> None:
        self.datasets: dict[int, DatasetFacts] = {}
        self.times: list[tuple[int, float]] = []

    def open_datasets(self) -> Iterable[int]:
        return list(self.datasets)

    def ledger(self, no: int, *, with_done: bool) -> DatasetFacts | None:
        return self.datasets.get(no)

    def unit_times(self, no: int) -> Iterable[tuple[int, float]]:
        return self.times


class Requests:
    """Keeps what is asked; answers when told."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.asked: list[tuple[SiteID, Recall]] = []
        self.answer: Recalled | Exception = Recalled(0)

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        assert kind == claims.RECALL
        self.asked.append((site, claims.read_recall(body)))
        if isinstance(self.answer, Exception):
            return fail(self.answer)
        return succeed(claims.write_recalled(self.answer))

    def serve(self, kind: str, handler: Handler) -> None:
        self.handlers[kind] = handler


class House:
    def __init__(self, *facts: DatasetFacts) -> None:
        self.clock = Clock()
        self.journal, self.tables, self.sites = Journal(), Tables(), Sites()
        self.requests = Requests()
        self.shards = [SHARD]
        self.tables.datasets = {each.dataset: each for each in facts}
        self.used: dict[tuple[bytes, str], float] = {}
        self.granting = Granting(
            self.clock, ME, self.journal, self.tables, lambda: self.shards, self.sites,
            self.requests, lambda: self.used, Random(1),
        )  # fmt: skip
        self.granting.start()

    def claim(self, site: SiteID, asked: Claim) -> Deferred[Any]:
        return Deferred.fromCoroutine(
            self.granting.claim(site, claims.write_claim(asked))  # type: ignore[arg-type]
        )

    def answer(self, waiting: Deferred[Any]) -> Answer:
        return claims.read_answer(result_of(waiting))

    def commit(self) -> list[Grant]:
        """What is written becomes durable, and is told."""
        grants = self.journal.commit()
        for grant in grants:
            no = grant.dataset[0]
            tasks = [no * 64 + index for index in grant.tasks]
            self.granting.changed([UnitsGranted(no, tasks, grant.ranges, grant.to)])
        self.clock.advance(0)
        return grants


def test_the_answer_waits_until_the_grant_is_durable_and_names_its_entry() -> None:
    house = House(dataset(1))
    waiting = house.claim(A, claim())
    assert not waiting.called
    (grant,) = house.commit()
    assert (grant.shard, grant.to, grant.tasks, grant.ranges) == (SHARD, A, [0], [0, 300])
    answer = house.answer(waiting)
    assert (answer.verdict, answer.units) == (Verdict.GRANTED, 300)
    assert [(each.feed.site, each.seq) for each in answer.entries] == [(ME, 1)]


def test_two_claims_in_one_commit_share_no_unit() -> None:
    house = House(dataset(1))
    house.claim(A, claim())
    house.claim(B, claim())
    first, second = house.commit()
    assert (first.ranges, second.ranges) == ([0, 300], [300, 600])


def test_a_dataset_that_is_read_anew_keeps_what_is_on_its_way_into_the_log() -> None:
    house = House(dataset(1))
    house.claim(A, claim())
    house.granting.changed([DatasetAdded(1)])
    house.claim(B, claim())
    first, second = house.commit()
    assert (first.ranges, second.ranges) == ([0, 300], [300, 600])


def test_grants_of_many_ranges_come_in_pieces_that_a_record_can_hold() -> None:
    holes = [bound for job in range(0, 12_000, 2) for bound in (job, job + 1)]
    facts = dataset(1, task(1, shut=JobRanges(holes).lacking([0, 12_000])), jobs=12_000)
    house = House(facts)
    waiting = house.claim(A, claim(10**6, slots=1000))
    grants = house.commit()
    assert len(grants) > 1
    assert max(len(grant.ranges) for grant in grants) <= limits.RANGES_MAX
    assert [bound for grant in grants for bound in grant.ranges] == holes
    assert house.answer(waiting).units == 6000


def test_a_grant_that_cannot_be_written_is_given_to_the_next() -> None:
    house = House(dataset(1))
    house.journal.broken = True
    with pytest.raises(RemoteRefused, match="ask again"):
        result_of(house.claim(A, claim()))
    house.journal.broken = False
    house.claim(B, claim())
    assert house.commit()[0].ranges == [0, 300]


def test_bytes_that_are_no_claim_are_refused() -> None:
    house = House(dataset(1))
    with pytest.raises(RemoteRefused, match="not a claim"):
        result_of(Deferred.fromCoroutine(house.granting.claim(A, b"?")))  # type: ignore[arg-type]


def test_a_drained_site_and_a_stranger_are_granted_nothing() -> None:
    house = House(dataset(1))
    house.sites.drained = {A}
    for site in (A, SiteID(b"x" * 32)):
        with pytest.raises(RemoteRefused, match="granted nothing"):
            result_of(house.claim(site, claim()))


def test_a_claim_that_finds_nothing_is_served_when_a_dataset_comes() -> None:
    house = House()
    assert house.answer(house.claim(A, claim(idle=10))).verdict is Verdict.LATER
    house.tables.datasets[1] = dataset(1)
    house.granting.changed([DatasetAdded(1)])
    house.clock.advance(0)
    assert [grant.to for grant in house.commit()] == [A]


def test_results_open_what_waits_for_them_to_claims_that_wait() -> None:
    house = House(dataset(1, task(1, owners={B: [0, 1000]}), task(1, 1, after=[0])))
    house.claim(A, claim(held={1: 500}))
    house.granting.changed([UnitsSettled(64, list(range(10)))])
    house.sites.others.append(peer(A))
    house.claim(A, claim())
    (grant,) = house.commit()
    assert (grant.tasks, grant.ranges) == ([1], [0, 10])


class TestLostOwners:
    def owned_by_b(self) -> House:
        return House(dataset(1, task(1, owners={B: [0, 1000]}), jobs=1000))

    def test_units_of_a_silent_site_go_to_one_that_claims(self) -> None:
        house = self.owned_by_b()
        house.sites.silent[B] = LOST_S + 1
        house.claim(A, claim())
        assert house.commit()[0].ranges == [0, 300]

    def test_an_hour_is_not_over_before_it_is(self) -> None:
        house = self.owned_by_b()
        house.sites.silent[B] = LOST_S - 1
        house.claim(A, claim())
        assert house.commit() == []

    def test_claims_that_wait_are_served_when_an_owner_is_lost(self) -> None:
        house = self.owned_by_b()
        house.claim(A, claim(idle=10))
        house.sites.silent[B] = LOST_S + 1
        house.granting.tick()
        assert [grant.to for grant in house.commit()] == [A]

    def test_this_site_is_never_lost_to_itself(self) -> None:
        house = House(dataset(1, task(1, owners={ME: [0, 1000]}), jobs=1000))
        house.sites.silent[ME] = 10 * LOST_S
        house.claim(A, claim())
        assert house.commit() == []


class TestRecalls:
    def owned_by_b(self, answer: Recalled | Exception) -> House:
        house = House(dataset(1, task(1, owners={B: [0, 1010]}), jobs=1010))
        house.requests.answer = answer
        return house

    def test_an_owner_is_asked_for_an_idle_site_and_its_release_is_granted(self) -> None:
        house = self.owned_by_b(Recalled(500))
        assert house.answer(house.claim(A, claim(idle=10))).verdict is Verdict.LATER
        ((owner, recall),) = house.requests.asked
        assert (owner, recall.shard, recall.task, recall.units) == (B, SHARD, 0, 500)
        house.granting.changed([UnitsReleased(1, [64], [510, 1010], B)])
        house.clock.advance(0)
        (grant,) = house.commit()
        assert (grant.to, grant.ranges) == (A, [510, 810])

    def test_nobody_is_asked_again_while_the_release_is_on_its_way(self) -> None:
        house = self.owned_by_b(Recalled(500))
        house.claim(A, claim(idle=10))
        house.granting.tick()
        assert len(house.requests.asked) == 1

    @pytest.mark.parametrize("answer", [Recalled(0), Unreachable("no way"), RemoteRefused("no")])
    def test_an_owner_that_gives_nothing_is_left_alone_for_a_while(
        self, answer: Recalled | Exception
    ) -> None:
        house = self.owned_by_b(answer)
        house.claim(A, claim(idle=10))
        house.granting.tick()
        assert len(house.requests.asked) == 1
        house.clock.advance(5)
        house.granting.tick()
        assert len(house.requests.asked) == 2


def test_alone_nothing_is_claimed_until_another_site_joins() -> None:
    house = House()
    house.granting.active = False
    house.sites.others = []
    assert not house.granting.start()
    house.tables.datasets[1] = dataset(1)
    house.granting.changed([DatasetAdded(1)])
    assert house.granting.wants() == []
    house.sites.others = [peer(A)]
    house.granting.tick()
    assert [want.free for want in house.granting.wants()] == [1000]


def test_grants_stop_when_this_site_leads_no_longer() -> None:
    house = House(dataset(1))
    house.shards, house.tables.datasets = [], {}
    house.granting.tick()
    house.claim(A, claim())
    assert house.commit() == []
    house.shards, house.tables.datasets = [ShardID(b"n" * 32)], {2: dataset(2)}
    house.granting.tick()  # the claim has waited
    assert [grant.dataset[0] for grant in house.commit()] == [2]


def test_usage_and_times_are_learnt_every_minute() -> None:
    house = House(dataset(1, person=b"a"), dataset(2, person=b"b"))
    house.used = {(b"a" * 32, "g"): 1e6}
    house.tables.times = [(64, 7.0)]
    house.clock.advance(LEARN_S)
    house.granting.tick()
    assert house.granting.book.datasets[1].tasks[0].unit_s == 7.0
    house.claim(A, claim(300))
    assert house.commit()[0].dataset[0] == 2


def test_the_first_results_of_a_task_end_its_sampling() -> None:
    house = House(dataset(1, task(1, unit_s=None)))
    house.claim(A, claim(300))
    (sample,) = house.commit()
    house.tables.times = [(64, 0.5)]
    house.granting.changed([UnitsSettled(64, [0, 1])])
    house.tables.times = [(64, 9.0)]
    house.granting.changed([UnitsSettled(64, [2])])
    assert house.granting.book.datasets[1].tasks[0].unit_s == 0.5
    house.claim(A, claim(300))
    (grant,) = house.commit()
    assert size(grant.ranges) > size(sample.ranges)


def test_a_shard_that_is_taken_over_is_shared_out_at_once() -> None:
    house = House()
    house.shards, house.tables.datasets = [SHARD, ShardID(b"n" * 32)], {2: dataset(2)}
    house.granting.changed([TermOpened(ShardID(b"n" * 32), 1, FeedID(ME, 1, Lane.CONTROL))])
    house.claim(A, claim())
    assert [grant.dataset[0] for grant in house.commit()] == [2]


def test_a_change_that_cannot_be_taken_in_holds_no_other_up_and_has_all_read_again() -> None:
    house = House(dataset(1), dataset(2))
    ledger = house.tables.ledger

    def broken(no: int, *, with_done: bool) -> DatasetFacts | None:
        raise ZeroDivisionError("a bug")

    house.tables.ledger = broken  # type: ignore[method-assign]
    house.granting.changed([DatasetChanged(1, "anew"), UnitsGranted(2, [128], [0, 10], B)])
    assert B in house.granting.book.owners()
    house.tables.ledger = ledger  # type: ignore[method-assign]
    house.granting.tick()
    assert set(house.granting.book.datasets) == {1, 2}
