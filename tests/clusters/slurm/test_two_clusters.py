"""One node above two clusters of Slurm, one of them without accounting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters.ground import Camp, Kind, section
from tests.clusters.life import DONE_S, ends
from tests.clusters.place import wait_until
from tests.clusters.slurm.ground import SlurmGround

KINDS = [Kind("any", {}), Kind("later", {})]
SOUTHERN = Kind("southern", {})
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
        more = section("south", south, [*KINDS, SOUTHERN], {}, FEW)
        here = Camp(north, KINDS, settings=FEW, more=more)
        here.kinds.append(SOUTHERN.name)
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


def test_one_that_config_names_no_more_at_a_restart_is_followed_to_its_end(
    camp: Camp, south: SlurmGround
) -> None:
    camp.submit("left", "southern", f"until test -e {camp.base}/left; do sleep 0.2; done")
    camp.wait_running("left")
    camp.site.run("down")
    config = camp.site.home / "config.toml"
    text = config.read_text()
    config.write_text(text[: text.index("[site.south]")])
    camp.site.up()
    wait_until("it to leave", lambda: systems(camp)["south"]["state"] == "leaving")
    assert "config.toml does not name it any more" in camp.site.run("site", "show", "south")
    assert south.rig.listing(), "its pilots go on"
    (camp.base / "left").touch()
    camp.site.wait("left", DONE_S)
    assert ends(camp, "left") == ["success"]
    assert hosts(camp, "left", 1) == {"south"}
    wait_until("its end", lambda: "south" not in systems(camp), DONE_S)
    assert not south.rig.listing()
