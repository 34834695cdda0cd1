"""Torque's commands in front of Slurm as a ground for lives."""

from __future__ import annotations

import shlex

from schedulers.base import JobName
from schedulers.pbs import COMMANDS
from tests.clusters.ground import Ground
from tests.clusters.slurm_pbs.rig import SlurmPbsRig

READS = 'exec qsub "$@" /dev/stdin'


class SlurmPbsGround(Ground):
    """One worker. Its qstat shows a held job as a waiting one, its qsub heeds the last -l alone."""

    kind = "torque"
    commands = COMMANDS
    held = {"options": ["-h"]}  # noqa: RUF012
    overdue = {"options": ["-l", "nodes=1:ppn=1,mem=448mb,walltime=00:01:00"]}  # noqa: RUF012
    settings = {"arrays": False, "disk_name": ""}  # noqa: RUF012

    def __init__(self) -> None:
        self.rig = self.torque = SlurmPbsRig("life")

    def command(self, name: str) -> str:
        """qsub is to read its stdin; what comes behind that would be for the script."""
        words = super().command(name)
        if name != "qsub":
            return words
        return f"{words.removesuffix(name)}{shlex.join(['sh', '-c', READS, name])}"

    def cancel(self, job: JobName) -> None:
        self.rig.place.run("qdel", job)

    def crash(self, job: JobName, host: str) -> None:
        self.torque.cluster.lose_node(host)
