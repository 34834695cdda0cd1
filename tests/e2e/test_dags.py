"""Tasks of real nodes that wait for tasks which run, or are led, at other sites."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.meshes import Mesh, free_port, mesh, sees, wait_until
from bench.site import Site, make_site

MAKE = {"run": ["sh", "-c", 'echo "made $FLOE_JOB" > made.txt']}
READ = {"run": ["sh", "-c", "cat made.txt > read.txt"]}
FIRST = {
    "name": "first", "jobs": 6,
    "task": [{"name": "make", "outputs": ["made.txt"], "module": [MAKE]}],
}  # fmt: skip
SECOND = {
    "name": "second",
    "task": [
        {
            "name": "sum", "after": ["first/make:*"], "inputs": {"in/": "first/make:*/made.txt"},
            "outputs": ["sum.txt"],
            "module": [{"run": ["sh", "-c", "cat in/*/made.txt > sum.txt"]}],
        }
    ],
}  # fmt: skip
CHAIN = {
    "name": "chain", "jobs": 6,
    "task": [
        {"name": "make", "outputs": ["made.txt"], "module": [MAKE]},
        {
            "name": "train", "after": ["make"], "inputs": {"made.txt": "make/made.txt"},
            "outputs": ["read.txt"], "needs": {"gpu": 1}, "module": [READ],
        },
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def three() -> Iterator[Mesh]:
    """Three sites, so that each leads what it took with a council; one has a GPU."""
    with mesh(("madison", "nersc")) as here:
        add_with_gpu(here, "desy")
        for site in here.sites.values():
            wait_until(lambda site=site: sees(site, 3), 20, "all sites alive")
        yield here


def add_with_gpu(here: Mesh, name: str) -> None:
    """A site that says that its workers have a GPU joins."""
    folder = here.base / name
    folder.mkdir()
    ports = ["--mesh-listen", "127.0.0.1", "--mesh-port", str(free_port())]
    site = here.sites[name] = make_site(folder, name, *ports, slots=1)
    config = site.home / "config.toml"
    config.write_text(config.read_text().replace("slots = 1", "slots = 1\ngpus = 1"))
    site.up()
    site.run("mesh", "join", here["madison"].run("mesh", "invite").strip())


def submit(site: Site, told: dict[str, Any]) -> None:
    path = site.home.parent / f"{told['name']}.json"
    path.write_text(json.dumps({"floe": 1, **told}))
    site.run("submit", str(path))


def ran_at(site: Site, unit: str) -> str:
    attempts = site.json("show", unit)["attempts"]
    return next(str(each["site"]) for each in attempts if each["accepted"])


def knows(site: Site, name: str) -> bool:
    return any(each["name"] == name for each in site.json("sets")["datasets"])


def both_lead_with_three(site: Site) -> bool:
    shards = [each for each in site.json("mesh", "shards")["shards"] if each["datasets"]]
    leaders = {each["leader"] for each in shards}
    return leaders == {"madison", "desy"} and {len(each["council"]) for each in shards} == {3}


def test_a_dataset_waits_for_one_that_another_site_leads(three: Mesh, tmp_path: Path) -> None:
    madison, desy = three["madison"], three["desy"]
    submit(madison, FIRST)
    wait_until(lambda: knows(desy, "first"), 10, "the first dataset at the other site")
    submit(desy, SECOND)
    desy.wait("second", 90)
    wait_until(lambda: both_lead_with_three(desy), 30, "two leaders with councils of three")
    desy.run("fetch", "second", "--to", str(tmp_path))
    lines = (tmp_path / "0" / "sum" / "sum.txt").read_text().splitlines()
    assert [line.split()[1] for line in lines] == [str(job) for job in range(6)]


def test_a_task_that_needs_a_gpu_runs_where_one_is(three: Mesh, tmp_path: Path) -> None:
    madison, desy = three["madison"], three["desy"]
    submit(madison, CHAIN)
    madison.wait("chain", 90)
    assert {ran_at(madison, f"chain/{job}/train") for job in range(6)} == {"desy"}
    madison.run("fetch", "chain", "--task", "train", "--to", str(tmp_path))
    for job in range(6):
        read = (tmp_path / str(job) / "train" / "read.txt").read_text().split()
        assert read == ["made", str(job)]
    assert desy.json("mesh", "verify")["equal"] is True


def test_outputs_that_are_lost_are_made_again_for_whoever_wants_them(
    own_site: Site, tmp_path: Path
) -> None:
    submit(own_site, {**CHAIN, "task": [CHAIN["task"][0]], "jobs": 2})
    own_site.wait("chain", 30)
    own_site.run("down")
    shutil.rmtree(own_site.home / "blobs")
    own_site.up()
    assert own_site.run("fetch", "chain", "--to", str(tmp_path), check=False) == ""
    wait_until(
        lambda: "2 files" in own_site.run("fetch", "chain", "--to", str(tmp_path), check=False),
        40,
        "the files",
        every_s=1.0,
    )
    assert (tmp_path / "1" / "make" / "made.txt").read_text() == "made 1\n"

    def accepted() -> list[bool]:
        return [each["accepted"] for each in own_site.json("show", "chain/1/make")["attempts"]]

    # The file is there before the pilot has reported that it made it.
    wait_until(lambda: len(accepted()) == 2, 20, "the second attempt")
    assert accepted() == [True, False]
