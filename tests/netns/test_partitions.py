"""Five sites, a council of five: cut into parts for longer than every timer, and healed.

In the end two are lost with their disks: one that leads, and one that alone holds what it made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from node.client import ClientError
from tests.netns.meshes import NetMesh, NetSite, net_mesh, until

FIVE = ("madison", "desy", "nersc", "chicago", "aachen")
JOBS = 100


@pytest.fixture(scope="module")
def five() -> Iterator[NetMesh]:
    with net_mesh(FIVE) as here:
        yield here


@pytest.fixture(autouse=True)
def _lines_are_whole(five: NetMesh) -> Iterator[None]:
    yield
    five.net.heal()


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
    until(partial(all_well, five["madison"]), "all sites are well")


def all_well(here: NetSite) -> bool:
    """Whether it says so, and shows so; on a busy machine a beacon may be late."""
    mesh, shown = here.mesh()
    return "5 sites · 5 alive" in shown and {each["state"] for each in mesh["sites"]} == {"alive"}


def leads_on(leader: NetSite) -> None:
    """What the leader shows, with one other voter of four."""
    mesh, shown = leader.mesh()
    assert mesh["unsettled"] > 0
    assert "3 unreachable" in shown
    assert "every log record is settled" not in shown
    shard = leader.shard("split")
    assert (shard["leader"], shard["leader_state"]) == ("madison", "alive")
    assert shard["unsettled_s"] > 1
    until(lambda: leader.linked() == {"desy"}, "it has links with its own part only")
    until(partial(leader.explains, "nersc", "unreachable", "dialled 10.77.3.2:7421"), "it dials")
    until(partial(tells_of_grants, leader), "it says what becomes of granted units")
    until(partial(leader.agrees_with, {"desy"}, {"nersc", "chicago", "aachen"}), "tables are equal")


def tells_of_grants(leader: NetSite) -> bool:
    """Whether it says that a silent owner's units are granted again, if and only if it has any."""
    mesh, (_, words) = leader.json("mesh"), leader.why("nersc")
    [granted] = [each["granted"] for each in mesh["sites"] if each["name"] == "nersc"]
    return ("granted again" in words) == (granted > 0)


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
    everything = partial(five["nersc"].settled, "parted", JOBS)
    until(everything, "others run what the lost owners were granted", 60)

    shard = five["nersc"].shard("parted")
    assert shard["leader"] in majority
    until(partial(leads_well, five["nersc"], "parted"), "the leader is heard")
    assert "desy: not heard for " in five["nersc"].mesh()[1]
    until(partial(five["nersc"].tells_of_leader, "parted"), "who leads now is said")
    old = five["desy"].shard("parted")
    assert (old["leader"], old["term"]) == ("desy", 0)
    assert old["settled"] < old["position"]

    five.net.heal()
    five.together()
    five.ended("parted", JOBS)
    for name in FIVE:
        found = five[name].shard("parted")
        # On a busy machine, others may take over later.
        assert found["term"] > shard["term"] or found["leader"] == shard["leader"]
    until(partial(five["madison"].explains, "desy", "alive", "it founded shard desy/"), "all well")


def leads_well(here: NetSite, dataset: str) -> bool:
    return bool(here.shard(dataset)["leader_state"] == "alive")


CHAIN = """
floe = 1
name = "chain"
jobs = 20
files = ["make.sh", "use.sh"]
[[task]]
name = "make"
outputs = ["data"]
[[task.module]]
run = ["./make.sh"]
[[task]]
name = "use"
after = ["make"]
inputs = { "data" = "make/data" }
outputs = ["size"]
[[task.module]]
run = ["./use.sh"]
"""
LEFT = ("madison", "desy", "nersc")
GONE = ("chicago", "aachen")
MADE_BYTES = 1_000_000
SLOW_BYTES_PER_S = 20_000


def test_a_leader_and_the_only_copy_of_an_output_are_lost_for_good(five: NetMesh) -> None:
    leader, owner, watcher = five["chicago"], five["aachen"], five["nersc"]
    five.net.slow("aachen", SLOW_BYTES_PER_S)  # no second copy of what it makes is done soon
    gate = submit_chain(leader)
    until(lambda: made_at(watcher, "aachen"), "a result of the owner counts")
    assert watcher.shard("chain")["leader"] == "chicago"
    five.net.cut(["aachen"], ["chicago", *LEFT])
    until(lambda: owner.counts("chain")["running"], "it works on, unheard")
    lost = made_at(watcher, "aachen")
    five.kill("aachen", disk=True)
    five.kill("chicago", disk=True)

    until(lambda: watcher.shard("chain")["leader"] in LEFT, "another site leads")
    lost_both = dict.fromkeys(LEFT, "alive") | dict.fromkeys(GONE, "unreachable")
    until(partial(watcher.sees_as, lost_both), "the loss is seen")
    until(lambda: "3 alive, 2 unreachable" in watcher.mesh()[1], "and told")
    assert "chicago: not heard for" in watcher.mesh()[1]
    assert watcher.shard("chain")["term"] > 0
    until(partial(leads_well, watcher, "chain"), "the leader is heard")
    assert watcher.explains("aachen", "unreachable", "floe mesh revoke aachen")
    gate.touch()
    until(partial(done, watcher), "all is done by those that are left", 120)
    for name in LEFT:
        until(partial(done, five[name]), f"{name} knows")
    for job in lost:  # it was made again: what used it ran elsewhere
        attempts = watcher.ask(f"/v1/units/chain/{job}/make")["attempts"]
        assert {each["site"] for each in attempts if each["outcome"] == "success"} & set(LEFT)
        assert sum(each["accepted"] for each in attempts) == 1
    gone = {"aachen", "chicago"}
    until(partial(watcher.agrees_with, set(LEFT) - {"nersc"}, gone), "tables are equal")
    for name in LEFT:
        five[name].run("verify")


def submit_chain(site: NetSite) -> Path:
    """A dataset whose second task waits for a file; that file."""
    folder = site.home.parent
    gate = folder.parent / "gate"
    (folder / "make.sh").write_text(f"#!/bin/sh\nyes $FLOE_JOB | head -c {MADE_BYTES} > data\n")
    (folder / "use.sh").write_text(
        f"#!/bin/sh\nwhile [ ! -e {gate} ]; do sleep 0.2; done\nwc -c < data > size\n"
    )
    for script in ("make.sh", "use.sh"):
        (folder / script).chmod(0o755)
    (folder / "chain.toml").write_text(CHAIN)
    site.run("submit", "chain.toml", "--wait-stored", "5")
    return gate


def made_at(here: NetSite, site: str) -> list[int]:
    """Jobs whose first task ran at a site, and counts."""
    try:
        units = here.ask("/v1/datasets/chain/jobs?state=settled&task=make")["units"]
    except ClientError:
        return []
    return [unit["job"] for unit in units if unit["site"] == site]


def done(here: NetSite) -> bool:
    return here.settled("chain", 40)
