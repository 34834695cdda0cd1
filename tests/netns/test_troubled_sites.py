"""One mesh in which single sites have trouble, or make it, in turn; the last one is thrown out."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from federation.limits import WINDOW_BYTES
from tests.netns.meshes import PORT, NetMesh, NetSite, net_mesh, until

HONEST = ("madison", "desy", "nersc", "aachen")  # aachen lies behind a firewall, and dials out
LIAR = "zeuthen"
RSS_MB_MAX = 250
STRANGER = 5  # the reason in a bye
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _lines_are_whole(mesh: NetMesh) -> Iterator[None]:
    yield
    mesh.net.heal()
    for each in mesh.sites.values():
        each.wake()


@pytest.fixture(scope="module")
def mesh() -> Iterator[NetMesh]:
    with net_mesh((*HONEST, LIAR), dial_only=("aachen",)) as here:
        yield here


def test_a_site_behind_a_firewall_works_and_is_read_by_relay_when_a_line_is_cut(
    mesh: NetMesh,
) -> None:
    aachen, desy = mesh["aachen"], mesh["desy"]
    until(lambda: desy.links()["aachen"]["up"], "a link")
    link = desy.links()["aachen"]
    assert link["direction"] == "in"
    assert link["path"].startswith(f"{mesh.net.outside('aachen')}:")
    up = [each for each in aachen.links().values() if each["up"]]
    assert {each["direction"] for each in up} == {"out"}
    with desy.net.inside("desy"), pytest.raises(TimeoutError):
        connect(mesh.net.address("aachen"))

    desy.submit("outward", 40, 0.3)
    until(partial(ran_at, desy, "outward", "aachen"), "aachen has run a unit")
    mesh.net.cut(["aachen"], ["desy"])
    until(partial(unlinked, desy, "aachen"), "the link is given up")
    mesh.ended("outward", 40)
    until(lambda: desy.states()["aachen"] == "alive", "its beacons come another way")
    words = "no direct link, and no address to dial; others pass its records on"
    until(partial(desy.explains, "aachen", "alive", words), "people are told how")
    job = ran_at(desy, "outward", "aachen")
    assert f"ran {job}" in desy.run("logs", f"outward/{job}/main")
    mesh.net.heal()
    mesh.together()


def ran_at(here: NetSite, dataset: str, site: str) -> str:
    """A job of which a site ran a unit, or ""."""
    units = here.ask(f"/v1/datasets/{dataset}/jobs?state=settled")["units"]
    return next((str(unit["job"]) for unit in units if unit["site"] == site), "")


def connect(address: str) -> None:
    import socket

    with socket.create_connection((address, PORT), 1.0):
        pass


def test_a_site_that_moved_is_found_at_its_new_address(mesh: NetMesh) -> None:
    desy, madison = mesh["desy"], mesh["madison"]
    mesh.net.move("desy", "10.77.2.99")
    desy.run("mesh", "address", "10.77.2.99")
    until(partial(is_linked_at, madison, "desy", "10.77.2.99"), "a link to the new address")
    mesh.together()
    until(lambda: addresses(madison, "desy")[0] == f"10.77.2.99:{PORT}", "the address is known")


def addresses(here: NetSite, site: str) -> list[str]:
    members = here.json("mesh", "members")["members"]
    return next(each["addresses"] for each in members if each["name"] == site)


def is_linked_at(here: NetSite, site: str, address: str) -> bool:
    link = here.links()[site]
    return bool(link["up"]) and str(link["path"]).startswith(f"{address}:")


def test_a_paused_leader_is_replaced_and_what_it_finished_counts_once(mesh: NetMesh) -> None:
    leader = mesh["nersc"]
    others = [name for name in mesh.sites if name != "nersc"]
    leader.submit("paused", 60, 0.3, "--wait-stored", "3")
    until(partial(leader.settled, "paused", 5), "the first results are settled")
    leader.pause()
    watcher = mesh["aachen"]
    until(lambda: watcher.shard("paused")["term"] > 0, "another site leads")
    until(lambda: watcher.states()["nersc"] == "unreachable", "the silence is seen")
    shard = watcher.shard("paused")
    assert shard["leader"] != "nersc"
    if shard["founder"] == "nersc":  # on a busy machine, others may have led for it before
        until(partial(watcher.tells_of_leader, "paused"), "who leads now is said")
    until(partial(unlinked, watcher, "nersc"), "the link is given up")
    until(partial(watcher.agrees_with, set(others) - {"aachen"}, {"nersc"}), "tables are equal")

    leader.wake()
    mesh.together()
    mesh.ended("paused", 60)
    now = leader.shard("paused")  # later again, even the one that was paused may lead
    assert now["term"] > shard["term"] or now["leader"] == shard["leader"]
    until(partial(watcher.explains, "nersc", "alive"), "it is well again")
    if shard["founder"] == "nersc":
        until(partial(says_who_leads_instead, watcher), "who took over is said")


def says_who_leads_instead(here: NetSite) -> bool:
    """Whether it explains of the site that was paused who leads what that one founded."""
    leader = here.shard("paused")["leader"]
    return leader == "nersc" or f"{leader} leads it since term" in here.why("nersc")[1]


def test_a_member_that_breaks_the_protocol_in_every_way_hinders_nobody(mesh: NetMesh) -> None:
    madison, desy, liar = (mesh[name] for name in ("madison", "desy", LIAR))
    own = key_of(liar)[:8]
    liar.run("down", "--pilots")
    head = until(partial(common_head, mesh, own), "all hold what the liar's node wrote last")
    madison.submit("undisturbed", 60, 0.3)
    with hostile(liar, "trickle", madison), hostile(liar, "deaf", desy):
        until(partial(owes_credit, desy), "the deaf reader has what it never confirms")
        until(partial(owes_credit, madison), "and so has the trickling one")
        told = run_hostile(liar, "breach", mesh["nersc"])
        assert {each["act"]: each["reason"] for each in told} == dict.fromkeys(
            [each["act"] for each in told], 2
        )
        assert len(told) > 10
        breaches_are_told(mesh["nersc"], len(told))
        with hostile(liar, "lie", mesh["nersc"], head):
            seq = int(head.split(":")[1]) + 3
            until(partial(holds, madison, LIAR, seq), "odd records pass")
            until(partial(madison.settled, "undisturbed", 60), "the dataset is at its end", 60)
            breaches_are_told(mesh["nersc"], len(told))  # no more: lies break nothing
        until(partial(unlinked, desy, LIAR), "who reads nothing loses the link")
        until(lambda: desy.links()[LIAR]["error"], "why is told")
        assert madison.rss_mb() < RSS_MB_MAX
        assert desy.rss_mb() < RSS_MB_MAX
    until(lambda: madison.states()[LIAR] == "unreachable", "the liar sends no beacon")
    until(partial(is_dialled_in_vain, madison, f"{mesh.net.address(LIAR)}:{PORT}"), "it is dialled")
    assert set(madison.accepted("undisturbed").values()) == {1}
    until(partial(madison.agrees_with, {"desy", "nersc", "aachen"}, {LIAR}), "tables are equal")
    for name in HONEST:
        mesh[name].run("verify")


def is_dialled_in_vain(here: NetSite, path: str) -> bool:
    """Whether there is no link with the liar, nobody answers at its address, and that is told."""
    link = here.links()[LIAR]
    return (link["up"], link["path"]) == (False, path) and bool(link["error"])


def owes_credit(here: NetSite) -> bool:
    """Whether the view of links shows that the liar may be sent less than at first."""
    links = here.ask("/v1/mesh/links")["links"]
    return any(
        each["credits"][0] < WINDOW_BYTES[0]
        for each in links
        if each["peer"] == LIAR and each["kind"] == "records" and each["credits"]
    )


def unlinked(here: NetSite, site: str) -> bool:
    return site not in here.linked()


def breaches_are_told(victim: NetSite, count: int) -> None:
    mesh, shown = victim.mesh()
    [errors] = [each["protocol_errors"] for each in mesh["sites"] if each["name"] == LIAR]
    assert errors == count
    assert f"{LIAR}: broke the protocol, which ended {count} links of it" in shown
    _, words = victim.why(LIAR)
    assert "broke the protocol" in words
    assert "ask its admin which program runs there" in words


def common_head(mesh: NetMesh, site: str) -> str | None:
    """GENERATION:SEQ:ID of a site's newest control entry, if the honest sites hold the same."""
    heads = {control_head(mesh[name], site) for name in HONEST}
    return heads.pop() if len(heads) == 1 else None


