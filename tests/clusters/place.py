"""A folder and its daemons: what every throw-away cluster is made of.

Daemons run in the foreground as our children, so none of them outlives us, and carry the folder's
name in their environment, by which strays are found.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

MARK = "FLOE_TEST_CLUSTER"
SYSTEM_PATH = ":".join((os.environ.get("PATH", ""), "/usr/local/sbin:/usr/sbin:/sbin"))
SLOT_PORTS = 20  # of one cluster
SLOTS = 10  # clusters of one kind side by side


class ClusterError(Exception):
    """A cluster did not come up, or one of its own commands failed."""


def missing(programs: Sequence[str]) -> str:
    """Which of these programs this machine lacks, in words; "" if it has all."""
    lacking = [name for name in programs if shutil.which(name, path=SYSTEM_PATH) is None]
    return f"no {', '.join(lacking)}" if lacking else ""


def wait_until(what: str, check: Callable[[], object], timeout_s: float = 30) -> None:
    """Ask again and again until `check` gives something true. Raises ClusterError."""
    end = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > end:
            raise ClusterError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.1)  # another process has to get there; nothing to inject a clock into


def marked(mark: str) -> list[int]:
    """Ids of the living processes that were started with this entry in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            living = (folder / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            if living and mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def parent_of(pid: int) -> int:
    """The process that a process comes from; 0 if it is gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


class Place:
    """A short-named folder of one cluster, which other users can enter, and what runs in it.

    kind: begins its name. port_base: SLOTS times SLOT_PORTS ports from here are shared by all
    clusters of this kind on the machine, each has a slot of its own. user: runs everything, where
    we are root; None: whoever we are.
    """

    def __init__(self, kind: str, port_base: int, user: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"floe-{kind}-", dir="/tmp"))
        self.user = user
        self.environ = {"PATH": SYSTEM_PATH, "LC_ALL": "C", "HOME": str(self.folder)}
        self.environ[MARK] = str(self.folder)
        self.marks = [f"{MARK}={self.folder}"]  # of strays; a system may add that of its jobs
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._slot, self.port = _slot(port_base)
        self.folder.chmod(0o755)
        self.give(self.folder)

    def give(self, path: Path) -> Path:
        """Make the user of the cluster the owner of a file."""
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            os.chown(path, entry.pw_uid, entry.pw_gid)
        return path

    def make(self, name: str, mode: int = 0o755) -> Path:
        """A folder in the folder."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        path.chmod(mode)
        return self.give(path)

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        path.chmod(mode)
        return self.give(path)

    def _as_user(self, argv: Sequence[str], user: str = "") -> list[str]:
        user = user or self.user or ""
        if not user or os.geteuid() != 0:
            return list(argv)
        ids = ("--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid))
        return ["setpriv", *ids, "--init-groups", *argv]

    def run(
        self,
        *argv: str,
        stdin: bytes = b"",
        check: bool = True,
        timeout_s: float = 60,
        user: str = "",
    ) -> subprocess.CompletedProcess[bytes]:
        """A command to its end. Raises ClusterError if it fails, and that is to be checked.

        user: whose command it is, where it is not that of the cluster's own user.
        """
        done = subprocess.run(
            self._as_user(argv, user), input=stdin, capture_output=True, env=self.environ,
            cwd=self.folder, timeout=timeout_s, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr).decode("utf-8", "replace")[-2000:]
            raise ClusterError(f"{' '.join(argv)}: exit status {done.returncode}: {said}")
        return done

    def start(self, name: str, *argv: str, env: Mapping[str, str] | None = None) -> None:
        """A daemon that stays in the foreground; what it prints goes to NAME.out."""
        log: IO[bytes] = (self.folder / f"{name}.out").open("ab")
        with log:
            words = self._as_user(["setpriv", "--pdeathsig", "TERM", *argv])
            self._daemons[name] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**self.environ, **(env or {})}, cwd=self.folder, start_new_session=True,
            )  # fmt: skip

    def alive(self, name: str) -> bool:
        """Raises ClusterError for a daemon that has ended by itself, with its last words."""
        status = self._daemons[name].poll()
        if status is not None:
            said = (self.folder / f"{name}.out").read_text("utf-8", "replace")[-2000:]
            raise ClusterError(f"{name} ended with status {status}: {said}")
        return True

    def send(self, name: str, number: int) -> None:
        """Send a signal to a daemon."""
        self._daemons[name].send_signal(number)

    def stop(self, name: str, how: int = signal.SIGTERM) -> None:
        """End a daemon; by force if it takes more than ten seconds."""
        daemon = self._daemons.pop(name)
        daemon.send_signal(how)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def close(self) -> None:
        """End everything, the youngest daemon first, and remove the folder."""
        for name in reversed(list(self._daemons)):
            self.stop(name)
        for pid in [pid for mark in self.marks for pid in marked(mark)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._slot.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _slot(base: int) -> tuple[IO[str], int]:
    """A slot of free ports that no other process takes meanwhile; its lock, and its first port."""
    for number in range(SLOTS):
        first = base + number * SLOT_PORTS
        # A file for each user: nobody may write another one's in /tmp.
        lock = Path(f"/tmp/floe-ports-{os.geteuid()}-{first}.lock").open("a")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        if all(_free(port) for port in range(first, first + SLOT_PORTS)):
            return lock, first
        lock.close()
    raise ClusterError(f"no {SLOT_PORTS} free ports from {base}")


def _free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def kept() -> Path:
    """Where programs that no package installs are kept for the next run."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "icefloe-tests"


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """No other process is between these lines with this file, which is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def opened(place: Place) -> Iterator[Place]:
    """Closes a place that does not come up."""
    try:
        yield place
    except BaseException:
        place.close()
        raise
