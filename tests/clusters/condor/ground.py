"""HTCondor as a ground for lives."""

from __future__ import annotations

from schedulers.base import JobName
from schedulers.htcondor import COMMANDS
from tests.clusters.condor.config import Shape
from tests.clusters.condor.rig import CondorRig
from tests.clusters.ground import Ground

_FIRST = "(JobStatus == 1 && NumJobStarts > 0)"  # as the plugin has it
_SECOND = 'requirements = $(requirements) && regexp("@startd2[.]", TARGET.Name)'


class CondorGround(Ground):
    """Two workers, machines of their own to HTCondor.

    The first is the bad one. Once it is banned no pilot is sent there, and units that need the
    second worker may not have run again by then.
    """

    kind = "htcondor"
    commands = COMMANDS
    held = {"lines": ["hold = true"]}  # noqa: RUF012
    overdue = {  # noqa: RUF012
        "lines": [
            f"periodic_remove = {_FIRST} || (JobStatus == 2 && time() - JobCurrentStartDate > 15)"
        ]
    }
    overdue_s = 60
    elsewhere = {"lines": [_SECOND]}  # noqa: RUF012
    apart = {"cpu": 3}  # noqa: RUF012
    # The second one keeps its ad below a folder of its own.
    bad = (
        'test "${_CONDOR_MACHINE_AD#*execute-STARTD2}" = "$_CONDOR_MACHINE_AD"',
        "_CONDOR_MACHINE_AD",
    )

    def __init__(self) -> None:
        self.rig = self.condor = CondorRig("life", Shape(workers=2))

    def cancel(self, job: JobName) -> None:
        self.condor.pool.tool("condor_rm", job)

    def crash(self, job: JobName, host: str) -> None:
        """Only the starter's last word to the schedd is left: else that waits for 40 minutes."""
        worker = "STARTD2" if host.startswith("startd2.") else "STARTD"
        self.condor.pool.set_down(worker)
        self.condor.pool.set_up(worker)
