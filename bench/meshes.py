"""A throw-away mesh: several sites on loopback, each with its own home, key, node and pilots."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.site import Site, make_site, take_down

JOIN_S_MAX = 60
LISTENED = (18_000, 32_000)  # clusters of tests have those below
PATIENCE = 3.0


class Mesh:
    """Its sites by name; the first one invited the others."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.sites: dict[str, Site] = {}

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]

    def add(self, name: str, *, slots: int = 1, config: str = "") -> Site:
        """Make a site, start it, and let it join the first one."""
        folder = self.base / name
        folder.mkdir()
        ports = ["--mesh-listen", "127.0.0.1", "--mesh-port", str(free_port())]
        here = make_site(folder, name, *ports, slots=slots, config=config)
        sponsor = next(iter(self.sites.values()), None)
        self.sites[name] = here
        here.up()
        if sponsor is not None:
            token = sponsor.run("mesh", "invite").strip()
            here.run("mesh", "join", token)
        return here

    def kill(self, name: str) -> None:
        """Let a site be gone at once, with everything that runs there."""
        here = self.sites.pop(name)
        pids = [here.pid, *here.pilots()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(here.home.parent, ignore_errors=True)

    def close(self) -> None:
        for here in self.sites.values():
            take_down(here)


def free_port() -> int:
    """A port of loopback that nobody has now.

    Not one that the system gives to outgoing connections: one of those could take it while the
    node that it belongs to is down for a moment.
    """
    while True:
        port = random.SystemRandom().randrange(*LISTENED)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(question: Any, timeout_s: float, what: str, every_s: float = 0.2) -> Any:
    """The first true answer to a question asked again and again. Exits when the time is over.

    timeout_s: on a machine with nothing else to do; a busy one gets PATIENCE times as long.
    """
    timeout_s *= PATIENCE
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        answer = question()
        if answer:
            return answer
        time.sleep(every_s)
    raise SystemExit(f"not within {timeout_s:.0f} s: {what}")


@contextlib.contextmanager
def mesh(names: Sequence[str], *, slots: int = 1, config: str = "") -> Iterator[Mesh]:
    """A mesh of running sites that all see each other; taken down at the end, whatever happens."""
    base = Path(tempfile.mkdtemp(prefix="floe-mesh-"))
    here = Mesh(base)
    try:
        for name in names:
            here.add(name, slots=slots, config=config)
        for site in here.sites.values():
            wait_until(lambda site=site: sees(site, len(names)), JOIN_S_MAX, "all sites alive")
        yield here
    finally:
        here.close()
        shutil.rmtree(base, ignore_errors=True)


def sees(site: Site, count: int) -> bool:
    """Whether a site sees so many alive members, itself included."""
    members = site.json("mesh")["sites"]
    return sum(member["state"] == "alive" for member in members) == count
