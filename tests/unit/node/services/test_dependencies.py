"""What units and tasks wait for, as people are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.records import Reproduce
from node.model.rules import Foreign
from node.services.dependencies import of_tasks, of_unit
from node.services.whyfacts import Dependency
from node.store import tasks
from tests.unit.node.claims.mesh import NEEDS, Mesh, MeshSite

RUN = {"module": [{"run": ["true"]}], "needs": NEEDS}
CHAIN = [{"name": "make", **RUN}, {"name": "use", "after": ["make"], **RUN}]


@pytest.fixture
def mesh(tmp_path: Path):
    mesh = Mesh(tmp_path)
    yield mesh
    mesh.close()


def of(site: MeshSite, dataset, index: int, job: int = 0) -> list[Dependency]:
    no = site.number(dataset)
    return of_unit(site.conn, tasks.dataset(site.conn, no), tasks.spec(site.conn, no), index, job)


def whole(site: MeshSite, dataset, index: int) -> list[Dependency]:
    no = site.number(dataset)
    found = of_tasks(site.conn, tasks.dataset(site.conn, no), tasks.spec(site.conn, no))
    return list(found[index])


def test_what_is_settled_serves_and_what_was_lost_says_so(mesh):
    site = mesh.site("desy", cores=1, unit_s=10.0)
    dataset = site.submit("chain", 3, task=CHAIN)
    mesh.run(35)
    (made,) = of(site, dataset, 1)
    assert (made.unit, made.state, made.serves) == ("chain/0/make", "settled", True)
    assert whole(site, dataset, 1) == []
    site.journal.control(Reproduce(site.shard, dataset, [0], [0, 2]))
    mesh.run(0.1)
    (made,) = of(site, dataset, 1)
    assert not made.serves
    assert made.holdup == "its outputs were lost; it runs again"
    assert of(site, dataset, 1, job=2)[0].holdup == ""
    assert [each.holdup for each in whole(site, dataset, 1)] == [
        "2 run again, as their outputs were lost"
    ]


def test_what_is_settled_in_another_log_waits_for_its_import(mesh):
    desy, gent = mesh.site("desy"), mesh.site("gent")
    first = desy.submit("first", 2)
    mesh.run(20)
    waits = {"first": Foreign(first, 2, ("main",))}
    second = gent.submit(
        "second", 2, foreign=waits,
        task=[{"name": "one", "after": ["first/main"], **RUN},
              {"name": "all", "after": ["first/main:*"], **RUN}],
    )  # fmt: skip
    (one,) = of(gent, second, 0)
    assert (one.unit, one.state, one.serves) == ("first/0/main", "settled", False)
    assert one.holdup == "settled in a log that desy leads; waits for its import into this one's"
    (every,) = whole(gent, second, 1)
    assert (every.settled, every.total, every.serves) == (2, 2, False)
    assert every.holdup.startswith("2 settled in a log that desy leads")
