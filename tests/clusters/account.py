"""A plain user's account, whose nodes submit to clusters of the machine's root, as at any site."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.site import FLOE, Site

NAME = "nobody"
ROOT = Path(__file__).parents[2]
_RUNS = "import apsw, cryptography, numpy, twisted, node.cli"  # what nodes, pilots and units need


@dataclass(frozen=True)
class Account:
    """python: what runs Icefloe and the example for this user; its last word is enough for pilots.

    name: "" for whoever runs the tests.
    """

    name: str = ""
    python: Sequence[str] = (sys.executable,)

    def words(self) -> list[str]:
        """Before a command that is to be this user's."""
        if not self.name:
            return []
        group = str(pwd.getpwnam(self.name).pw_gid)
        return ["setpriv", f"--reuid={self.name}", f"--regid={group}", "--init-groups"]

    def give(self, path: Path, mode: int | None = None) -> Path:
        """Make this user the owner of a file or folder."""
        if self.name:
            entry = pwd.getpwnam(self.name)
            os.chown(path, entry.pw_uid, entry.pw_gid)
        if mode is not None:
            path.chmod(mode)
        return path

    def site(self, home: Path, environment: dict[str, str]) -> Site:
        """For make_site, in a folder of this user's."""
        if not self.name:
            return Site(home, environment)
        environment |= self.environ
        return Site(home, environment, self.words(), [str(self.programs(home.parent) / "floe")])

    @property
    def environ(self) -> dict[str, str]:
        return {"USER": self.name, "LOGNAME": self.name} if self.name else {}

    def programs(self, folder: Path) -> Path:
        """Where this user has `floe` and `python3`; they are made in a folder, if need be."""
        if len(self.python) == 1:
            return Path(self.python[0]).parent
        made = folder / "bin"
        made.mkdir(exist_ok=True)
        for name, words in (("python3", self.python), ("floe", [*self.python, FLOE])):
            script = made / name
            script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            script.chmod(0o755)
        return made

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """One of this user's that others may enter, for as long as the block lasts."""
        with tempfile.TemporaryDirectory(
            prefix=f"floe-{name}-", dir="/tmp", ignore_cleanup_errors=True
        ) as made:
            yield self.give(Path(made), 0o755)


def plain_account() -> Account:
    """A plain user where we are root, and one can run Icefloe from here; else whoever we are."""
    if os.geteuid() != 0:
        return Account()
    able = (account for each in _pythons() if _runs(account := Account(NAME, each)))
    return next(able, Account())


def _pythons() -> Iterator[Sequence[str]]:
    """Ours; and the system's with our packages, where ours is in a folder of root's."""
    yield [sys.executable]
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    yield ["env", f"PYTHONPATH={packages}:{ROOT}", f"/usr/bin/{version}"]


def _runs(account: Account) -> bool:
    # By sh: what setpriv executes itself may be allowed to it by what it was.
    line = shlex.join([*account.python, "-c", _RUNS])
    words = [*account.words(), "sh", "-c", line]
    return subprocess.run(words, cwd="/", capture_output=True, check=False).returncode == 0
