"""A private HTCondor pool: master, collector, negotiator, schedd, startd, all on this host."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.clusters.condor import config, release
from tests.clusters.place import ClusterError, Place, missing, opened, wait_until

PORT_BASE = 17_200
# HTCondor runs nothing as root. In a user namespace root is somebody else to it, who can read what
# root can: a node of root's submits and its files stay its own.
_SOMEBODY = "daemon"


def lacking() -> str:
    """What this machine lacks for a pool, in words; "" if nothing."""
    if release.found() is None:
        return "no HTCondor; python -m tests.clusters.condor.release fetches one"
    if os.geteuid() != 0:
        return ""
    if why := missing(("unshare",)):
        return why
    done = subprocess.run([*_as_somebody(), "true"], capture_output=True)
    return "" if done.returncode == 0 else "no user namespaces"


def _as_somebody() -> list[str]:
    """Words before a command that make it somebody else than root."""
    if os.geteuid() != 0:
        return []
    entry = pwd.getpwnam(_SOMEBODY)
    return ["unshare", "--user", f"--map-user={entry.pw_uid}", f"--map-group={entry.pw_gid}"]


class Pool:
    """name: of the pool and its schedd.

    Its `place.environ` holds a PATH on which condor_submit and all others are those of this pool;
    nothing else is needed to use it.
    """

    def __init__(self, name: str, shape: config.Shape | None = None) -> None:
        have = release.found()
        if have is None:
            raise ClusterError(lacking())
        self.name, self._release = name, have
        self.place = Place(f"condor-{name}", PORT_BASE)
        self.shape = shape or config.Shape()
        with opened(self.place):
            self._configure(self.shape)
            self.start()

    def _configure(self, shape: config.Shape) -> None:
        place = self.place
        scratch = [f"execute-{name}" for name in config.workers(shape)[1:]]
        for folder in ("log", "spool", "execute", "lock", "run", "bin", *scratch):
            place.make(folder)
        place.make("tokens", 0o700)
        user = _SOMEBODY if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        text = config.condor_config(self.name, place.folder, self._release, place.port, user, shape)
        path = place.write("condor_config", text)
        place.marks.append(f"CONDOR_CONFIG={path}")
        for folder in ("bin", "sbin"):
            for program in sorted((self._release / "usr" / folder).glob("condor_*")):
                self._wrap(program, path)
        place.environ["PATH"] = f"{place.folder}/bin:{place.environ['PATH']}"

    def _wrap(self, program: Path, configuration: Path) -> None:
        """Put a program of HTCondor on the PATH, for this pool."""
        words = ["env", f"CONDOR_CONFIG={configuration}", *_as_somebody(), str(program)]
        self.place.write(
            f"bin/{program.name}", f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', 0o755
        )

    # Daemons.

    def start(self) -> None:
        """All of them, until a slot and the schedd answer."""
        self.place.start("master", "condor_master", "-f")
        wait_until("a slot and a schedd", self._ready, 60)

    def stop(self) -> None:
        """All of them at once, with the jobs that run."""
        self.place.stop("master", signal.SIGQUIT)

    def stop_schedd(self) -> None:
        """Jobs that run go on; they are found again within 40 minutes, the default lease."""
        self.tool("condor_off", "-fast", "-daemon", "schedd")
        wait_until("the end of the schedd", lambda: not self._answers("condor_q", "-totals"))

    def start_schedd(self) -> None:
        self.tool("condor_on", "-daemon", "schedd")
        wait_until("the schedd", lambda: self._answers("condor_q", "-totals"))

    def set_down(self, worker: str) -> None:
        """A worker's jobs are killed without a warning, and it takes no more until `set_up`.

        worker: see config.workers.
        """
        before = self._slots()
        self.tool("condor_off", "-fast", "-daemon", worker)
        wait_until(f"the end of {worker}", lambda: self._slots() < before)

    def set_up(self, worker: str) -> None:
        self.tool("condor_on", "-daemon", worker)

    def _ready(self) -> bool:
        self.place.alive("master")
        schedd = ("condor_status", "-schedd", "-af", "Name")
        return (
            self._slots() == self.shape.workers
            and self._answers(*schedd, something=True)
            and self._answers("condor_q", "-totals")
        )

    def _slots(self) -> int:
        """Whole ones: one of each worker."""
        words = ("-constraint", "PartitionableSlot", "-af", "Name")
        done = self.place.run("condor_status", *words, check=False)
        return len(done.stdout.split())

    def _answers(self, *argv: str, something: bool = False) -> bool:
        """Whether a command succeeds, and prints something if that is asked."""
        try:
            done = self.place.run(*argv, check=False, timeout_s=30)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0 and bool(done.stdout.strip() or not something)

    # What an administrator does.

    def tool(self, *argv: str) -> str:
        """Raises ClusterError."""
        return self.place.run(*argv).stdout.decode()

    def close(self) -> None:
        """End all daemons and jobs, remove everything."""
        with contextlib.suppress(ClusterError, KeyError):
            self.stop()
        self.place.close()


@contextlib.contextmanager
def pool(name: str, **shape: object) -> Iterator[Pool]:
    """A pool for as long as the block lasts; `shape` as config.Shape."""
    made = Pool(name, config.Shape(**shape))  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()
