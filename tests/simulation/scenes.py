"""What named lives of several sites have in common: a mesh that works, and questions about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from federation.ids import DatasetID
from node.fold.attempts import Attempts
from tests.simulation.host import Host
from tests.simulation.naive import Reading
from tests.simulation.people import Submitted, describe
from tests.simulation.software import TODAY, Software
from tests.simulation.world import World

JOBS = 24
CHAIN = ((), ("t0",))
YEAR_MS = 365 * 86_400_000
TAKE_OVER_S = 400.0  # two vote timeouts and some


def a_mesh(folder: Path, sites: int, software: Software = TODAY) -> Iterator[World]:
    """Sites that know each other long enough to sit in councils; every unit succeeds."""
    world = World(1, folder / "world", (), sites=sites)
    for host in world.hosts:
        host.software = software
    world.farm.fates.healthy = True
    with world:
        world.pass_s(200)
        yield world


def submit(world: World, host: Host, name: str = "work", jobs: int = JOBS) -> Submitted:
    """Somebody submits; returns once that is acknowledged."""
    random = Random(name)
    world.people.submit_to(host, describe(name, CHAIN, jobs), random)
    world.until(lambda: any(made.name == name for made in world.witness.datasets.values()))
    world.raise_if_broken()
    return next(made for made in world.witness.datasets.values() if made.name == name)


def some_settled(world: World, host: Host, count: int = 1) -> None:
    """Until so many results have been accepted, as a site sees it."""

    def enough() -> bool:
        assert host.node is not None
        rows = host.node.conn.execute("SELECT coalesce(sum(settled), 0) FROM task").fetchall()
        return bool(rows[0][0] >= count)

    world.until(enough)
    world.raise_if_broken()


def order(
    world: World, made: Submitted, verb: str, args: dict[str, Any], host: Host, seed: int = 1
) -> None:
    """Somebody orders something at a site."""
    world.people.send(made, verb, args, made.person, Random(f"{verb} {seed}"), host)


@contextmanager
def fold_raises(monkeypatch: pytest.MonkeyPatch, dataset: DatasetID) -> Iterator[None]:
    """The fold meets a bug in the attempts of one dataset, at all sites."""
    fold = Attempts.fold

    def raises(self: Attempts, record: Any, *more: Any) -> Any:
        if record.dataset == dataset:
            raise ZeroDivisionError("a bug")
        return fold(self, record, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Attempts, "fold", raises)
        yield


def fork_shown_to_two_halves(world: World, original: Host) -> tuple[Host, list[Host]]:
    """A cloned voter works in both halves of a mesh of five, which then meet: the clone, and the
    other sites."""
    others = [host for host in world.hosts if host is not original]
    left, right = others[1:3], [others[0], others[3]]
    second = f"{original.name}-twin"
    world.network.machine(second, original.site)
    world.network.ways.split(
        [original.name, *(host.name for host in left)], [second, *(host.name for host in right)]
    )
    twin = world.clone(original, whole=True)
    world.farm.closed.add(twin)
    submit(world, left[0], "left", 8)
    submit(world, right[0], "right", 8)
    world.pass_s(100)
    world.network.ways.mend_all()
    return twin, others


def leaders(world: World, made: Submitted) -> list[str]:
    """The names of the sites that led a dataset's shard, one after the other."""
    names = {host.site: host.name for host in world.hosts}
    reading = Reading(entry for feed in world.witness.archive.values() for entry in feed)
    shard = reading.shards[reading.sets[made.id].shard]
    return [names[term.feed.site] for term in shard.terms]


def task_counts(host: Host, what: str) -> int:
    """The sum of a counter over all tasks, as a site has it."""
    assert host.node is not None
    return int(host.node.conn.execute(f"SELECT sum({what}) FROM task").fetchall()[0][0])


def written(world: World, kind: type[Any]) -> list[Any]:
    """The records of a kind that were ever durable anywhere."""
    return [
        record
        for feed in world.witness.archive.values()
        for entry in feed
        for record in entry.records()
        if isinstance(record, kind)
    ]
