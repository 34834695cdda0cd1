"""An sshd of our own on loopback: throw-away keys and port, for the account that runs the tests."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from schedulers.ssh_options import SshSettings

START_S_MAX = 20.0
PACKAGE = "openssh-server"


def program() -> str | None:
    """The daemon, which wants to be called by its full path."""
    return shutil.which("sshd", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}")


def missing() -> str:
    """What keeps a daemon from being started here; "" if nothing does."""
    lacks = [name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None]
    lacks += [] if program() else ["sshd"]
    return f"{', '.join(lacks)} not here: install openssh-client and {PACKAGE}" if lacks else ""


@dataclass(frozen=True)
class Sshd:
    """A daemon that runs, and what it takes to log in."""

    folder: Path
    port: int
    pid: int

    @property
    def host_key(self) -> str:
        """Type and key of the host."""
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    @property
    def known_hosts(self) -> Path:
        """Holds the host's key."""
        return self.folder / "known_hosts"

    @property
    def key(self) -> Path:
        """A private key that may log in."""
        return self.folder / "user"

    def settings(self, **more: object) -> SshSettings:
        """How to reach it, with some of it changed."""
        usual = {
            "host": "127.0.0.1",
            "port": self.port,
            "key": str(self.key),
            "known_hosts": str(self.known_hosts),
            "config": "/dev/null",
            "profile": False,
        }
        return SshSettings(**{**usual, **more})  # type: ignore[arg-type]

    def login(self, name: str, command: str) -> Path:
        """One more key, whose login runs `command` of bash in place of the account's shell.

        In it, $SSH_ORIGINAL_COMMAND is what the client asked for.
        """
        key = self.folder / name
        make_key(key)
        forced = command.replace("\\", "\\\\").replace('"', '\\"')
        line = f'command="{forced}" {key.with_suffix(".pub").read_text()}'
        with (self.folder / "authorized_keys").open("a") as file:
            file.write(line)
        return key

    def sessions(self) -> list[int]:
        """The processes that serve its connections."""
        return children(self.pid)

    def signal_sessions(self, number: int) -> None:
        """Signal all that serves connections, and what runs in them not."""
        for pid in self.sessions():
            for each in [pid, *(child for child in children(pid) if comm(child) == "sshd")]:
                os.kill(each, number)


@contextmanager
def sshd(folder: Path, *, home: Path | None = None, lines: tuple[str, ...] = ()) -> Iterator[Sshd]:
    """Start a daemon; end it and all that it serves. home: of logins; lines: of its settings."""
    path = program()
    assert path is not None, f"no sshd: it comes with {PACKAGE}"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks away its child
    make_key(folder / "host")
    make_key(folder / "user")
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    port = free_port()
    key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    (folder / "sshd_config").write_text(_config(folder, port, home, lines))
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [path, "-D", "-e", "-f", folder / "sshd_config"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait(port, daemon, folder / "log")
        yield Sshd(folder, port, daemon.pid)
    finally:
        left = descendants(daemon.pid)
        daemon.terminate()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait(10)


def _config(folder: Path, port: int, home: Path | None, lines: tuple[str, ...]) -> str:
    environment = [f"SetEnv HOME={shlex.quote(str(home))}"] if home else []
    return "\n".join(
        [
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {folder}/host",
            f"AuthorizedKeysFile {folder}/authorized_keys",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "LogLevel VERBOSE",
            *environment,
            *lines,
            "",
        ]
    )


def _wait(port: int, daemon: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + START_S_MAX
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as probe:
                probe.recv(1)  # it has noted us down: see `connections` of the tests
                return
        except OSError:
            assert daemon.poll() is None, f"sshd ended: {log.read_text()}"
            assert time.monotonic() < end_s, f"sshd does not listen: {log.read_text()}"
            time.sleep(0.02)


def make_key(path: Path) -> None:
    """A key pair without a passphrase."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def free_port() -> int:
    """A port of loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children(pid: int) -> list[int]:
    """Living processes that this one started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == str(pid) and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def descendants(pid: int) -> list[int]:
    """All processes below this one."""
    found = children(pid)
    return found + [each for child in found for each in descendants(child)]


def alive(pid: int) -> bool:
    """Whether a process runs: one that only nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def comm(pid: int) -> str:
    """The name of a process; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
