"""Slurm as a ground for lives."""

from __future__ import annotations

from schedulers.base import JobName
from schedulers.slurm import COMMANDS
from tests.clusters.account import plain_account
from tests.clusters.ground import Ground
from tests.clusters.slurm.config import Shape
from tests.clusters.slurm.rig import SlurmRig


class SlurmGround(Ground):
    """Two workers, of which root starts the daemons, and nodes are a plain user's.

    Times are in whole minutes, and jobs over theirs are looked for now and then.
    """

    kind = "slurm"
    commands = COMMANDS
    held = {"options": ["--hold"]}  # noqa: RUF012
    overdue = {"options": ["--time=1"]}  # noqa: RUF012
    apart = {"cpu": 3}  # noqa: RUF012

    def __init__(self, name: str = "life", *, accounting: bool = True) -> None:
        self.account = plain_account()
        shape = Shape(nodes=2, cpus=4, accounting=accounting)
        self.rig = self.slurm = SlurmRig(name, shape, account=self.account)
        self.elsewhere = {"options": [f"--nodelist={name}2"]}
        self.bad = (f'test "$SLURMD_NODENAME" = {name}2', "SLURMD_NODENAME")

    def cancel(self, job: JobName) -> None:
        self.rig.place.run("scancel", job)

    def crash(self, job: JobName, host: str) -> None:
        self.slurm.cluster.lose_node(host)