def control_head(at: NetSite, site: str) -> str:
    """The same, as held at one site; the beginning of the key names the author."""
    feeds = at.ask("/v1/store")["feeds"]
    [feed] = [each for each in feeds if each["site"] == site and each["lane"] == "control"]
    return f"{feed['generation']}:{feed['entries']}:{feed['head']}"


def holds(here: NetSite, site: str, seq: int) -> bool:
    members = here.ask("/v1/mesh/members")["members"]
    [feeds] = [each["feeds"] for each in members if each["name"] == site]
    return any(newest >= seq for _, newest in feeds)


def key_of(site: NetSite) -> str:
    return str(next(each["key"] for each in site.ask("/v1/mesh")["sites"] if each["own"]))


def argv_of(liar: NetSite, act: str, victim: NetSite, *more: str) -> list[str]:
    peer = f"{key_of(victim)}@{victim.net.address(victim.name)}:{PORT}"
    return [sys.executable, "-m", "tests.netns.hostile", act, str(liar.home), peer, *more]


def run_hostile(liar: NetSite, act: str, victim: NetSite) -> list[dict[str, Any]]:
    """What an act told that comes to an end."""
    argv = argv_of(liar, act, victim)
    with liar.net.inside(liar.name):
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextlib.contextmanager
def hostile(liar: NetSite, act: str, victim: NetSite, *more: str) -> Iterator[None]:
    """A hostile program that goes on until the end; begun when it has told its first act."""
    argv = argv_of(liar, act, victim, *more)
    with liar.net.inside(liar.name):
        program = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, env=dict(os.environ))
    try:
        assert program.stdout is not None
        assert program.stdout.readline()
        yield
    finally:
        program.kill()
        program.wait()
        assert program.stdout is not None
        program.stdout.close()


