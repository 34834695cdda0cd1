"""Hosts that submissions leave out, as they are banned: by the names of the batch system. Pure.

A pilot says on which host it is, and a batch system says where a job runs; what is one host for the
first may have another name for the second. Only names that a batch system itself has told are used:
some refuse all that names a host which they do not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from node.work.hosts import Hosts

HOSTS_KEPT: Final = 10_000


class Avoided:
    """What one batch system calls hosts, and which of them its next submission leaves out."""

    def __init__(self, system: str, hosts: Hosts) -> None:
        self._system = system
        self._hosts = hosts
        self._called: dict[str, str] = {}  # by the name of which the pilot tells
        self._vain: frozenset[str] = frozenset()  # the last ones that were refused

    def seen(self, host: str, name: str) -> None:
        """A pilot on `host` runs in a job that the batch system says to be on `name`."""
        if name and self._called.pop(host, None) is None and len(self._called) >= HOSTS_KEPT:
            del self._called[next(iter(self._called))]
        if name:
            self._called[host] = name

    def learn(self, pilots: Iterable[tuple[str, str]], now_s: float) -> None:
        """Note the names of banned hosts. pilots: (host, name) of those that are up."""
        banned = {host.name: host for host in self._hosts.banned(now_s)}
        if not banned:
            return
        for host, name in [*self._called.items(), *pilots]:
            if host in banned and name:
                self._hosts.named(banned[host], self._system, name)

    def names(self, now_s: float) -> tuple[str, ...]:
        """What the next submission is to leave out."""
        found = dict.fromkeys(
            name
            for host in self._hosts.banned(now_s)
            for system, name in host.names
            if system == self._system
        )
        return () if self._vain and frozenset(found) == self._vain else tuple(found)

    def refused(self, names: Sequence[str]) -> None:
        """A submission that left these out was not taken: the next one leaves out none.

        It may be that a host is not known any more, or that there is no other.
        """
        self._vain = frozenset(names)
