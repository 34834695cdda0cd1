"""Hosts of a private Grid Engine, all on this machine.

The master calls a host by the address from which its daemon calls. So each but the first, which is
the machine as it is, has an address of the loopback network, from which a relay passes its calls
on, and its name in a UTS namespace. Daemons that have to know the names read them in /etc/hosts, in
mount namespaces: nothing of this is seen outside.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.clusters.place import Place, wait_until
from tests.clusters.sge.config import GROUPS

FIRST = "localhost"
_RELAY = Path(__file__).with_name("relay.py")
_KNOWING = 'mount --bind "$1" /etc/hosts; test -z "$2" || hostname "$2"; shift 2; exec "$@"'


def knowing(names: Path, hostname: str = "") -> list[str]:
    """Words before a command that sees a file in place of /etc/hosts, and is on such a host."""
    return ["unshare", "--mount", "--uts", "sh", "-ec", _KNOWING, "sh", str(names), hostname]


def separable() -> bool:
    """Whether this machine can be more than one host."""
    try:
        tried = ("unshare", "--mount", "--uts", "true")
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Host:
    """number: from 0. port: of the master, the first of the cluster's."""

    number: int
    port: int

    @property
    def name(self) -> str:
        return f"worker{self.number + 1}" if self.number else FIRST

    @property
    def address(self) -> str:
        return f"127.0.0.{self.number + 1}"

    @property
    def daemon(self) -> str:
        """What the place calls its execd."""
        return f"execd{self.number}"

    @property
    def environ(self) -> dict[str, str]:
        """Of its execd, and of the jobs below that.

        The master takes all hosts to listen on one port. On that one none does, so that nobody but
        the right one ever answers: it speaks to hosts that have called it.
        """
        calls = self._relay if self.number else self.port
        own = self.port + 2 + self.number
        return {"SGE_ND": "1", "SGE_EXECD_PORT": str(own), "SGE_QMASTER_PORT": str(calls)}

    @property
    def mark(self) -> str:
        """What execd and jobs of this host alone have in their environment."""
        return f"SGE_EXECD_PORT={self.environ['SGE_EXECD_PORT']}"

    @property
    def groups(self) -> str:
        """gid_range of sge_conf(5), which hosts on one machine may not share."""
        first = 1_000_000 + (self.port + self.number) * GROUPS
        return f"{first}-{first + GROUPS - 1}"

    @property
    def _relay(self) -> int:
        return self.port + 10 + self.number

    def start(self, place: Place, execd: str, names: Path) -> None:
        """names: as of `knowing`."""
        words = knowing(names, self.name) if self.number else []
        place.start(self.daemon, *words, execd, env=self.environ)

    def start_relay(self, place: Place) -> None:
        """Once, before the first `start`."""
        if not self.number:
            return
        name, ports = f"relay{self.number}", (str(self._relay), self.address, str(self.port))
        place.start(name, sys.executable, "-I", str(_RELAY), *ports)
        said = place.folder / f"{name}.out"
        wait_until("a relay", lambda: place.alive(name) and said.stat().st_size > 0)
