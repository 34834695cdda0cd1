"""One mesh of three sites, each above a real batch system of another kind, that share datasets.

Each reaches its batch system by commands first, then as if that were elsewhere: over ssh, with
workers that reach the node through a tunnel alone.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.meshes import JOIN_S_MAX, Mesh, free_port, mesh, sees
from schedulers import htcondor, sge, slurm
from tests.clusters.condor.rig import CondorRig
from tests.clusters.place import wait_until
from tests.clusters.rig import Rig, need
from tests.clusters.sge.rig import SgeRig
from tests.clusters.slurm.config import Shape
from tests.clusters.slurm.rig import SlurmRig
from tests.clusters.sshd import Sshd, missing, sshd

SLOTS = 3  # pilots of a site
JOBS = 60
SCRIPT = 'sleep 1; echo "ran $FLOE_JOB"; echo "result $FLOE_JOB" >result.txt'
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
    return "\n".join(["", "[site.batch]", *lines, f"commands = {{ {renamed} }}", ""])


def away(host: Sshd) -> dict[str, object]:
    """Settings that reach this machine as a submit host."""
    return {
        "host": "127.0.0.1", "port": host.port, "key": str(host.key),
        "known_hosts": str(host.known_hosts), "ssh_config": "/dev/null", "tunnel": free_port(),
    }  # fmt: skip


@pytest.fixture(params=["here", "over ssh"])
def three(request: pytest.FixtureRequest, rigs: dict[str, Rig], host: Sshd) -> Iterator[Mesh]:
    with mesh(()) as here:
        for name, below in SITES.items():
            more = {} if request.param == "here" else away(host)
            here.add(name, slots=0, config=section(below, rigs[name], more))
        for site in here.sites.values():
            wait_until("all sites alive", lambda site=site: sees(site, len(SITES)), JOIN_S_MAX)
        yield here


def settled(three: Mesh, site: str, name: str) -> int:
    known = {each["name"] for each in three[site].json("sets")["datasets"]}
    return int(three[site].json("show", name)["counts"]["settled"]) if name in known else 0


def accepted(three: Mesh, unit: str) -> dict[str, Any]:
    attempts = three["desy"].json("show", unit)["attempts"]
    return next(each for each in attempts if each["accepted"])


def test_sites_on_different_batch_systems_share_a_dataset(
    three: Mesh, rigs: dict[str, Rig], tmp_path: Path
) -> None:
    three["madison"].run(
        "submit", "--wait-stored", "3", "--name", "shared", "--jobs", str(JOBS), "--memory",
        "100MB", "--disk", "50MB", "--time", "5m", "--output", "result.txt", "--", "sh", "-c",
        SCRIPT,
    )  # fmt: skip
    three["madison"].wait("shared", DONE_S)
    for site in SITES:
        wait_until(f"results at {site}", lambda site=site: settled(three, site, "shared") == JOBS)
    ran = Counter(accepted(three, f"shared/{job}/main")["site"] for job in range(JOBS))
    assert set(ran) == set(SITES)
    three["nersc"].run("fetch", "shared", "--to", str(tmp_path))
    for job in range(JOBS):
        assert (tmp_path / str(job) / "main" / "result.txt").read_text() == f"result {job}\n"
    for name, rig in rigs.items():
        wait_until(f"idle pilots of {name} to end", lambda rig=rig: not rig.listing(), KNOWN_S)
