"""Whole sites share datasets out through claims, grants, results and releases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.records import Command, Dataset
from keys.signing import Purpose, digest
from node.model.commands import command_document
from node.ranges import JobRanges
from node.store import tasks
from node.work.hosts import BAN_S_MIN, FAILS_MIN, Fail
from tests.unit.node.claims.mesh import ANA, BEN, LOST_S, Mesh, MeshSite


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path)
    yield mesh
    mesh.close()


def test_a_site_alone_takes_everything_at_once(mesh: Mesh) -> None:
    site = mesh.site("desy")
    site.submit("alone", 1000)
    mesh.run(1)
    assert [grant.ranges for grant in site.grants()] == [[0, 1000]]
    assert mesh.wires.asked == 0


def test_two_sites_run_one_dataset_and_the_leader_accepts_from_both(mesh: Mesh) -> None:
    desy, gent = mesh.site("desy"), mesh.site("gent")
    dataset = desy.submit("both", 200)
    ideal_s = 200 * 10 / 8
    took_s = mesh.until(lambda: desy.settled(dataset) == 200, 2 * ideal_s)
    assert took_s < 1.2 * ideal_s
    assert desy.duplicates(dataset) == 0
    assert {grant.to for grant in desy.grants()} == {desy.id, gent.id}
    mesh.run(5)
    assert gent.settled(dataset) == 200
    assert len(gent.pilot.ran) >= 80


def test_grants_stand_in_the_leaders_feed_alone(mesh: Mesh) -> None:
    desy, gent = mesh.site("desy"), mesh.site("gent")
    desy.submit("led", 100)
    mesh.run(60)
    assert desy.grants()
    assert gent.grants() == []


def test_no_unit_of_a_live_owner_is_granted_to_another_without_a_release(mesh: Mesh) -> None:
    desy = mesh.site("desy", unit_s=5)
    others = [mesh.site("gent", unit_s=20), mesh.site("oslo", unit_s=2)]
    dataset = desy.submit("checked", 400)
    mesh.until(lambda: desy.settled(dataset) == 400, 2000)
    released = JobRanges(
        bound for site in (desy, *others) for record in site.releases() for bound in record.ranges
    )
    owned = JobRanges()
    for grant in desy.grants():
        again = owned.common(grant.ranges)
        assert released.lacking(again) == []
        owned.add_all(grant.ranges)
    assert desy.duplicates(dataset) == 0


def test_a_site_that_joins_gets_its_part_of_what_the_leader_owns(mesh: Mesh) -> None:
    desy = mesh.site("desy")
    dataset = desy.submit("early", 400)
    mesh.run(60)
    gent = mesh.site("gent")
    mesh.until(lambda: desy.settled(dataset) == 400, 1500)
    assert len(gent.pilot.ran) >= 100
    assert desy.duplicates(dataset) == 0


def test_a_lost_sites_units_run_elsewhere_and_its_late_results_are_duplicates(
    mesh: Mesh,
) -> None:
    desy, gent = mesh.site("desy"), mesh.site("gent")
    dataset = desy.submit("lost", 200)
    mesh.until(lambda: desy.settled(dataset) > 60, 1000)
    mesh.cut.add(gent.id)
    took_s = mesh.until(lambda: desy.settled(dataset) == 200, 5000)
    assert took_s > LOST_S
    mesh.cut.clear()
    mesh.run(30)
    assert desy.settled(dataset) == 200
    assert desy.duplicates(dataset) > 0
    assert gent.settled(dataset) == 200


def test_a_site_that_is_cut_off_for_a_while_goes_on_and_its_results_count(mesh: Mesh) -> None:
    desy, gent = mesh.site("desy"), mesh.site("gent")
    dataset = desy.submit("cut", 300)
    mesh.until(lambda: desy.settled(dataset) > 60, 1000)
    ran = len(gent.pilot.ran)
    mesh.cut.add(gent.id)
    mesh.run(LOST_S / 4)
    assert len(gent.pilot.ran) > ran + 20
    mesh.cut.clear()
    mesh.until(lambda: desy.settled(dataset) == 300, 1000)
    assert desy.duplicates(dataset) == 0


def test_a_second_persons_units_start_soon_everywhere(mesh: Mesh) -> None:
    desy, gent = mesh.site("desy"), mesh.site("gent")
    desy.submit("first", 100_000)
    mesh.run(120)
    second = desy.submit("second", 1000, BEN)
    began_s = mesh.clock.seconds()
    mesh.run(60)
    for site in (desy, gent):
        started = [at for spec, at in site.pilot.first_s.items() if second.hex() in spec]
        assert started, f"nothing of the second person runs at {site.name}"
        assert started[0] - began_s < 60


class TestDrained:
    def test_a_drained_site_gives_back_what_it_has_not_begun(self, mesh: Mesh) -> None:
        desy, gent = mesh.site("desy"), mesh.site("gent")
        dataset = desy.submit("drained", 200)
        mesh.until(lambda: desy.settled(dataset) > 40, 1000)
        gent.work.drain()
        mesh.run(15)
        assert [record.why for record in gent.releases()][:1] == ["drained"]
        ran = len(gent.pilot.ran)
        mesh.until(lambda: desy.settled(dataset) == 200, 2000)
        assert len(gent.pilot.ran) <= ran + 4
        assert desy.duplicates(dataset) == 0

    def test_a_drained_site_is_granted_nothing(self, mesh: Mesh) -> None:
        desy, gent = mesh.site("desy"), mesh.site("gent")
        gent.work.drain()
        mesh.run(15)
        desy.submit("none", 100)
        mesh.run(30)
        assert {grant.to for grant in desy.grants()} == {desy.id}

    def test_a_drained_leader_gives_its_own_units_to_others(self, mesh: Mesh) -> None:
        desy = mesh.site("desy")
        mesh.site("gent")
        dataset = desy.submit("away", 200)
        mesh.run(20)
        desy.work.drain()
        mesh.until(lambda: desy.settled(dataset) == 200, 2000)
        assert len(desy.pilot.ran) < 40
        assert desy.duplicates(dataset) == 0


def test_tasks_go_where_their_needs_are_met(mesh: Mesh) -> None:
    desy, gent = mesh.site("desy"), mesh.site("gent", gpus=4)
    needs = {"memory": "1GB", "time": "10m"}
    dataset = desy.submit(
        "chain",
        40,
        task=[
            {"name": "sim", "module": [{"run": ["true"]}], "needs": needs},
            {
                "name": "reco",
                "after": ["sim"],
                "module": [{"run": ["true"]}],
                "needs": {**needs, "gpu": 1},
            },
        ],
    )
    mesh.until(lambda: desy.settled(dataset) == 80, 1000)
    assert all(grant.to == gent.id for grant in desy.grants() if 1 in grant.tasks)
    together = [grant for grant in desy.grants() if list(grant.tasks) == [0, 1]]
    assert together
    assert {grant.to for grant in together} == {gent.id}


def test_rules_about_sites_are_kept(mesh: Mesh) -> None:
    desy, gent = mesh.site("desy"), mesh.site("gent")
    desy.submit("here", 50, sites={"avoid": ["gent"]})
    mesh.run(30)
    assert {grant.to for grant in desy.grants()} == {desy.id}
    assert gent.pilot.ran == []


def test_each_site_leads_its_own_and_runs_both(mesh: Mesh) -> None:
    desy, gent = mesh.site("desy"), mesh.site("gent")
    one, other = desy.submit("one", 100), gent.submit("other", 100, BEN)
    mesh.until(lambda: desy.settled(one) == gent.settled(other) == 100, 1000)
    assert ran_of(desy, other.hex()) > 20
    assert ran_of(gent, one.hex()) > 20


def ran_of(site: MeshSite, dataset: str) -> int:
    return sum(1 for spec, _ in site.pilot.ran if spec.startswith(dataset))


class TestOffers:
    def test_an_order_taken_at_another_site_enters_the_log_of_the_leader(self, mesh: Mesh) -> None:
        desy, gent = mesh.site("desy"), mesh.site("gent")
        dataset = desy.submit("paused", 1000)
        mesh.run(10)
        order = gent.order(dataset, "pause")
        mesh.run(5)
        assert [digest(Purpose.COMMAND, each.doc) for each in desy.control_records(Command)] == [
            order
        ]
        for site in (desy, gent):
            assert tasks.dataset(site.conn, site.number(dataset)).paused
        mesh.run(30)
        assert len(desy.control_records(Command)) == 1

    def test_an_order_of_somebody_who_may_not_give_it_is_refused_once(self, mesh: Mesh) -> None:
        desy, gent = mesh.site("desy"), mesh.site("gent")
        dataset = desy.submit("mine", 1000)
        mesh.run(10)
        gent.order(dataset, "pause", BEN)
        mesh.run(60)
        assert len(desy.control_records(Command)) == 1
        assert not tasks.dataset(desy.conn, desy.number(dataset)).paused

    def test_a_document_that_nobody_signed_never_enters_the_log(self, mesh: Mesh) -> None:
        desy, gent = mesh.site("desy"), mesh.site("gent")
        dataset = desy.submit("forged", 1000)
        mesh.run(10)
        text = command_document(dataset, "pause", {}, [], bytes(16))
        gent.journal.control(Command(desy.shard, text, b"not ana's", ANA))
        mesh.run(60)
        assert desy.control_records(Command) == []

    def test_a_submission_offered_to_a_shard_enters_its_log(self, mesh: Mesh) -> None:
        desy, gent = mesh.site("desy"), mesh.site("gent")
        dataset = gent.submit("given", 50, shard=desy.shard)
        mesh.until(lambda: desy.tables.number(dataset) is not None, 10)
        mesh.until(lambda: desy.settled(dataset) == 50, 500)
        assert len(desy.control_records(Dataset)) == 1


def test_a_worker_that_is_banned_at_one_site_is_known_at_the_others(mesh: Mesh) -> None:
    desy, gent = mesh.site("desy"), mesh.site("gent")
    mesh.run(60)
    fails = [Fail(64, job, "exit") for job in range(FAILS_MIN)]
    hosts, now_s = desy.work.leases.hosts, mesh.clock.seconds()
    hosts.note("w2", 64, 1, [], False, now_s)
    assert hosts.note("w1", 64, 0, fails, False, now_s) is not None
    desy.work.keep_bans()
    mesh.run(15)
    heard = gent.sharing.beacons.newest(desy.id)
    assert heard is not None
    (ban,) = heard.bans
    assert (heard.barred, ban.host) == (1, "w1")
    assert "such units run well on w2" in ban.why
    assert 0.98 * BAN_S_MIN < (ban.until_ms - heard.clock_ms) / 1000 <= BAN_S_MIN
    mesh.run(BAN_S_MIN)
    heard = gent.sharing.beacons.newest(desy.id)
    assert heard is not None
    assert (heard.barred, heard.bans) == (0, ())
