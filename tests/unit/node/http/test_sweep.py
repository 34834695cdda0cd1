"""Deadlines of connections are kept whatever becomes of one of them."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from node.http import limits
from node.http.server import Door


class Connection:
    """What the door sees of one: past its deadline from the start."""

    deadline_s = 0.0
    proven = False

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.ended = ""

    def expire(self) -> None:
        if self.broken:
            raise ZeroDivisionError("a bug")
        self.ended = "expired"

    def cut(self) -> None:
        self.ended = "cut"


def test_one_that_cannot_be_closed_is_cut_and_the_others_go_on_to_expire() -> None:
    clock: Any = Clock()
    door = Door(clock)
    door.start()
    broken, good = Connection(broken=True), Connection()
    for connection in (broken, good):
        door.enter(connection, "here")  # type: ignore[arg-type]
    clock.advance(limits.SWEEP_S)
    later = Connection()
    door.enter(later, "here")  # type: ignore[arg-type]
    clock.advance(limits.SWEEP_S)
    assert [broken.ended, good.ended, later.ended] == ["cut", "expired", "expired"]
    door.stop()
