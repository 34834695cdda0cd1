"""Five sites, a council of five: cut into parts for longer than every timer, and healed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from tests.netns.meshes import NetMesh, NetSite, net_mesh, until

FIVE = ("madison", "desy", "nersc", "chicago", "aachen")
JOBS = 100


@pytest.fixture(scope="module")
def five() -> Iterator[NetMesh]:
    with net_mesh(FIVE) as here:
        yield here


def under_way(mesh: NetMesh, dataset: str, at: str, jobs: int = JOBS) -> None:
    """Submit a dataset and wait until all sites work on it."""
    mesh[at].submit(dataset, jobs, 0.3, "--wait-stored", "5")
    until(partial(mesh[at].settled, dataset, 10), "the first results are settled")


def see_each_other_only(mesh: NetMesh, *groups: Sequence[str]) -> None:
    """Wait until each part sees itself alive, and all others unreachable."""
    for group in groups:
        for name in group:
            wanted = {each: "alive" if each in group else "unreachable" for each in FIVE}
            what = f"{name} sees {', '.join(group)} and nobody else"
            until(partial(mesh[name].sees_as, wanted), what)


def test_without_a_majority_nobody_takes_over_and_nothing_is_settled(five: NetMesh) -> None:
    parts = (("madison", "desy"), ("nersc", "chicago"), ("aachen",))
    under_way(five, "split", "madison")
    five.net.cut(*parts)
    see_each_other_only(five, *parts)
    settled = {name: five[name].shard("split")["settled"] for name in FIVE}

    leads_on(five["madison"])
    waits_for_a_majority(five["nersc"])
    until(lambda: no_votes_left(five["nersc"]), "the voters stood, and could not win")
    for name in FIVE:
        shard = five[name].shard("split")
        assert (shard["settled"], shard["term"]) == (settled[name], 0)

    five.net.heal()
    five.together()
    five.ended("split", JOBS)
    states, shown = five["madison"].mesh()
    assert {each["state"] for each in states["sites"]} == {"alive"}
    assert "5 sites · 5 alive" in shown


def leads_on(leader: NetSite) -> None:
    """What the leader shows, with one other voter of four."""
    mesh, shown = leader.mesh()
    assert mesh["unsettled"] > 0
    assert "3 unreachable" in shown
    assert "everything is settled" not in shown
    shard = leader.shard("split")
    assert (shard["leader"], shard["leader_state"]) == ("madison", "alive")
    assert shard["unsettled_s"] > 1
    links = leader.links()
    assert links["desy"]["up"]
    assert not any(links[name]["up"] for name in ("nersc", "chicago", "aachen"))
    state, words = leader.why("nersc")
    assert state == "unreachable"
    assert "dialled 10.77.3.2:7421" in words
    assert "granted again" in words
    assert leader.compared() == (True, {"desy"}, {"nersc", "chicago", "aachen"})


def waits_for_a_majority(voter: NetSite) -> None:
    """What two voters of five show that hear nothing of the leader."""
    shard = voter.shard("split")
    assert (shard["leader"], shard["leader_state"]) == ("madison", "unreachable")
    assert "madison (unreachable)" in voter.run("mesh", "shards")
    _, shown = voter.mesh()
    assert "madison: not heard for" in shown
    assert "Nobody has taken over its shard yet" in shown
    state, words = voter.why("madison")
    assert state == "unreachable"
    assert "the others may vote for another leader now" in words


def no_votes_left(voter: NetSite) -> bool:
    shard = voter.shard("split")
    return shard["silent_s"] > 10 and not shard["votes"]


def test_a_majority_takes_over_and_what_the_others_ran_meanwhile_counts_once(
    five: NetMesh,
) -> None:
    minority, majority = ("desy", "aachen"), ("madison", "nersc", "chicago")
    under_way(five, "parted", "desy")
    five.net.cut(minority, majority)
    see_each_other_only(five, minority, majority)
    ran = five["desy"].counts("parted")["settled"]
    until(lambda: five["nersc"].shard("parted")["term"] > 0, "the majority has another leader")
    until(lambda: five["nersc"].counts("parted")["settled"] > ran, "work goes on there")

    shard = five["nersc"].shard("parted")
    assert shard["leader"] in majority
    assert shard["leader_state"] == "alive"
    _, shown = five["nersc"].mesh()
    assert f"desy: not heard for {shown.split('desy: not heard for ')[1][:3]}" in shown
    assert f"Its shard is led by {shard['leader']}, term {shard['term']}." in shown
    old = five["desy"].shard("parted")
    assert (old["leader"], old["term"]) == ("desy", 0)
    assert old["settled"] < old["position"]

    five.net.heal()
    five.together()
    five.ended("parted", JOBS)
    for name in FIVE:
        assert five[name].shard("parted")["leader"] in majority
    state, words = five["madison"].why("desy")
    assert state == "alive"
    assert "it founded shard desy/" in words
