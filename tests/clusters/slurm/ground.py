"""Slurm as a ground for lives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from schedulers.base import JobName
from schedulers.slurm import COMMANDS
from tests.clusters.ground import Ground
from tests.clusters.slurm.config import Shape
from tests.clusters.slurm.rig import SlurmRig


class SlurmGround(Ground):
    """Two workers. Times are in whole minutes, and jobs over theirs are looked for now and then."""

    kind = "slurm"
    commands = COMMANDS
    held = {"options": ["--hold"]}  # noqa: RUF012
    overdue = {"options": ["--time=1"]}  # noqa: RUF012

    def __init__(self, name: str, *, accounting: bool) -> None:
        self.rig = self.slurm = SlurmRig(name, Shape(nodes=2, cpus=4, accounting=accounting))

    def cancel(self, job: JobName) -> None:
        self.rig.place.run("scancel", job)

    @contextmanager
    def node_down(self, job: JobName, host: str) -> Iterator[None]:
        control = self.slurm.cluster.control
        control("update", f"nodename={host}", "state=down", "reason=test")
        try:
            yield
        finally:
            self.rig.place.run(
                "scontrol", "update", f"nodename={host}", "state=resume", check=False
            )
