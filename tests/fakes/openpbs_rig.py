"""The fake OpenPBS under the contract, as both kinds of clients, with and without history."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from schedulers.base import JobName
from schedulers.pbs import Pbs
from tests.clusters.place import Place
from tests.clusters.rig import Rig
from tests.fakes.openpbs import FOLDER, OWNER, configure, install
from tests.fakes.openpbs_server import Settings

PORT_BASE = 17_800  # it uses none


class OpenPbsRig(Rig):
    """A server on this machine. It forgets what ended unless it keeps a history."""

    held = {"options": ["-h"]}  # noqa: RUF012
    impossible = {"gpu": 99}  # noqa: RUF012
    lacks = frozenset({"avoid"})
    time_s = 2
    unknown = JobName("99999.pbshost")

    def __init__(self, flavour: str, *, history: bool) -> None:
        self.place = Place("openpbs", PORT_BASE)
        self.state = self.place.make("pbs")
        self.settings = Settings(flavour=flavour, history=history)
        self.place.environ[FOLDER] = str(self.state)
        programs = install(self.state, self.settings)
        self.place.environ["PATH"] = f"{programs}:{self.place.environ['PATH']}"
        self.scheduler = Pbs()
        if not history:
            self.lacks = self.lacks | {"ends", "memory"}

    def foreign(self, name: str) -> None:
        words = ("qsub", "-h", "-N", name, "-o", "/dev/null")
        self.place.run("env", f"{OWNER}=bob", *words, stdin=b"true\n")

    def printing(self, log: Path, job: JobName) -> Path:
        return self.state / f"out-{job.removesuffix('.pbshost')}"

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        configure(self.state, replace(self.settings, down=True))
        try:
            yield
        finally:
            configure(self.state, self.settings)

    def close(self) -> None:
        self.place.close()


def release() -> Rig:
    """The last release's client."""
    return OpenPbsRig("release", history=True)


def forgetful() -> Rig:
    """The client of the master branch, and a server that keeps no history."""
    return OpenPbsRig("master", history=False)
