"""Sites with real links in one process, for one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fakes.loop import Loop
from tests.fakes.meshed import MeshedSite, Registry


class World:
    """The sites of one test, which share a registry of members unless they have their own."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.members = Registry()
        self.sites: list[MeshedSite] = []

    def site(self, number: int, members: Registry | None = None, **settings: Any) -> MeshedSite:
        site = MeshedSite(self.loop, members or self.members, number, **settings)
        self.sites.append(site)
        return site

    def stop(self, site: MeshedSite) -> None:
        self.sites.remove(site)
        self.loop.result(site.mesh.stop())

    def close(self) -> None:
        try:
            for site in self.sites:
                self.loop.result(site.mesh.stop())
        finally:
            self.loop.close()


@contextmanager
def a_world() -> Iterator[World]:
    world = World()
    try:
        yield world
    finally:
        world.close()
