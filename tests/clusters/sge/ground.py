"""Grid Engine as a ground for lives."""

from __future__ import annotations

from schedulers.base import JobName
from schedulers.sge import COMMANDS
from tests.clusters.ground import Ground
from tests.clusters.sge.rig import SgeRig


class SgeGround(Ground):
    """One worker."""

    kind = "sge"
    commands = COMMANDS
    held = {"options": ["-h"]}  # noqa: RUF012
    overdue = {"options": ["-l", "h_rt=8"]}  # noqa: RUF012

    def __init__(self, name: str) -> None:
        self.rig = self.sge = SgeRig(name)

    def cancel(self, job: JobName) -> None:
        self.rig.place.run("qdel", job)

    def crash(self, job: JobName, host: str) -> None:
        self.sge.cluster.lose_host()
        self.sge.cluster.start_host()
