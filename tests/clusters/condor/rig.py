"""HTCondor under the contract."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from schedulers.base import JobName
from schedulers.htcondor import HTCondor
from tests.clusters.condor.config import Shape
from tests.clusters.condor.pool import Pool, lacking
from tests.clusters.rig import Rig, need


class CondorRig(Rig):
    """The log of a job that is removed stays on the worker."""

    time_s = 5
    overdue_s = 60
    held = {"lines": ["hold = true"]}  # noqa: RUF012
    impossible = {"gpu": 99}  # noqa: RUF012
    unknown = JobName("99999.0")
    lacks = frozenset({"log"})

    def __init__(self, name: str = "gamma", shape: Shape | None = None) -> None:
        need("HTCondor", lacking())
        self.pool = Pool(name, shape)
        self.place = self.pool.place
        self.scheduler = HTCondor()

    def foreign(self, name: str) -> None:
        lines = ("executable = /bin/true", "transfer_executable = false", "hold = true", "queue")
        text = "\n".join(lines) + "\n"
        self.place.run("condor_submit", "-batch-name", name, "-", stdin=text.encode())

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        self.pool.stop_schedd()
        try:
            yield
        finally:
            self.pool.start_schedd()

    def close(self) -> None:
        self.pool.close()
