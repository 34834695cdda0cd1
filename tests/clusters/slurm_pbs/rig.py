"""Torque's commands in front of a real Slurm, under the contract."""

from __future__ import annotations

from schedulers.base import JobName
from schedulers.torque import Torque
from tests.clusters.rig import Rig, need
from tests.clusters.slurm import cluster as slurm
from tests.clusters.slurm.config import Shape
from tests.clusters.slurm.rig import OnSlurm
from tests.clusters.slurm_pbs import commands


class SlurmPbsRig(OnSlurm):
    """A cluster of one node. The script has to be a file."""

    held = {"options": ["-h"]}  # noqa: RUF012
    impossible = {"gpu": 99}  # noqa: RUF012
    lacks = frozenset({"ends", "held", "arrays", "paths", "walltime", "avoid"})
    options = ("/dev/stdin",)
    unknown = JobName("99999")

    def __init__(self, name: str) -> None:
        need("Slurm", slurm.lacking() or commands.lacking())
        found = commands.programs()
        self.cluster = slurm.SlurmCluster(name, Shape())
        self.place = self.cluster.place
        self.place.environ["PATH"] = f"{found}:{self.place.environ['PATH']}"
        self.scheduler = Torque("slurm-pbs", arrays=False)

    def foreign(self, name: str) -> None:
        words = ("--hold", f"--job-name={name}", "--output=/dev/null")
        self.place.run("sbatch", *words, "--wrap=true")


def plain() -> Rig:
    """Without accounting."""
    return SlurmPbsRig("delta")
