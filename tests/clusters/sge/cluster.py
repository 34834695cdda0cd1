"""A private Grid Engine: qmaster and execds, a queue main.q, a parallel environment smp."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.clusters.place import Place, marked, missing, opened, wait_until
from tests.clusters.sge import config
from tests.clusters.sge.hosts import FIRST, Host, knowing, separable

PORT_BASE = 17_400
REGISTER_S = 30  # between tries of a host to find its master: dispatch() in execd's dispatcher.c
ANSWER_S = 30  # until daemons of a busy machine have done what they do at once
LIB = Path("/usr/lib/gridengine")
PROGRAMS = ("qsub", "qstat", "qacct", "qdel", "qconf", str(LIB / "sge_qmaster"),
            str(LIB / "sge_execd"))  # fmt: skip


def lacking(shape: config.Shape | None = None) -> str:
    """What this machine lacks for a cluster, in words; "" if nothing."""
    if os.geteuid() != 0:
        return "execd has to be started by root"
    if shape is not None and shape.hosts > 1 and not separable():
        return "no namespaces for a second host: unshare --mount --uts"
    return missing(PROGRAMS)


class SgeCluster:
    """Jobs are of the user who submits them, root too."""

    def __init__(self, name: str, shape: config.Shape) -> None:
        self.shape = shape
        self.place = place = Place(f"sge-{name}", PORT_BASE)
        self.hosts = [Host(number, place.port) for number in range(shape.hosts)]
        with opened(place):
            self._lay_out(name)
            self.start_master()
            self._configure()
            for host in self.hosts:
                host.start_relay(place)
                self.start_host(host.name)
            self._make_queue()
            self.wait_ready()

    def _lay_out(self, name: str) -> None:
        place, folder, port = self.place, self.place.folder, self.place.port
        arch = place.run(str(config.SHARE / "util/arch")).stdout.decode().strip()
        place.environ |= {
            "SGE_ROOT": str(folder), "SGE_CELL": "default", "SGE_CLUSTER_NAME": name,
            "SGE_QMASTER_PORT": str(port), "SGE_EXECD_PORT": str(port + 1), "SGE_ARCH": arch,
            "LD_LIBRARY_PATH": str(LIB),
        }  # fmt: skip
        place.marks.append(f"SGE_ROOT={folder}")
        common = folder / "default/common"
        for part in (common, folder / "default/spool/qmaster/job_scripts",
                     folder / "default/spool/execd", folder / "tmp"):  # fmt: skip
            part.mkdir(parents=True)
        for part in ("bin", "lib", "utilbin"):
            (folder / part).mkdir()
            (folder / part / arch).symlink_to(LIB)
        for part in ("util", "mpi"):
            (folder / part).symlink_to(config.SHARE / part)
        (common / "cluster_name").write_text(f"{name}\n")
        (common / "act_qmaster").write_text("localhost\n")
        (common / "host_aliases").write_text(config.host_aliases())
        (common / "bootstrap").write_text(config.bootstrap(folder))
        (folder / "tmp/global").write_text(config.global_conf(folder))
        lines = [f"{host.address} {host.name}\n" for host in self.hosts[1:]]
        self._names = place.write("hosts", Path("/etc/hosts").read_text() + "".join(lines))
        self._knowing = knowing(self._names) if lines else []
        self._spool(common)

    def _spool(self, common: Path) -> None:
        """What an installation would ask for."""
        run, folder = self.place.run, self.place.folder
        params = f"{common};{folder}/default/spool/qmaster"
        run(str(LIB / "spoolinit"), "classic", "libspoolc", params, "init")
        defaults = str(LIB / "spooldefaults")
        run(defaults, "configuration", str(folder / "tmp/global"))
        run(defaults, "complexes", str(config.SHARE / "util/resources/centry"))
        run(defaults, "usersets", str(config.SHARE / "util/resources/usersets"))
        run(defaults, "managers", "root")

    def _configure(self) -> None:
        self.control("-as", FIRST)
        for host in self.hosts:
            self.control("-ah", host.name)
            path = self.place.write(f"tmp/{host.name}", f"gid_range {host.groups}\n")
            self.control("-Aconf", str(path))
        self._give("-Msconf", config.changed(self.control("-ssconf"), config.SCHEDULER))
        known = config.changed(self.control("-sc"), {})
        kept = [line for line in known.split("\n") if line.split()[:1] != ["h_vmem"]]
        self._give("-Mc", "\n".join(kept) + config.RESOURCES)

    def _make_queue(self) -> None:
        names = {host.name for host in self.hosts}
        shown = ("qconf", "-sel")  # fails while there is none
        wait_until("all hosts", lambda: names <= {*self._said(*shown).split()})
        shape = self.shape
        values = f"slots={shape.slots},gpu={shape.gpus},h_vmem={shape.memory}"
        for name in names:
            self.control("-rattr", "exechost", "complex_values", values, name)
        self._give("-Ap", config.PARALLEL)
        self._give("-Aq", config.queue(shape, self.place.make("scratch", 0o1777), names))

    def _give(self, option: str, text: str) -> None:
        path = self.place.folder / "tmp/given"
        path.write_text(text)
        self.control(option, str(path))

    # Daemons.

    def start_master(self) -> None:
        words = [*self._knowing, str(LIB / "sge_qmaster")]
        self.place.start("qmaster", *words, env={"SGE_ND": "1"})
        wait_until("qmaster", lambda: self.place.alive("qmaster") and self._answers())

    def start_host(self, name: str = FIRST) -> None:
        self._host(name).start(self.place, str(LIB / "sge_execd"), self._names)

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """The master crashes, and is started again after the block.

        Its hosts stand still meanwhile, while jobs go on: a host that has lost its master tries to
        find it at once, and after that only each REGISTER_S.
        """
        for host in self.hosts:
            self.place.send(host.daemon, signal.SIGSTOP)
        try:
            self.place.stop("qmaster", signal.SIGKILL)
            yield
        finally:
            self.start_master()
            for host in self.hosts:
                self.place.send(host.daemon, signal.SIGCONT)
            self.wait_ready()

    def lose_host(self, name: str) -> None:
        """As by a loss of power: the daemon and all that it runs are gone at once."""
        host = self._host(name)
        self.place.stop(host.daemon, signal.SIGKILL)
        for pid in marked(host.mark):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                os.kill(pid, signal.SIGKILL)

    def _host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def _answers(self) -> bool:
        try:
            return self.place.run("qconf", "-sh", check=False, timeout_s=10).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def wait_ready(self) -> None:
        """Until the master has heard of all hosts: orders that it gives before are late."""
        wait_until("main.q", self._ready, REGISTER_S + ANSWER_S)

    def _ready(self) -> bool:
        """All hosts have reported, and none of their queues is in a bad state."""
        for host in self.hosts:
            self.place.alive(host.daemon)
        text = self._said("qstat", "-f", "-q", "main.q")
        rows = [line.split() for line in text.split("\n") if line.startswith("main.q@")]
        good = [row for row in rows if len(row) == 5 and row[3] != "-NA-"]
        return len(good) == len(rows) == len(self.hosts)

    def _said(self, *argv: str) -> str:
        return self.place.run(*argv, check=False).stdout.decode()

    # What an administrator does.

    def control(self, *words: str) -> str:
        """qconf. Raises ClusterError."""
        return self.place.run(*self._knowing, "qconf", *words).stdout.decode()

    def close(self) -> None:
        """End all daemons and jobs and remove everything; at once, as nothing of it is kept."""
        for daemon in ("qmaster", *(host.daemon for host in self.hosts)):
            with contextlib.suppress(KeyError):  # it has not been started
                self.place.stop(daemon, signal.SIGKILL)
        self.place.close()


@contextlib.contextmanager
def cluster(name: str, **shape: object) -> Iterator[SgeCluster]:
    """A cluster for as long as the block lasts; `shape` as config.Shape."""
    made = SgeCluster(name, config.Shape(**shape))  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()
