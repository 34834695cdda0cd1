"""Meshes of real nodes on loopback: joined by token, sharing work, losing sites."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.meshes import Mesh, mesh, sees, wait_until
from bench.site import Site

THREE = ("madison", "desy", "nersc")
HURRY = 'vote_after = "4s"\nlost_after = "6s"\n'
SCRIPT = """#!/bin/sh
sleep 0.2
echo "ran $FLOE_JOB"
echo "result $FLOE_JOB" > result.txt
"""


@pytest.fixture(scope="module")
def three() -> Iterator[Mesh]:
    with mesh(THREE) as here:
        yield here


@pytest.fixture
def own_three() -> Iterator[Mesh]:
    """A mesh of which a test may kill sites."""
    with mesh(THREE, config=HURRY) as here:
        yield here


def script(site: Site) -> str:
    path = site.home.parent / "unit.sh"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    return "./unit.sh"  # found in the folder where the command runs, and sent along


def counts(site: Site, name: str) -> dict[str, int]:
    found: dict[str, int] = site.json("show", name)["counts"]
    return found


def knows(site: Site, name: str) -> bool:
    return any(each["name"] == name for each in site.json("sets")["datasets"])


def ran_at(site: Site, name: str, jobs: int) -> set[str]:
    """The sites at which the units of a dataset ran last."""
    return {each["site"] for each in site.json("jobs", name, "--limit", str(jobs))["units"]}


def test_sites_that_joined_by_token_list_each_other(three: Mesh) -> None:
    for site in three.sites.values():
        listed = site.json("mesh")["sites"]
        assert {each["name"] for each in listed} == set(THREE)
        assert {each["state"] for each in listed} == {"alive"}
    madison = {each["name"]: each["key"] for each in three["madison"].json("mesh")["sites"]}
    assert madison == {each["name"]: each["key"] for each in three["desy"].json("mesh")["sites"]}


def test_a_dataset_submitted_at_one_site_is_run_by_all_and_read_at_any(
    three: Mesh, tmp_path: Path
) -> None:
    first, second, third = (three[name] for name in THREE)
    reply = json.loads(
        first.run("submit", "--json", "--wait-stored", "3", "--name", "shared", "--jobs", "120",
                  "--output", "result.txt", "--", script(first))
    )  # fmt: skip
    assert set(reply["stored_on"]) == set(THREE)
    wait_until(lambda: knows(second, "shared"), 10, "the dataset at another site")
    second.wait("shared", 180)
    wait_until(lambda: counts(third, "shared")["settled"] == 120, 20, "the same at a third site")
    assert len(ran_at(third, "shared", 120)) > 1
    third.run("fetch", "shared", "--to", str(tmp_path / "out"))
    for job in range(120):
        assert (tmp_path / "out" / str(job) / "main" / "result.txt").read_text() == (
            f"result {job}\n"
        )
    assert "ran 7" in second.run("logs", "shared/7/main")
    assert first.json("mesh", "verify")["equal"] is True


def test_an_order_given_at_another_site_reaches_the_units(three: Mesh) -> None:
    first, second, _ = (three[name] for name in THREE)
    first.run("submit", "--name", "stopped", "--jobs", "50", "--", "sleep", "600")
    wait_until(lambda: knows(second, "stopped"), 10, "the dataset at another site")
    second.run("--key", str(first.home.parent / "id"), "set", "cancel", "stopped", "--yes")
    wait_until(lambda: counts(first, "stopped")["cancelled"] == 50, 20, "all units cancelled")


def test_the_loss_of_the_site_that_took_a_dataset_costs_nothing_settled(own_three: Mesh) -> None:
    first, second, third = (own_three[name] for name in THREE)
    first.run("submit", "--wait-stored", "3", "--name", "long", "--jobs", "150", "--",
              script(first))  # fmt: skip
    wait_until(lambda: knows(second, "long") and counts(second, "long")["settled"] > 20, 60, "work")
    before = counts(second, "long")["settled"]
    own_three.kill("madison")
    second.wait("long", 240)
    assert counts(second, "long")["settled"] == 150 >= before
    wait_until(lambda: counts(third, "long")["settled"] == 150, 20, "the same at the third site")
    states = {each["name"]: each["state"] for each in second.json("mesh")["sites"]}
    assert states["desy"] == states["nersc"] == "alive"
    shards = second.json("mesh", "shards")["shards"]
    assert {shard["leader"] for shard in shards if shard["datasets"]} <= {"desy", "nersc"}


def test_a_site_that_comes_back_catches_up(own_three: Mesh) -> None:
    first, _, third = (own_three[name] for name in THREE)
    third.run("down")
    first.run("submit", "--name", "meanwhile", "--jobs", "20", "--", "/bin/true")
    first.wait("meanwhile", 60)
    third.up()
    wait_until(lambda: sees(third, 3), 30, "all sites alive again")
    wait_until(lambda: knows(third, "meanwhile"), 20, "what it missed")
    wait_until(lambda: counts(third, "meanwhile")["settled"] == 20, 20, "its results, too")


def test_a_revoked_site_is_cut_off_at_once(own_three: Mesh) -> None:
    first, second, third = (own_three[name] for name in THREE)
    first.run("mesh", "revoke", "nersc", "--yes")
    wait_until(lambda: not _linked(first, "nersc"), 5, "the link cut")
    wait_until(lambda: not _linked(second, "nersc"), 15, "the link cut by the other site, too")
    states = {each["name"]: each["state"] for each in first.json("mesh")["sites"]}
    assert states["nersc"] == "revoked"
    first.run("submit", "--name", "after", "--jobs", "5", "--", "/bin/true")
    first.wait("after", 60)
    assert not knows(third, "after")


def _linked(site: Site, peer: str) -> bool:
    links = site.json("mesh", "links")["links"]
    return any(link["peer"] == peer and link["up"] for link in links)
