"""Datasets of real nodes change their council: the mesh grows, the first site dies."""

from __future__ import annotations

from typing import Any

from bench.meshes import mesh, sees, wait_until
from bench.site import Site

HURRY = 'vote_after = "4s"\nlost_after = "6s"\n'


def counts(site: Site, name: str) -> dict[str, int]:
    found: dict[str, int] = site.json("show", name)["counts"]
    return found


def shard_of(site: Site, dataset: int = 1) -> dict[str, Any]:
    """The shard that holds datasets; all are in one once the moves are over."""
    held = [each for each in site.json("mesh", "shards")["shards"] if each["datasets"]]
    return held[0] if len(held) == 1 and held[0]["datasets"] == dataset else {}


def test_work_begun_at_one_site_goes_on_at_two_that_joined_when_the_first_is_lost() -> None:
    with mesh(("madison",), config=HURRY) as here:
        first, go = here["madison"], here.base / "go"
        waits = f"test $FLOE_JOB -lt 4 || until test -e {go}; do sleep 0.1; done"
        first.run("submit", "--name", "long", "--jobs", "24", "--", "sh", "-c", waits)
        wait_until(lambda: counts(first, "long")["settled"] == 4, 30, "work at one site")
        second, third = (here.add(name, config=HURRY) for name in ("desy", "nersc"))
        wait_until(lambda: sees(third, 3), 30, "all sites alive")
        wait_until(lambda: len(shard_of(second).get("council", [])) == 3, 60, "a council of three")
        wait_until(lambda: counts(second, "long")["settled"] == 4, 20, "what was done at one site")
        here.kill("madison")
        go.touch()
        second.wait("long", 120)
        found = counts(second, "long")
        assert found["settled"] == 24
        wait_until(lambda: counts(third, "long") == found, 10, "the same at the third site")
        assert shard_of(second)["leader"] in ("desy", "nersc")
        assert second.json("mesh", "verify")["equal"] is True
        attempts = [second.json("show", f"long/{job}/main")["attempts"] for job in range(0, 24, 5)]
        assert all(sum(each["accepted"] for each in tried) == 1 for tried in attempts)


def test_what_a_drained_site_leads_goes_to_another() -> None:
    with mesh(("madison", "desy")) as here:
        first, second = here["madison"], here["desy"]
        first.run("submit", "--name", "long", "--jobs", "24", "--", "sleep", "0.3")
        wait_until(lambda: sees(second, 2) and counts(second, "long")["settled"] > 3, 30, "work")
        first.run("site", "drain", "--why", "new storage")
        wait_until(lambda: shard_of(second).get("leader") == "desy", 30, "another leader")
        second.wait("long", 90)
        first.run("submit", "--name", "late", "--jobs", "2", "--", "/bin/true")
        wait_until(lambda: shard_of(second, 2).get("leader") == "desy", 30, "the late one, too")
        second.wait("late", 60)
        wait_until(lambda: counts(first, "late")["settled"] == 2, 10, "the same at the first site")
        first.run("down", "--pilots")
        assert counts(second, "long")["settled"] == 24
