"""Outputs that came out otherwise: what people are told, and which orders are taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.records import Command, Reproduce
from keys.signing import Purpose, digest
from node.model.commands import command_document, read_command
from node.model.inputs import read_digest
from node.services.commands import Target
from node.services.dependencies import of_tasks, of_unit
from node.services.lookups import OrderLookups
from node.services.refusal import Refusal
from node.services.why import OTHERWISE
from node.store import tasks
from tests.unit.node.fold.world import ANA
from tests.unit.node.leading.test_reproducing import JOBS, World

RENEW = "floe set renew chain --task make"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """`idle` has read what `make` of job 0 put out first, `use` has not; that is lost."""
    here = World(tmp_path)
    here.run(here.maker, 0, *range(JOBS))
    here.run(here.leader, 2, 0, inputs=read_digest([here.lists[0]]))
    remake(here)
    yield here
    here.close()


def remake(world: World) -> None:
    """The maker is lost with the outputs of job 0, and another site makes them otherwise."""
    world.leader.control(Reproduce(world.leader.shard, world.dataset, [0], [0, 1]))
    other = world.outputs(world.other, b"made otherwise")
    world.run(world.other, 0, 0, outputs=other)
    world.catch_up()


def lookups(world: World) -> OrderLookups:
    shards = [world.leader.shard]
    return OrderLookups(world.conn, lambda no: {}, lambda: shards, list, lambda site: "desy")


def check(world: World, *jobs: int, task: str = "make") -> None:
    """Raises Refusal for an order that would change nothing."""
    found = lookups(world)
    target: Target | None = found.target(world.dataset)
    assert target is not None
    args = {"select": {"tasks": [task], **({"jobs": list(jobs)} if jobs else {})}}
    found.check(target, read_command(command_document(world.dataset, "renew", args)))


def test_who_waits_for_it_is_told_what_is_wrong_and_what_to_do(world: World) -> None:
    row, spec = tasks.dataset(world.conn, 1), tasks.spec(world.conn, 1)
    (lost,) = of_unit(world.conn, row, spec, 1, 0)
    assert (lost.serves, lost.remedy) == (False, f"{RENEW} --jobs 0")
    assert lost.holdup == f"its outputs were lost; it was made again and {OTHERWISE}"
    (other,) = of_unit(world.conn, row, spec, 1, 1)
    assert (other.serves, other.remedy) == (True, "")
    (every,) = of_tasks(world.conn, row, spec)[1]
    assert (every.serves, every.remedy) == (False, RENEW)
    assert every.holdup == f"1 were lost, were made again and {OTHERWISE}"


def test_while_it_runs_once_more_nobody_has_to_decide(world: World) -> None:
    world.leader.control(Reproduce(world.leader.shard, world.dataset, [0], [0, 1]))
    world.catch_up()
    row, spec = tasks.dataset(world.conn, 1), tasks.spec(world.conn, 1)
    (lost,) = of_unit(world.conn, row, spec, 1, 0)
    assert (lost.holdup, lost.remedy) == ("its outputs were lost; it runs again", "")


def test_an_order_for_units_that_came_out_as_they_were_is_refused(world: World) -> None:
    check(world)
    check(world, 0, 2)
    for jobs, task in (((1, 4), "make"), ((0, 1), "use")):
        with pytest.raises(Refusal, match="nothing that was chosen of chain came out otherwise"):
            check(world, *jobs, task=task)


def test_after_the_order_nothing_is_in_the_way_any_more(world: World) -> None:
    document = command_document(world.dataset, "renew", {"select": {"jobs": [0, 1]}})
    world.leader.control(Command(world.leader.shard, document, ANA, ANA))
    world.catch_up()
    assert tasks.seen(world.conn, digest(Purpose.COMMAND, document))
    row, spec = tasks.dataset(world.conn, 1), tasks.spec(world.conn, 1)
    (made,) = of_unit(world.conn, row, spec, 1, 0)
    assert (made.serves, made.remedy) == (True, "")
    assert world.gone(world.maker) == [(0, [1, JOBS])]
    assert world.gone(world.maker, world.other) == [(0, [0, JOBS])]
    with pytest.raises(Refusal):
        check(world)
