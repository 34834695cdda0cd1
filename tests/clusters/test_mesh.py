"""One mesh of three sites, each above a real batch system of another kind, that share datasets.

Each reaches its batch system by commands first, then as if that were elsewhere: over ssh, with
workers that reach the node through a tunnel alone.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.meshes import JOIN_S_MAX, Mesh, free_port, mesh, sees
from bench.site import Site
from schedulers import htcondor, sge, slurm
from tests.clusters.condor.rig import CondorRig
from tests.clusters.place import wait_until
from tests.clusters.rig import Rig, need
from tests.clusters.sge.rig import SgeRig
from tests.clusters.slurm.config import Shape
from tests.clusters.slurm.rig import SlurmRig
from tests.clusters.sshd import Sshd, missing, sshd

SYSTEM = "batch"  # what nodes call it
SLOTS = 3  # pilots of a site
# Units last longer than it takes until all sites know of them, so that none takes all.
JOBS = 36
SCRIPT = 'sleep 5; echo "ran $FLOE_JOB"; echo "result $FLOE_JOB" >result.txt'
KNOWN_S = 30  # until a site knows what another one knows
DONE_S = 240


@dataclass(frozen=True)
class Below:
    """What a site works with."""

    kind: str
    commands: Sequence[str]
    make: Callable[[], Rig]


SITES = {
    "madison": Below("htcondor", htcondor.COMMANDS, CondorRig),
    "desy": Below("sge", sge.COMMANDS, lambda: SgeRig("mesh")),
    "nersc": Below("slurm", slurm.COMMANDS, lambda: SlurmRig("mesh", Shape())),
}


@pytest.fixture(scope="module")
def rigs() -> Iterator[dict[str, Rig]]:
    with ExitStack() as stack:
        made = {}
        for name, below in SITES.items():
            made[name] = below.make()
            stack.callback(made[name].close)
        yield made


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    need("a submit host", missing())
    folder = tmp_path_factory.mktemp("sshd")
    (folder / "home").mkdir()
    lines = ("GatewayPorts clientspecified",)
    with sshd(folder, home=folder / "home", lines=lines) as running:
        yield running


def section(below: Below, rig: Rig, more: Mapping[str, object]) -> str:
    """Of config.toml; its numbers and words look like those of JSON."""
    table = {
        "kind": below.kind, "running_max": SLOTS, "queued_max": SLOTS, "cpu": 1, "look": "1s",
        "submit_every": "1s", "idle": "5s", "python": sys.executable, **more,
    }  # fmt: skip
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    words = {name: rig.command(name) for name in below.commands}
    renamed = ", ".join(f"{name} = {json.dumps(word)}" for name, word in words.items())
    return "\n".join(["", f"[site.{SYSTEM}]", *lines, f"commands = {{ {renamed} }}", ""])


def away(host: Sshd) -> dict[str, object]:
    """Settings that reach this machine as a submit host."""
    return {
        "host": "127.0.0.1", "port": host.port, "key": str(host.key),
        "known_hosts": str(host.known_hosts), "ssh_config": "/dev/null", "tunnel": free_port(),
    }  # fmt: skip


@contextmanager
def three(rigs: Mapping[str, Rig], more: Callable[[], Mapping[str, object]]) -> Iterator[Mesh]:
    """The mesh. more: makes further settings of a site's section."""
    with mesh(()) as here:
        for name, below in SITES.items():
            here.add(name, slots=0, config=section(below, rigs[name], more()))
        for site in here.sites.values():
            wait_until("all sites alive", lambda site=site: sees(site, len(SITES)), JOIN_S_MAX)
            wait_until("its batch system's answer", lambda site=site: answered(site), JOIN_S_MAX)
        yield here


def answered(site: Site) -> bool:
    """Whether the batch system of a site has been looked at: what it has can be told to others."""
    known = site.json("site", "show")["site"]["batch"]
    return any(each["name"] == SYSTEM and each["looked_s_ago"] is not None for each in known)


def submit(three: Mesh) -> None:
    three["madison"].run(
        "submit", "--wait-stored", "3", "--name", "shared", "--jobs", str(JOBS), "--memory",
        "100MB", "--disk", "50MB", "--time", "5m", "--output", "result.txt", "--", "sh", "-c",
        SCRIPT,
    )  # fmt: skip


def settled(three: Mesh, site: str) -> int:
    known = {each["name"] for each in three[site].json("sets")["datasets"]}
    if "shared" not in known:
        return 0
    return int(three[site].json("show", "shared")["counts"]["settled"])


def assert_shared(three: Mesh, rigs: Mapping[str, Rig], folder: Path) -> None:
    """No unit failed, some ran at each site; all sites know it; no pilot stays."""
    three["madison"].wait("shared", DONE_S)
    for site in SITES:
        wait_until(f"results at {site}", lambda site=site: settled(three, site) == JOBS, KNOWN_S)
    units = three["desy"].json("jobs", "shared")["units"]
    more = [f"shared/{each['job']}/main" for each in units if each["attempts"] != 1]
    ends = [each for unit in more for each in three["desy"].json("show", unit)["attempts"]]
    # One that ran twice is allowed, as a site may take over what another one is at; a failure not.
    assert [each for each in ends if each["outcome"] not in ("success", "infrastructure")] == []
    assert {each["site"] for each in units} == set(SITES)
    three["nersc"].run("fetch", "shared", "--to", str(folder))
    for job in range(JOBS):
        assert (folder / str(job) / "main" / "result.txt").read_text() == f"result {job}\n"
    for name, rig in rigs.items():
        wait_until(f"the end of pilots of {name}", lambda rig=rig: not rig.listing(), KNOWN_S)


def test_sites_on_different_batch_systems_share_a_dataset(
    rigs: dict[str, Rig], tmp_path: Path
) -> None:
    with three(rigs, dict) as here:
        submit(here)
        assert_shared(here, rigs, tmp_path)


def test_they_do_so_over_ssh_with_tunnels_for_their_workers_though_all_are_cut_once(
    rigs: dict[str, Rig], host: Sshd, tmp_path: Path
) -> None:
    with three(rigs, lambda: away(host)) as here:
        submit(here)
        wait_until("results", lambda: settled(here, "madison") >= JOBS // 6, DONE_S)
        host.signal_sessions(signal.SIGKILL)
        assert_shared(here, rigs, tmp_path)
