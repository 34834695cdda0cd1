"""Grid Engine under the contract."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from schedulers.base import JobName
from schedulers.sge import Sge
from tests.clusters.account import Account
from tests.clusters.rig import Rig, need
from tests.clusters.sge.cluster import SgeCluster, lacking
from tests.clusters.sge.config import Shape


class SgeRig(Rig):
    """qacct does not tell who killed a job, and nobody that there was one which never ran. A job is
    warned by SIGUSR2.
    """

    held = {"options": ["-h"]}  # noqa: RUF012
    impossible = {"gpu": 99}  # noqa: RUF012
    lacks = frozenset({"sigterm", "cancelled", "memory", "paths"})
    time_s = 5
    unknown = JobName("9999999")

    def __init__(
        self, name: str, shape: Shape | None = None, account: Account | None = None
    ) -> None:
        self.account = account or Account()
        shape = shape or Shape()
        need("Grid Engine", lacking(shape))
        self.cluster = SgeCluster(name, shape)
        self.place = self.cluster.place
        self.scheduler = Sge()

    def foreign(self, name: str) -> None:
        words = ("-h", "-N", name, "-o", "/dev/null", "-j", "y")
        self.place.run("qsub", *words, stdin=b"true\n", check=False)

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        with self.cluster.outage():
            yield

    def close(self) -> None:
        self.cluster.close()


def plain() -> Rig:
    """As it is packaged."""
    return SgeRig("gamma")
