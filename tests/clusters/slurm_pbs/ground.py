"""Torque's commands in front of Slurm as a ground for lives."""

from __future__ import annotations

from schedulers.base import JobName
from schedulers.pbs import COMMANDS
from tests.clusters.ground import Ground
from tests.clusters.slurm_pbs.rig import SlurmPbsRig


class SlurmPbsGround(Ground):
    """One worker. Its qstat shows a held job as one that waits."""

    kind = "torque"
    commands = COMMANDS
    held = {"options": ["-h"]}  # noqa: RUF012
    overdue = {"options": ["-l", "walltime=00:01:00"]}  # noqa: RUF012
    settings = {"arrays": False, "disk_name": "", "options": ["/dev/stdin"]}  # noqa: RUF012

    def __init__(self) -> None:
        self.rig = self.torque = SlurmPbsRig("life")

    def cancel(self, job: JobName) -> None:
        self.rig.place.run("qdel", job)

    def crash(self, job: JobName, host: str) -> None:
        cluster = self.torque.cluster
        cluster.crash_node(host)
        cluster.control("update", f"nodename={host}", "state=down", "reason=crashed")
        cluster.start_node(host)
        cluster.control("update", f"nodename={host}", "state=resume")
