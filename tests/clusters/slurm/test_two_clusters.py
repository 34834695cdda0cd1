"""One node above two clusters of Slurm, one of them without accounting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters.ground import Camp, Kind, section
from tests.clusters.life import DONE_S
from tests.clusters.place import wait_until
from tests.clusters.slurm.ground import SlurmGround

KINDS = [Kind("any", {}), Kind("later", {})]
FEW = {"running_max": 2}


@pytest.fixture(scope="module")
def south() -> Iterator[SlurmGround]:
    here = SlurmGround("south", accounting=False)
    yield here
    here.close()


@pytest.fixture(scope="module")
def camp(south: SlurmGround) -> Iterator[Camp]:
    north = SlurmGround("north")
    try:
        more = section("south", south, KINDS, {}, FEW)
        here = Camp(north, KINDS, settings=FEW, more=more)
        try:
            yield here
        finally:
            here.close()
    finally:
        north.close()


def hosts(camp: Camp, name: str, jobs: int) -> set[str]:
    """The clusters whose workers ran a dataset."""
    ran = [camp.attempts(name, job)[-1]["host"] for job in range(jobs)]
    return {str(host).rstrip("12") for host in ran}


def systems(camp: Camp) -> dict[str, dict[str, object]]:
    found = camp.site.json("site", "show")["site"]["batch"]
    return {each["name"]: each for each in found}


def test_two_clusters_share_a_dataset(camp: Camp) -> None:
    camp.submit("shared", "any", "sleep 3", jobs=12)
    camp.site.wait("shared", DONE_S)
    assert hosts(camp, "shared", 12) == {"north", "south"}
    assert {each["foreign"] for name, each in systems(camp).items() if name != "local"} == {0}


def test_while_one_is_down_the_other_works_and_the_trouble_is_told(
    camp: Camp, south: SlurmGround
) -> None:
    with south.rig.outage():
        wait_until(
            "the trouble",
            lambda: "Unable to contact slurm controller" in str(systems(camp)["south"]["barred"]),
        )
        assert systems(camp)["main"]["barred"] == ""
        camp.submit("there", "later", "true", jobs=4)
        camp.site.wait("there", DONE_S)
        assert hosts(camp, "there", 4) == {"north"}
        assert "Unable to contact slurm controller" in camp.site.run("site", "show")
