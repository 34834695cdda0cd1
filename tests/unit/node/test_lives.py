"""A node that starts itself again: one life after another, a few times, and never after the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from node.home import HomeError, NodeAddress
from node.lives import AGAIN_MAX, Lives

ADDRESS = NodeAddress(1, "https://127.0.0.1:1", "f", "key", "desy")


class Life:
    """A site that starts and stops when the test lets it."""

    def __init__(self, world: World, again: Callable[[str], None]) -> None:
        self.world, self.again = world, again
        self.number = len(world.lives) + 1

    async def start(self) -> NodeAddress:
        self.world.said.append(f"start {self.number}")
        if self.world.wrong:
            raise self.world.wrong
        return ADDRESS

    async def stop(self) -> None:
        if self.world.held is not None:
            await self.world.held
        self.world.said.append(f"stop {self.number}")


class World:
    def __init__(self) -> None:
        self.lives: list[Life] = []
        self.said: list[str] = []
        self.ended: list[str] = []
        self.wrong: Exception | None = None
        self.held: Deferred[None] | None = None
        self.process = Lives(self._make, self.ended.append)
        Deferred.fromCoroutine(self.process.start())

    def _make(self, again: Callable[[str], None], number: int) -> Life:
        assert number == len(self.lives)
        self.lives.append(Life(self, again))
        return self.lives[-1]

    def again(self) -> None:
        self.lives[-1].again("its store is an old copy")


@pytest.fixture
def world() -> World:
    return World()


def test_the_next_life_begins_when_the_one_before_has_ended(world: World) -> None:
    world.held = Deferred()
    world.again()
    assert world.said == ["start 1"]
    world.held.callback(None)
    assert world.said == ["start 1", "stop 1", "start 2"]


def test_after_a_few_lives_it_waits_for_a_person(world: World) -> None:
    for _ in range(AGAIN_MAX + 3):
        world.again()
    assert len(world.lives) == AGAIN_MAX + 1
    assert world.said[-1] == f"start {AGAIN_MAX + 1}"
    assert world.ended == []


def test_a_life_that_cannot_begin_ends_the_process_with_its_words(world: World) -> None:
    world.wrong = HomeError("the disk is gone")
    world.again()
    assert world.ended == ["the disk is gone"]


def test_nothing_begins_after_the_end(world: World) -> None:
    world.held = Deferred()
    world.again()
    Deferred.fromCoroutine(world.process.stop())
    world.held.callback(None)
    said = list(world.said)
    assert said[-1].startswith("stop")
    world.again()
    assert world.said == said


def test_a_life_that_asks_twice_is_followed_by_one(world: World) -> None:
    world.held = Deferred()
    world.again()
    world.again()
    world.held.callback(None)
    assert world.said == ["start 1", "stop 1", "start 2"]