def test_a_revoked_site_that_leads_votes_and_owns_units_is_replaced_at_once(
    mesh: NetMesh,
) -> None:
    gone, admin, watcher = mesh["madison"], mesh["desy"], mesh["nersc"]
    left = ("desy", "nersc", "aachen")
    gone.submit("taken", 60, 0.3, "--wait-stored", "3")
    until(partial(watcher.settled, "taken", 5), "the first results are settled")
    assert watcher.shard("taken")["leader"] == "madison"
    admin.run("mesh", "revoke", "madison", "--yes")
    said = [each["said"] for each in run_hostile(gone, "knock", admin)]
    assert said == ["nothing", STRANGER]  # no TLS with the key of a moment ago; no word to others
    until(lambda: watcher.shard("taken")["leader"] != "madison", "another site leads", 20)
    for name in left:
        until(partial(unlinked, mesh[name], "madison"), "its links are cut")
    shard = watcher.shard("taken")
    assert shard["term"] > 0
    assert shard["closed"] == ["madison"]
    state, words = watcher.why("madison")
    assert state == "revoked"
    assert "an admin revoked it, for ever" in words
    _, shown = watcher.mesh()
    assert "1 revoked" in shown
    until(partial(watcher.settled, "taken", 60), "the dataset is at its end", 60)
    assert set(watcher.accepted("taken").values()) == {1}
    until(partial(watcher.agrees_with, {"desy", "aachen"}, {LIAR}), "tables are equal")
    until(lambda: not gone.linked(), "the revoked site has no links")
