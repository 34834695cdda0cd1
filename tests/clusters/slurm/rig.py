"""Slurm under the contract, with and without its accounting."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from schedulers.slurm import Slurm
from tests.clusters.account import Account
from tests.clusters.rig import Rig, need
from tests.clusters.slurm.cluster import SlurmCluster, lacking
from tests.clusters.slurm.config import Shape


class OnSlurm(Rig):
    """Whatever commands it is spoken to by."""

    cluster: SlurmCluster

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        self.cluster.stop_controller()
        try:
            yield
        finally:
            self.cluster.start_controller()

    def close(self) -> None:
        self.cluster.close()


class SlurmRig(OnSlurm):
    """user: see Place; account: see Rig."""

    held = {"options": ["--hold"]}  # noqa: RUF012
    impossible = {"gpu": 99}  # noqa: RUF012

    def __init__(
        self, name: str, shape: Shape, user: str | None = None, account: Account | None = None
    ) -> None:
        self.account = account or Account()
        need("Slurm", lacking(accounting=shape.accounting))
        self.cluster = SlurmCluster(name, shape, user)
        self.place = self.cluster.place
        self.scheduler = Slurm(mark="f1oe")

    def foreign(self, name: str) -> None:
        self.place.run("sbatch", "--hold", f"--job-name={name}", "--wrap=true")


def plain() -> Rig:
    """Without accounting: only the controller remembers."""
    return SlurmRig("alpha", Shape())


def accounting() -> Rig:
    """With slurmdbd."""
    return SlurmRig("beta", Shape(accounting=True))
