"""A throw-away site for measurements: own home, own key, real `floe` commands, real processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

FLOE = str(Path(sys.executable).with_name("floe"))


class Site:
    """One node in the background; `run` calls the command line, `cpu_s` reads the node's CPU.

    before: words before each command, which make it another user's. floe: the command line.
    """

    def __init__(
        self,
        home: Path,
        environment: dict[str, str],
        before: Sequence[str] = (),
        floe: Sequence[str] = (FLOE,),
    ) -> None:
        self.home = home
        self.environment = environment
        self.before = before
        self.pid = 0
        self._floe = floe

    def command(self, *arguments: str) -> list[str]:
        """What `run` runs."""
        return [*self.before, *self._floe, *arguments]

    def run(self, *arguments: str, check: bool = True, text: str | None = None) -> str:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            cwd=self.home.parent,
            check=False,
        )
        if check and done.returncode != 0:
            shown = " ".join(arguments)
            raise SystemExit(f"floe {shown}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def up(self) -> None:
        self.run("up", "--detach")
        self.pid = int(self.json("status")["pid"])

    def cpu_s(self) -> float:
        return process_cpu_s(self.pid)

    def rss_mb(self) -> float:
        text = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def pilots(self) -> list[int]:
        """Process ids of this site's pilots and their helpers, payloads excluded."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if any(bytes(self.home) in word for word in words) and b"python" in words[0]:
                    found.append(int(folder.name))
        return [pid for pid in found if pid != self.pid]

    def wait(self, name: str, timeout_s: int = 600) -> None:
        self.run("wait", name, "--timeout", str(timeout_s))


def process_cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process so far, to the nanosecond where the kernel tells."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def make_site(
    base: Path,
    name: str,
    *words: str,
    slots: int,
    config: str = "",
    preload: str | None = None,
    kind: Callable[[Path, dict[str, str]], Site] = Site,
) -> Site:
    """A new site below `base`, with its own key and home; not started. words: more for init."""
    environment = dict(os.environ, FLOE_HOME=str(base / "home"), HOME=str(base))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as on a user's machine
    # Payloads that call python3 get the one that has the physics packages.
    environment["PATH"] = f"{Path(FLOE).parent}:{environment['PATH']}"
    here = kind(base / "home", environment)
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(base / "id")]
    subprocess.run([*here.before, *keygen], check=True)
    sized = ["--slots", str(slots)] if slots else []
    listens = [] if words else ["--mesh-listen", "127.0.0.1", "--mesh-port", "0"]
    here.run("init", "--name", name, "--key", str(base / "id"), *sized, *listens, *words)
    config += "" if slots else "\n[site.local]\npilots_max = 0\n"
    if config:
        with (here.home / "config.toml").open("a", encoding="utf-8") as file:
            file.write(config)
    if preload:
        environment["LD_PRELOAD"] = preload
    return here


def take_down(here: Site) -> None:
    """End a site's node and its pilots, and wait until they are gone."""
    here.run("down", "--pilots", check=False)
    until = time.monotonic() + 15
    while here.pilots() and time.monotonic() < until:
        time.sleep(0.1)


@contextlib.contextmanager
def site(*, slots: int = 2, preload: str | None = None, config: str = "") -> Iterator[Site]:
    """A running site that is taken down and removed at the end, whatever happens.

    slots: of its one pilot; 0 for a site without pilots of its own. config: more of config.toml.
    """
    base = Path(tempfile.mkdtemp(prefix="floe-bench-"))
    here: Site | None = None
    try:
        here = make_site(base, "bench", slots=slots, config=config, preload=preload)
        here.up()
        here.environment.pop("LD_PRELOAD", None)
        yield here
    finally:
        if here is not None:
            take_down(here)
        shutil.rmtree(base, ignore_errors=True)
