"""An internet in network namespaces: a router, and sites behind it, each with its own address.

    site namespace          router namespace
    lo, up 10.77.1.2/24 ──── madison 10.77.1.1/24
    lo, up 10.77.2.2/24 ──── desy    10.77.2.1/24

Cuts, firewalls and slow lines are all the router's: rules of nftables, replaced as one, and a token
bucket. Packets that a cut drops vanish, as they do when a cable is pulled far away.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

CLONE_NEWNET = 0x40000000
PROGRAMS = ("ip", "nft", "tc")
ENDS_S_MAX = 10.0  # for the processes in a namespace to be gone
_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """Why there can be no namespaces here, or ""."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    name = f"floe-{secrets.token_hex(4)}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if tried.returncode != 0:
        return f"no right to make namespaces: {tried.stderr.decode().strip()}"
    _call("ip", "netns", "del", name)
    return ""


class Internet:
    """Make it, connect sites, and close it: that ends every process in its namespaces."""

    def __init__(self) -> None:
        self._id = f"floe-{secrets.token_hex(4)}"
        self._numbers: dict[str, int] = {}
        self._addresses: dict[str, str] = {}
        self._made: list[str] = []
        self._cuts: set[tuple[str, str]] = set()  # packets of the first to the second are dropped
        self._firewalls: set[str] = set()  # sites that nobody can dial, behind a translated address
        self._router = self._namespace("router")
        with self.inside("router"):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")

    # Sites

    def connect(self, name: str, *, firewall: bool = False) -> str:
        """Give a site a namespace with a line to the router; its address."""
        number = self._numbers[name] = len(self._numbers) + 1
        here = self._namespace(name)
        _call("ip", "-n", self._router, "link", "add", name, "type", "veth",
              "peer", "name", "up", "netns", here)  # fmt: skip
        _call("ip", "-n", self._router, "address", "add", f"10.77.{number}.1/24", "dev", name)
        _call("ip", "-n", self._router, "link", "set", name, "up")
        _call("ip", "-n", here, "link", "set", "dev", "up", "up")
        self.move(name, f"10.77.{number}.2")
        if firewall:
            self._firewalls.add(name)
            self._rule()
        return self.address(name)

    def address(self, name: str) -> str:
        """A site's own address."""
        return self._addresses[name]

    def outside(self, name: str) -> str:
        """The address under which the others see a site that lies behind a firewall."""
        return f"10.77.{self._numbers[name]}.1"

    def move(self, name: str, address: str) -> None:
        """Let a site have another address, of its own net, and no more the one before."""
        here = f"{self._id}-{name}"
        _call("ip", "-n", here, "address", "flush", "dev", "up")
        _call("ip", "-n", here, "address", "add", f"{address}/24", "dev", "up")
        _call("ip", "-n", here, "route", "replace", "default",
              "via", f"10.77.{self._numbers[name]}.1")  # fmt: skip
        self._addresses[name] = address

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Sockets and processes made meanwhile by this thread belong to a site's namespace."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self._id}-{name}", os.O_RDONLY)
        try:
            _set_namespace(there)
            yield
        finally:
            _set_namespace(back)
            os.close(back)
            os.close(there)

    def processes(self, name: str) -> list[int]:
        """What runs in a site's namespace."""
        return _pids(f"{self._id}-{name}")

    # Trouble

    def cut(self, *groups: Iterable[str]) -> None:
        """Part the sites into groups that cannot reach each other."""
        parted = [list(group) for group in groups]
        self._cuts |= {
            (one, other)
            for group in parted
            for one in group
            for away in parted
            if away is not group
            for other in away
        }
        self._rule()

    def heal(self) -> None:
        """No more cuts."""
        self._cuts.clear()
        self._rule()

    def slow(self, name: str, bytes_per_s: int) -> None:
        """What a site sends goes at most so fast."""
        _call("tc", "-n", f"{self._id}-{name}", "qdisc", "replace", "dev", "up", "root", "tbf",
              "rate", f"{8 * bytes_per_s}bit", "burst", "3000", "limit", "20000")  # fmt: skip

    def close(self) -> None:
        """End what runs in the namespaces, and remove them, whatever happened before."""
        for name in self._made:
            _end(name)
        for name in reversed(self._made):
            _call("ip", "netns", "del", name, check=False)
        self._made.clear()

    # Pieces

    def _namespace(self, name: str) -> str:
        full = f"{self._id}-{name}"
        _call("ip", "netns", "add", full)
        self._made.append(full)
        _call("ip", "-n", full, "link", "set", "lo", "up")
        return full

    def _rule(self) -> None:
        drops = [f"iifname {one} oifname {other} drop" for one, other in sorted(self._cuts)]
        drops += [f"oifname {name} ct state new drop" for name in sorted(self._firewalls)]
        hidden = [
            f"iifname {name} snat to {self.outside(name)}" for name in sorted(self._firewalls)
        ]
        rules = "\n".join(
            [
                "flush ruleset",
                "table ip floe {",
                "chain forward { type filter hook forward priority 0;",
                *drops,
                "}",
                "chain leaving { type nat hook postrouting priority 100;",
                *hidden,
                "}",
                "}",
                "",
            ]
        )
        _call("ip", "netns", "exec", self._router, "nft", "-f", "-", text=rules)


@contextlib.contextmanager
def internet() -> Iterator[Internet]:
    here = Internet()
    try:
        yield here
    finally:
        here.close()


def _call(*argv: str, text: str = "", check: bool = True) -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def _pids(namespace: str) -> list[int]:
    return [int(each) for each in _call("ip", "netns", "pids", namespace, check=False).split()]


def _end(namespace: str) -> None:
    until = time.monotonic() + ENDS_S_MAX
    while (pids := _pids(namespace)) and time.monotonic() < until:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the namespace")
