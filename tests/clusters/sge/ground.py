"""Grid Engine as a ground for lives."""

from __future__ import annotations

from schedulers.base import JobName
from schedulers.sge import COMMANDS
from tests.clusters.account import plain_account
from tests.clusters.ground import Ground
from tests.clusters.sge.config import Shape
from tests.clusters.sge.hosts import FIRST
from tests.clusters.sge.rig import SgeRig


class SgeGround(Ground):
    """Two workers. The first is the bad one: once it is banned no pilot is sent there.

    A pilot without its working folder waits in error state.
    """

    kind = "sge"
    commands = COMMANDS
    held = {"options": ["-wd", "/nowhere"]}  # noqa: RUF012
    held_words = "can't chdir to /nowhere: no such file or directory"
    overdue = {"options": ["-l", "h_rt=8"]}  # noqa: RUF012

    elsewhere = {"options": ["-l", "hostname=worker2"]}  # noqa: RUF012
    apart = {"cpu": 3}  # noqa: RUF012
    bad = (f'test "$HOSTNAME" = {FIRST}', "HOSTNAME")

    def __init__(self, name: str) -> None:
        self.account = plain_account()
        self.rig = self.sge = SgeRig(name, Shape(hosts=2), self.account)

    def cancel(self, job: JobName) -> None:
        self.rig.place.run("qdel", job)

    def crash(self, job: JobName, host: str) -> None:
        self.sge.cluster.lose_host(host)
        self.sge.cluster.start_host(host)
