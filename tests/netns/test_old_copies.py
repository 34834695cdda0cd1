"""A site whose disk is put back, with peers in reach and without; one that runs twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.netns.meshes import NetMesh, NetSite, net_mesh, until

THREE = ("madison", "desy", "nersc")
JOBS = 60


@pytest.fixture(scope="module")
def three() -> Iterator[NetMesh]:
    with net_mesh(THREE) as here:
        yield here


@pytest.fixture(scope="module")
def yesterday(three: NetMesh) -> Path:
    """What desy's disk held before it led anything."""
    desy, copy = three["desy"], three.base / "yesterday"
    desy.run("down", "--pilots")
    desy.save(copy)
    desy.up()
    three.together()
    return copy


def test_a_site_with_yesterdays_disk_learns_from_its_peers_what_it_wrote_since(
    three: NetMesh, yesterday: Path
) -> None:
    desy, madison = three["desy"], three["madison"]
    desy.submit("led", JOBS, 0.3, "--wait-stored", "3")
    until(partial(madison.settled, "led", 10), "the first results are settled")
    assert madison.shard("led")["leader"] == "desy"
    three.kill("desy")
    desy.roll_back(yesterday)
    desy.up()

    until(lambda: len(desy.generations("desy")) > 1, "it goes on under another generation")
    until(lambda: madison.shard("led")["leader"] != "desy", "another site leads what it led")
    three.together()
    three.ended("led", JOBS)
    until(lambda: madison.generations("desy") == desy.generations("desy"), "both know all of it")
    until(partial(madison.explains, "desy", "alive", "a link to 10.77.2.2"), "desy is well")
    desy.run("verify")


def test_one_that_reaches_nobody_writes_a_second_branch_and_loses_nothing_by_it(
    three: NetMesh, yesterday: Path
) -> None:
    desy, madison = three["desy"], three["madison"]
    three.net.cut(["desy"], ["madison", "nersc"])
    three.kill("desy")
    desy.roll_back(yesterday)
    desy.up()
    desy.submit("alone", 5, 0.1)
    until(partial(desy.settled, "alone", 5), "it runs what it was given")
    assert desy.generations("desy") == {1}
    three.net.heal()
    until(lambda: len(desy.generations("desy")) > 2, "it goes on under another generation")
    three.together()
    alarm = "desy: two copies of it wrote generation 1 of its feeds; it goes on under generation"
    until(lambda: alarm in madison.mesh()[1], "the others know of both branches")
    words = "two copies of its home wrote generation 1 of its feeds"
    until(partial(madison.explains, "desy", "alive", words), "and desy is well")
    three.ended("led", JOBS)
    three.ended("alone", 5)  # submitted once more, by the site itself


def test_of_two_nodes_of_one_site_one_is_kept_out_and_nothing_counts_twice(
    three: NetMesh,
) -> None:
    nersc, madison = three["nersc"], three["madison"]
    nersc.run("down", "--pilots")
    twin = NetSite(three.base / "twin" / "home", dict(nersc.environment), three.net, "twin")
    twin.environment |= {"FLOE_HOME": str(twin.home), "HOME": str(twin.home.parent)}
    shutil.copytree(nersc.home.parent, twin.home.parent)
    three.net.connect("twin")
    nersc.up()
    three.together()
    twin.up()
    until(lambda: "two nodes with its key" in madison.mesh()[1], "the others see two")
    words = madison.why("nersc")[1]
    assert "the one started later has the links" in words
    assert "stop one of its two nodes" in words
    until(lambda: "another node with this site's key" in nersc.run("status"), "it knows, too")
    madison.submit("doubled", 40, 0.2)
    until(partial(madison.settled, "doubled", 40), "it ends while both run", 60)
    twin.run("down", "--pilots")
    three.together()
    three.ended("doubled", 40)
    assert set(madison.accepted("doubled").values()) == {1}
