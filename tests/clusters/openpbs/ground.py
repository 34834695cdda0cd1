"""Programs that imitate OpenPBS and run its jobs, as a ground for lives."""

from __future__ import annotations

import contextlib
import os
import signal

from schedulers.base import JobName
from schedulers.pbs import COMMANDS
from tests.clusters.ground import Ground
from tests.clusters.place import marked
from tests.fakes import openpbs_rig as openpbs


class PbsGround(Ground):
    """One worker, this machine."""

    kind = "pbs"
    commands = COMMANDS
    held = {"options": ["-h"]}  # noqa: RUF012
    overdue = {"options": ["-l", "walltime=00:00:08"]}  # noqa: RUF012

    def __init__(self) -> None:
        self.rig = openpbs.release()

    def cancel(self, job: JobName) -> None:
        self.rig.place.run("qdel", job)

    def crash(self, job: JobName, host: str) -> None:
        """All that belongs to the job is gone; there is no worker that could fail."""
        for pid in marked(f"PBS_JOBID={job}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
