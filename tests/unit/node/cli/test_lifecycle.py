"""Starting and stopping a node, as far as no node is needed for it."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from node.cli.command import Floe
from node.cli.leaving import LOOK_S, QUEUE_END_S_MAX, send_away, wait_gone
from node.home import Home
from tests.fakes.api_server import FakeNode, Request
from tests.fakes.sleeper import Sleeper


def test_down_waits_until_pilots_are_gone_and_names_those_that_stay() -> None:
    going, staying = (subprocess.Popen(["sleep", "600"]) for _ in range(2))
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        if len(paused) == 3:
            going.kill()
            going.wait()

    try:
        left = wait_gone([going.pid, staying.pid], 10 * LOOK_S, pause)
        assert left == [staying.pid]
        assert len(paused) == 10
        staying.kill()
        staying.wait()
        assert wait_gone([going.pid, staying.pid], sleep=pause) == []
        assert len(paused) == 10
    finally:
        for process in (going, staying):
            process.kill()
            process.wait()


def answers(node: FakeNode, *replies: dict[str, Any]) -> list[str]:
    """The node's answers to orders about pilots, the last one for ever; what it was told."""
    told: list[str] = []
    waiting = list(replies)

    def answer(request: Request) -> dict[str, Any]:
        told.append(request.json()["how"])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    node.replies["/v1/admin/pilots"] = answer
    node.replies["/v1/pilots"] = {"pilots": [{"tag": "local-1", "pid": 4711}, {"tag": "floe-x-1"}]}
    return told


NOTHING = {"local": 0, "pilots": 0, "jobs": 0, "asking": False, "hindrances": []}


def test_a_drained_node_waits_for_the_last_pilot(
    node: FakeNode, home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = Sleeper()
    told = answers(node, NOTHING | {"pilots": 2, "jobs": 3}, NOTHING | {"pilots": 1}, NOTHING)
    assert send_away(Floe(home), "drain", clock, clock.sleep) == ([4711], [])
    assert told == ["drain"] * 3
    said = capfd.readouterr().err
    assert "waiting for 2 pilots and 1 job; Ctrl-C leaves the node up, draining" in said
    assert "waiting for 1 pilot;" in said


def test_a_drain_has_no_end_and_a_cancel_has_one(
    node: FakeNode, home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = Sleeper()
    hindrances = ["site.maui: cannot cancel: no answer"]
    answers(node, NOTHING | {"pilots": 1, "jobs": 1, "hindrances": hindrances})
    assert send_away(Floe(home), "cancel", clock, clock.sleep) == ([4711], hindrances)
    assert QUEUE_END_S_MAX < clock.now_s < 2 * QUEUE_END_S_MAX
    said = capfd.readouterr().err
    assert "still ending: 1 pilot" in said
    assert said.count("floe: ending 1 pilot\n") == 1
    assert "site.maui: cannot cancel: no answer" in said


def test_an_answer_that_is_due_is_waited_for(node: FakeNode, home: Home) -> None:
    clock = Sleeper()
    told = answers(node, NOTHING | {"asking": True}, NOTHING)
    send_away(Floe(home), "cancel", clock, clock.sleep)
    assert len(told) == 2
