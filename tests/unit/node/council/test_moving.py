"""Datasets go to a larger council, to one without a lost seat, away from a site that is drained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall

from federation.election import Pace
from federation.ids import DatasetID, FeedID, Lane, ShardID, SiteID
from federation.ports import Handler
from federation.records import Accept, Adopt, Dataset, Move, Reproduce
from node.council.founding import Founding, Peers
from node.council.moving import LOOK_S, Moving
from node.council.service import Council
from node.council.tables import FoldedFacts
from node.council.views import Views
from node.leading.granting import Rules
from node.leading.importing import LOOK_S as IMPORT_S
from node.leading.importing import Importing
from node.model.rules import Foreign
from node.services.lookups import OrderLookups
from node.store import ledgers, openwork, tasks
from node.tending import MoveTables
from tests.unit.node.claims.mesh import NEEDS, Mesh, MeshSite, a_fold

PACE = Pace(12.0)
STEADY_S = 5.0


class Seated:
    """A site of a mesh with its seats in councils; implements the ports Voice and Revocations."""

    def __init__(self, net: Net, site: MeshSite) -> None:
        self.net, self.site = net, site
        self.boot = 1
        clock, self.wire = site.mesh.clock, site.mesh.wires.of(site.id)
        me = FeedID(site.id, site.generation, Lane.CONTROL)
        self.facts = FoldedFacts(site.conn, site.id, a_fold(site.id).acts())
        self.council = Council(
            clock, me, self.facts, site.journal, self, self, PACE, Random(site.name)
        )
        site.journal.subscribe_durable(self.council.arrived)
        peers = Peers(site.id, site, clock.seconds)
        site.sharing.beacons.subscribe(peers.heard)
        views = Views(me, self.facts, self)
        random = Random(site.name)
        founding = Founding(me, views, site.tables.shards, peers, site.journal, random.randbytes)
        self.moving = Moving(
            clock, me, views, site.tables.shards, peers, founding,
            MoveTables(site.conn, self.facts), site.journal, self.wire, self.keep,
            site.sharing.drained, STEADY_S,
        )  # fmt: skip
        self.importing = Importing(
            clock, site.id, site.generation, site.journal, self.read, self.facts.proof
        )
        self.council.start()
        self.loops = []
        for part, period_s in ((self.moving, LOOK_S), (self.importing, IMPORT_S)):
            site.journal.subscribe(part.changed)
            loop = LoopingCall(part.look)
            loop.clock = clock
            loop.start(period_s, now=False)
            self.loops.append(loop)

    def read(self, fn: Any) -> Deferred[Any]:
        return maybeDeferred(fn, self.site.conn)

    async def keep(
        self, dataset: DatasetID, sites: Sequence[SiteID], wanted: int, timeout_s: float
    ) -> Sequence[SiteID]:
        return [site for site in sites if site not in self.net.full]

    def request(self, site: SiteID, kind: str, body: bytes) -> object:
        return self.wire.request(site, kind, body)

    def serve(self, kind: str, handler: Handler) -> None:
        self.wire.serve(kind, handler)

    def flood(self, kind: str, document: bytes) -> None:
        self.wire.flood(kind, document)

    def on_flood(self, kind: str, fn: Callable[[SiteID, bytes], None]) -> None:
        self.wire.on_flood(kind, fn)

    def revoked(self, site: SiteID) -> bool:
        return site in self.net.revoked

    def subscribe(self, fn: Callable[[], None]) -> None:
        self.net.told.append(fn)

    def council_of(self, dataset: DatasetID) -> set[str]:
        """Names of those that vote on the shard in which a dataset stands."""
        sites = openwork.council_of(self.site.conn, self.site.number(dataset))
        return {self.net.mesh.by_id(site).name for site in sites}

    def leader(self, dataset: DatasetID) -> str:
        place = ledgers.place(self.site.conn, self.site.number(dataset))
        assert place is not None
        return self.net.mesh.by_id(place[2]).name

    def stop(self) -> None:
        for loop in self.loops:
            loop.stop()
        self.moving.stop()
        self.importing.stop()
        self.council.stop()


class Net:
    """Sites with councils. full: those that keep no files for others."""

    def __init__(self, folder: Path) -> None:
        self.mesh = Mesh(folder)
        self.sites: list[Seated] = []
        self.revoked: set[SiteID] = set()
        self.full: set[SiteID] = set()
        self.told: list[Callable[[], None]] = []

    def join(self, *names: str, unit_s: float = 5.0) -> list[Seated]:
        found = [Seated(self, self.mesh.site(name, unit_s=unit_s)) for name in names]
        self.sites += found
        return found

    def revoke(self, seated: Seated) -> None:
        site = seated.site.id
        self.mesh.members.remove(site)
        self.revoked.add(site)
        self.mesh.cut.add(site)
        for fn in [*self.told, *self.mesh.told]:
            fn()

    def settled_everywhere(self, dataset: DatasetID, units: int) -> bool:
        return all(
            each.site.settled(dataset) == units
            for each in self.sites
            if each.site.id not in self.mesh.cut
        )

    def close(self) -> None:
        for each in self.sites:
            each.stop()
        self.mesh.close()


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    net = Net(tmp_path)
    yield net
    net.close()


def hurry(*sites: Seated) -> None:
    """Units of a site that is silent for 30 s go to others, if one of these leads."""
    for each in sites:
        each.site.sharing.granting._rules = Rules(lost_s=30.0)


def ran(net: Net) -> int:
    return sum(len(each.site.pilot.ran) for each in net.sites)


def test_the_datasets_of_a_site_that_was_alone_go_to_a_council_once_others_join(net: Net) -> None:
    [desy] = net.join("desy")
    dataset = desy.site.submit("running", 160)
    net.mesh.run(20)
    before = desy.site.settled(dataset)
    assert before > 0
    net.join("gent", "oslo")
    net.mesh.until(lambda: desy.council_of(dataset) == {"desy", "gent", "oslo"}, 60)
    left = 160 - desy.site.settled(dataset)
    took_s = net.mesh.until(lambda: net.settled_everywhere(dataset, 160), 600)
    assert took_s < 1.3 * left * 5 / 12  # nobody was idle for long
    assert ran(net) == 160
    assert desy.site.duplicates(dataset) == 0
    assert len(desy.site.control_records(Move)) == len(desy.site.control_records(Adopt)) == 1


def test_two_sites_have_no_larger_council_than_one(net: Net) -> None:
    desy, _ = net.join("desy", "gent")
    dataset = desy.site.submit("here", 10)
    net.mesh.run(60)
    assert desy.council_of(dataset) == {"desy"}
    assert desy.site.control_records(Move) == []


def test_what_grew_outlives_the_site_that_began_it(net: Net) -> None:
    [desy] = net.join("desy")
    dataset = desy.site.submit("running", 120)
    net.mesh.run(10)
    gent, oslo = net.join("gent", "oslo")
    net.mesh.until(lambda: "gent" in desy.council_of(dataset), 60)
    net.mesh.run(5)
    net.mesh.cut.add(desy.site.id)
    net.mesh.until(lambda: gent.leader(dataset) != "desy", 3 * PACE.patience_s)
    hurry(gent, oslo)
    net.mesh.until(lambda: net.settled_everywhere(dataset, 120), 900)
    assert gent.site.duplicates(dataset) == 0
    assert tasks.counts(gent.site.conn, gent.site.number(dataset)).done


def test_a_move_whose_mover_dies_is_brought_to_its_end_by_the_next_leaders(net: Net) -> None:
    desy, gent, oslo = net.join("desy", "gent", "oslo")
    net.mesh.run(10)
    dataset = desy.site.submit("running", 120)
    net.mesh.until(lambda: len(desy.council_of(dataset)) == 3, 60)
    before = len(desy.site.control_records(Adopt))
    others = [gent, oslo, *net.join("rome", "bonn")]
    moved = "SELECT moved FROM dataset WHERE id = ?"
    net.mesh.until(lambda: gent.site.conn.execute(moved, (dataset,)).get is not None, 60)
    net.mesh.cut.add(desy.site.id)
    assert len(desy.site.control_records(Adopt)) == before
    net.mesh.until(lambda: len(gent.council_of(dataset)) == 5, 6 * PACE.patience_s)
    adopted = [each for each in others if each.site.control_records(Adopt)]
    assert [each.site.name for each in adopted] == [gent.leader(dataset)]
    hurry(*others)
    net.mesh.until(lambda: net.settled_everywhere(dataset, 120), 600)
    assert gent.site.duplicates(dataset) == 0


def test_a_drained_site_gives_what_it_leads_to_another(net: Net) -> None:
    desy, gent, _ = net.join("desy", "gent", "oslo")
    net.mesh.run(10)
    dataset = desy.site.submit("running", 100)
    net.mesh.run(10)
    desy.site.work.drain()
    net.mesh.until(lambda: gent.leader(dataset) != "desy", 60)
    assert desy.leader(dataset) in ("gent", "oslo")
    net.mesh.until(lambda: net.settled_everywhere(dataset, 100), 600)
    assert ran(net) == 100
    assert gent.site.duplicates(dataset) == 0
    assert gent.council_of(dataset) == {"desy", "gent", "oslo"}  # it still votes


def test_a_drained_site_keeps_no_seat_that_another_could_take(net: Net) -> None:
    desy, gent, *_ = net.join("desy", "gent", "oslo", "rome")
    net.mesh.run(10)
    dataset = desy.site.submit("running", 20)
    net.mesh.run(2)
    desy.site.work.drain()
    net.mesh.until(lambda: gent.leader(dataset) != "desy", 60)
    assert gent.council_of(dataset) == {"gent", "oslo", "rome"}


def test_of_two_sites_a_drained_one_gives_all_to_the_other(net: Net) -> None:
    desy, _ = net.join("desy", "gent")
    net.mesh.run(10)
    dataset = desy.site.submit("running", 40)
    net.mesh.run(10)
    desy.site.work.drain()
    net.mesh.until(lambda: desy.leader(dataset) == "gent", 60)
    net.mesh.until(lambda: net.settled_everywhere(dataset, 40), 300)


def test_a_seat_that_is_lost_for_good_is_replaced(net: Net) -> None:
    desy, gent, oslo = net.join("desy", "gent", "oslo")
    dataset = desy.site.submit("running", 120)
    net.mesh.until(lambda: len(desy.council_of(dataset)) == 3, 60)
    net.revoke(oslo)
    net.mesh.run(30)
    assert desy.council_of(dataset) == {"desy", "gent", "oslo"}  # nobody could sit there instead
    net.join("rome")
    net.mesh.until(lambda: desy.council_of(dataset) == {"desy", "gent", "rome"}, 90)
    hurry(desy, gent)
    net.mesh.until(lambda: gent.site.settled(dataset) == 120, 900)


def test_a_dataset_waits_until_a_majority_of_the_next_council_keeps_its_files(net: Net) -> None:
    [desy] = net.join("desy")
    dataset = desy.site.submit("running", 20)
    gent, oslo = net.join("gent", "oslo")
    net.full = {gent.site.id, oslo.site.id}
    net.mesh.run(60)
    assert desy.site.control_records(Move) == []
    net.full.discard(gent.site.id)
    net.mesh.until(lambda: len(desy.council_of(dataset)) == 3, 30)


def test_nothing_moves_to_a_council_that_has_not_settled_its_founding(net: Net) -> None:
    [desy] = net.join("desy")
    desy.site.submit("running", 20)
    gent, oslo = net.join("gent", "oslo")
    net.mesh.run(STEADY_S)
    net.mesh.cut.update({gent.site.id, oslo.site.id})
    net.mesh.run(60)
    assert desy.site.control_records(Move) == []


def test_an_order_that_arrives_while_its_dataset_moves_is_obeyed(net: Net) -> None:
    [desy] = net.join("desy")
    dataset = desy.site.submit("running", 4000)
    gent, _ = net.join("gent", "oslo")
    net.mesh.until(lambda: bool(desy.site.control_records(Move)), 60)
    target = orders(desy).target(dataset)
    assert target is not None
    assert not target.led  # by nobody now: whoever gives an order waits
    order = desy.site.order(dataset, "pause", nonce=2)  # its old log refuses it
    assert orders(desy).refusal(target, order) == ""
    gent.site.order(dataset, "cancel")
    net.mesh.until(lambda: len(gent.council_of(dataset)) == 3, 30)
    number = desy.site.number(dataset)
    net.mesh.until(lambda: tasks.counts(desy.site.conn, number).cancelled > 3900, 60)


def orders(seated: Seated) -> OrderLookups:
    site = seated.site
    return OrderLookups(site.conn, lambda _: {}, site.tables.shards, list, site._name_of)


def test_a_dataset_submitted_meanwhile_follows(net: Net) -> None:
    [desy] = net.join("desy")
    old = desy.site.shard
    desy.site.submit("first", 20)
    net.join("gent", "oslo")
    net.mesh.run(40)
    dataset = desy.site.submit("late", 20, shard=old)
    net.mesh.until(lambda: len(desy.council_of(dataset)) == 3, 30)
    net.mesh.until(lambda: net.settled_everywhere(dataset, 20), 100)


def test_the_log_that_a_dataset_left_accepts_nothing_more(net: Net) -> None:
    [desy] = net.join("desy")
    dataset = desy.site.submit("running", 120)
    net.join("gent", "oslo")
    net.mesh.until(lambda: len(desy.council_of(dataset)) == 3, 60)
    net.mesh.run(3)
    first = len(_accepts(desy, desy.site.shard))
    net.mesh.run(30)
    assert len(_accepts(desy, desy.site.shard)) == first
    assert desy.site.control_records(Dataset)[0].shard == desy.site.shard


def _accepts(seated: Seated, shard: ShardID) -> list[Accept]:
    return [each for each in seated.site.control_records(Accept) if each.shard == shard]


def test_datasets_that_wait_for_each_other_move_and_serve_on(net: Net) -> None:
    [desy] = net.join("desy")
    first = desy.site.submit("first", 60)
    task = {"name": "sum", "module": [{"run": ["true"]}], "needs": NEEDS, "after": ["first/main"]}
    waits = {"first": Foreign(first, 60, ("main",))}
    second = desy.site.submit("second", 60, task=[task], foreign=waits)
    net.mesh.run(20)
    gent, _ = net.join("gent", "oslo")
    for dataset in (first, second):
        net.mesh.until(lambda dataset=dataset: len(desy.council_of(dataset)) == 3, 60)
    net.mesh.until(lambda: net.settled_everywhere(second, 60), 300)
    assert net.settled_everywhere(first, 60)
    assert ran(net) == 120
    assert gent.site.duplicates(first) == gent.site.duplicates(second) == 0


def test_a_dataset_runs_behind_one_that_another_council_leads(net: Net) -> None:
    desy, gent, _ = net.join("desy", "gent", "oslo")
    net.mesh.run(10)
    first = desy.site.submit("first", 40)
    net.mesh.until(lambda: len(desy.council_of(first)) == 3, 60)
    task = {"name": "sum", "module": [{"run": ["true"]}], "needs": NEEDS, "after": ["first/main:*"]}
    waits = {"first": Foreign(first, 40, ("main",))}
    second = gent.site.submit("second", 5, task=[task], foreign=waits)
    net.mesh.run(2)
    net.mesh.until(lambda: net.settled_everywhere(second, 5), 300)
    assert (desy.leader(first), desy.leader(second)) == ("desy", "gent")
    assert desy.site.settled(first) == 40


def test_units_whose_outputs_are_lost_run_again_at_any_site(net: Net) -> None:
    desy, gent = net.join("desy", "gent")
    dataset = desy.site.submit("running", 40)
    net.mesh.until(lambda: net.settled_everywhere(dataset, 40), 200)
    before = ran(net)
    net.mesh.run(300)
    desy.site.journal.control(Reproduce(desy.site.shard, dataset, [0], [0, 8]))
    net.mesh.until(lambda: ran(net) == before + 8, 60)
    net.mesh.run(5)
    again = desy.site.conn.execute("SELECT count(*) FROM reproducing").get
    assert (again, gent.site.settled(dataset)) == (0, 40)
    assert ran(net) == before + 8
