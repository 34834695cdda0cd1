"""A private Slurm cluster: munged, slurmctld, a slurmd for each node; on request slurmdbd."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import signal
import subprocess
from collections.abc import Iterator

from tests.clusters.place import ClusterError, Place, marked, missing, opened, parent_of, wait_until
from tests.clusters.slurm import config
from tests.clusters.sshd import descendants

PORT_BASE = 17_000
PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
ACCOUNTING_PROGRAMS = ("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb", "mariadb-install-db")


def lacking(*, accounting: bool = False) -> str:
    """What this machine lacks for a cluster, in words; "" if nothing."""
    return missing(PROGRAMS + (ACCOUNTING_PROGRAMS if accounting else ()))


class SlurmCluster:
    """name: of the cluster, and of its nodes with a number behind. user: see Place."""

    def __init__(self, name: str, shape: config.Shape, user: str | None = None) -> None:
        self.name, self.shape = name, shape
        self.place = Place(f"slurm-{name}", PORT_BASE, user)
        self.user = user or pwd.getpwuid(os.geteuid()).pw_name
        with opened(self.place):
            self._configure()
            self._start_munge()
            if shape.accounting:
                self._start_database()
                self.start_accounting()
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            wait_until("idle nodes", self._ready)

    @property
    def nodes(self) -> list[str]:
        return [f"{self.name}{n}" for n in range(1, self.shape.nodes + 1)]

    def _configure(self) -> None:
        place, folder = self.place, self.place.folder
        conf = config.slurm_conf(self.name, folder, place.port, self.user, self.shape)
        path = place.write("slurm.conf", conf)
        place.environ["SLURM_CONF"] = str(path)
        place.marks.append(f"SLURM_CONF={path}")
        place.make("state", 0o700)
        gpus = place.make("gpu")
        for number in range(self.shape.gpus):  # a link to a device will do
            (gpus / f"fake{number}").symlink_to("/dev/null")
        last = self.shape.gpus - 1
        place.write("gres.conf", f"Name=gpu File={gpus}/fake[0-{last}]\n" if last >= 0 else "")
        version = place.run("slurmctld", "-V").stdout.decode()
        place.write("cgroup.conf", config.cgroup_conf(version))

    def _start_munge(self) -> None:
        place, folder = self.place, self.place.folder
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o400)
        place.give(folder / "munge.key")
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid"}
        files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
        options = [f"--{option}={folder / name}" for option, name in files.items()]
        place.start("munged", "munged", "--foreground", "--force", *options)
        ask = ("munge", f"--socket={folder}/munge.socket", "--no-input")
        wait_until("munged", lambda: place.alive("munged") and self._succeeds(*ask))

    def _start_database(self) -> None:
        place, folder = self.place, self.place.folder
        data, socket = place.make("mysql", 0o700), f"--socket={folder}/mariadb.socket"
        common = ("--no-defaults", f"--user={self.user}", f"--datadir={data}")
        place.run("mariadb-install-db", *common, "--auth-root-authentication-method=normal",
                  "--skip-test-db")  # fmt: skip
        place.start(
            "mariadbd", "mariadbd", *common, "--bind-address=127.0.0.1", socket,
            f"--port={place.port + 2}", f"--pid-file={folder}/mariadb.pid", "--skip-log-bin",
            "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M",
            "--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900",
        )  # fmt: skip
        client = ("mariadb", "--no-defaults", "--user=root", socket)
        wait_until(
            "mariadbd",
            lambda: place.alive("mariadbd") and self._succeeds(*client, "-e", "select 1"),
        )
        password = secrets.token_hex(12)
        for host in ("127.0.0.1", "localhost"):
            who = f"slurm@'{host}'"
            place.run(*client, "-e", f"create user {who} identified by '{password}'; "
                      f"grant all on slurm_acct_db.* to {who}")  # fmt: skip
        text = config.slurmdbd_conf(folder, place.port, self.user, password)
        place.write("slurmdbd.conf", text, 0o600)

    def _succeeds(self, *argv: str) -> bool:
        try:
            return self.place.run(*argv, check=False, timeout_s=10).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    # Daemons.

    def start_accounting(self) -> None:
        self.place.start("slurmdbd", "slurmdbd", "-D")
        ask = ("sacctmgr", "--immediate", "--noheader", "list", "cluster")
        wait_until(
            "slurmdbd", lambda: self.place.alive("slurmdbd") and self._succeeds(*ask), timeout_s=60
        )
        self._succeeds("sacctmgr", "--immediate", "add", "cluster", self.name)
        # Who may use it, where that is enforced; of itself only root.
        self._succeeds("sacctmgr", "--immediate", "add", "user", self.user, "account=root")

    def start_controller(self) -> None:
        self.place.start("slurmctld", "slurmctld", "-D")
        wait_until(
            "slurmctld",
            lambda: self.place.alive("slurmctld") and self._succeeds("scontrol", "ping"),
        )

    def stop_controller(self) -> None:
        self.place.stop("slurmctld")

    def start_node(self, node: str) -> None:
        self.place.start(f"slurmd-{node}", "slurmd", "-D", "-N", node)

    def crash_node(self, node: str) -> None:
        """End a node's daemon and all that runs there, with no time for last words."""
        mine = set(marked(f"SLURM_CONF={self.place.folder}/slurm.conf"))
        jobs = set(marked(f"SLURMD_NODENAME={node}")) & mine
        steps = {parent_of(pid) for pid in jobs} & mine
        self.place.stop(f"slurmd-{node}", signal.SIGKILL)
        for pid in {each for step in steps for each in (step, *descendants(step))}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def lose_node(self, node: str) -> None:
        """It fails with all that runs there, is set down as an admin would, and comes back."""
        self.crash_node(node)
        self.control("update", f"nodename={node}", "state=down", "reason=crashed")
        self.start_node(node)
        self.control("update", f"nodename={node}", "state=resume")

    def stop_accounting(self) -> None:
        self.place.stop("slurmdbd")

    def _ready(self) -> bool:
        for node in self.nodes:
            self.place.alive(f"slurmd-{node}")
        words = ("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T")
        states = self.place.run(*words, check=False).stdout.decode().split()
        return states == ["idle"] * len(self.nodes)

    # What an administrator does.

    def control(self, *words: str) -> str:
        """scontrol. Raises ClusterError."""
        return self.place.run("scontrol", *words).stdout.decode()

    def close(self) -> None:
        """Cancel all jobs, end all daemons, remove everything."""
        with contextlib.suppress(ClusterError, subprocess.TimeoutExpired):
            self.control("update", "partitionname=main", "state=down")
            jobs = ("squeue", "--noheader", "--format=%A")
            ids = sorted(set(self.place.run(*jobs).stdout.decode().split()))
            if ids:
                self.place.run("scancel", *ids)
            wait_until("the end of all jobs", lambda: not self.place.run(*jobs).stdout, 15)
        self.place.close()


@contextlib.contextmanager
def cluster(name: str, user: str | None = None, **shape: object) -> Iterator[SlurmCluster]:
    """A cluster for as long as the block lasts; `shape` as config.Shape."""
    made = SlurmCluster(name, config.Shape(**shape), user)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()
