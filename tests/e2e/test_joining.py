"""Sites that join by token and by keys, with real nodes and links, by the command line alone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.site import FLOE, Site, make_site, take_down

SEEN_S_MAX = 90


class Sites:
    """Sites by name, made when they are first named."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sites: dict[str, Site] = {}

    def __getitem__(self, name: str) -> Site:
        if name not in self._sites:
            folder = self._folder / name
            folder.mkdir()
            ports = ["--mesh-port", "0", "--address", "127.0.0.1"]
            if name.startswith("dialling"):
                ports = ["--dial-only"]
            self._sites[name] = made = make_site(folder, name, *ports, slots=1)
            made.up()
        return self._sites[name]

    def close(self) -> None:
        for each in self._sites.values():
            take_down(each)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    made = Sites(tmp_path)
    try:
        yield made
    finally:
        made.close()


def floe(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FLOE, *words], env=site.environment, capture_output=True, text=True, check=False
    )


def names(site: Site) -> set[str]:
    return {each["name"] for each in site.json("mesh", "members")["members"]}


def linked(site: Site) -> set[str]:
    members = site.json("mesh", "members")["members"]
    return {each["name"] for each in members if each["linked"]}


def soon(question: Any, due: Any) -> None:
    """Ask until the answer is as it is due; links and records take a moment."""
    until_s = time.monotonic() + SEEN_S_MAX
    while (answer := question()) != due:
        assert time.monotonic() < until_s, f"{answer} is not {due}"
        time.sleep(0.1)


def homes_of_people(site: Site) -> set[str]:
    """The sites of the people that a site knows; its own is ""."""
    people = site.json("users", "list")["people"]
    return {each["name"].partition("@")[2] for each in people}


def join(site: Site, sponsor: Site) -> None:
    token = sponsor.run("mesh", "invite").strip()
    site.run("mesh", "join", token)


def test_three_commands_make_a_mesh_in_which_everybody_is_known(sites: Sites) -> None:
    a, b, c = sites["madison"], sites["desy"], sites["nersc"]
    join(b, a)
    assert names(a) == names(b) == {"madison", "desy"}
    join(c, b)
    for site in (a, b, c):
        soon(lambda site=site: names(site), {"madison", "desy", "nersc"})
    soon(lambda: linked(a), {"desy", "nersc"})
    soon(lambda: homes_of_people(a), {"", "desy", "nersc"})


def test_a_token_serves_once(sites: Sites) -> None:
    token = sites["madison"].run("mesh", "invite").strip()
    sites["desy"].run("mesh", "join", token)
    refused = floe(sites["nersc"], "mesh", "join", token)
    assert refused.returncode == 1
    assert "the token was used before: desy joined with it" in refused.stderr
    assert names(sites["nersc"]) == {"nersc"}


def test_keys_by_mail_make_members_of_a_site_that_only_dials_out(sites: Sites) -> None:
    a, b = sites["madison"], sites["dialling"]
    a.json("mesh", "address", "127.0.0.1")
    key_a, key_b = (site.json("keys", "show")["mesh"] for site in (a, b))
    assert "@127.0.0.1:" in key_a
    assert "@" not in key_b
    a.run("mesh", "add", key_b)
    b.run("mesh", "add", key_a, "--name", "mad")
    soon(lambda: linked(a), {"dialling"})
    assert names(b) == {"dialling", "mad"}
    assert floe(b, "mesh", "invite").returncode == 1


def test_a_revoked_site_is_cut_off_at_once_and_never_comes_back(sites: Sites) -> None:
    a, b, c = sites["madison"], sites["desy"], sites["nersc"]
    join(b, a)
    join(c, a)
    soon(lambda: linked(b), {"madison", "nersc"})
    c.run("mesh", "revoke", "desy", "--yes")
    for site in (a, c):
        soon(lambda site=site: (names(site), linked(site) <= {"madison", "nersc"}),
             ({"madison", "nersc"}, True))  # fmt: skip
    soon(lambda: linked(b), set())
    again = floe(b, "mesh", "join", a.run("mesh", "invite").strip())
    assert again.returncode == 1
    assert "that it has not revoked this site" in again.stderr


def test_members_and_names_outlive_a_restart(sites: Sites) -> None:
    a, b = sites["madison"], sites["desy"]
    join(b, a)
    a.run("mesh", "rename", "desy", "hamburg")
    a.run("down")
    a.up()
    soon(lambda: linked(a), {"hamburg"})
    soon(lambda: linked(b), {"madison"})  # under another port than before


def test_datasets_from_before_the_join_come_along(sites: Sites) -> None:
    a, b = sites["madison"], sites["desy"]
    b.run("submit", "--name", "early", "--jobs", "2", "--", "/bin/true")
    join(b, a)
    soon(lambda: [each["name"] for each in a.json("sets")["datasets"]], ["early"])
