"""`floe site test`, as people see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from node.cli import probing
from node.cli.command import Floe
from node.cli.probing import RAN, SystemProbe
from node.home import Home
from tests.fakes.api_server import FakeNode, Request
from tests.fakes.sleeper import Sleeper
from tests.unit.node.cli.conftest import Floe as Run

Steps = list[dict[str, Any]]
MAUI = {"name": "maui", "state": "ok", "look_s": 30}


def step(what: str, ok: bool | None, detail: str = "", right: str = "") -> dict[str, Any]:
    return {"what": what, "ok": ok, "detail": detail, "right": right}


GOOD = [
    step("answers", True, "Slurm 22.05"), step("submitted", True, "job 4711"),
    step("started", True, "on c17"), step("spoke to this node", True, "8 CPUs"),
]  # fmt: skip
CLEAN = [*GOOD, step("cleaned up", True, "its files are removed")]


class Desk:
    """A node that answers questions about a test as it is told to; what it was asked."""

    def __init__(self, node: FakeNode, home: Home) -> None:
        self.asked: list[dict[str, Any]] = []
        self.clock = Sleeper()
        self.home = home
        self.steps: Callable[[Sequence[str]], tuple[Steps, bool]] = lambda asked: (GOOD, False)
        node.replies["/v1/admin/test"] = self._answer
        node.replies["/v1/site"] = {"site": {"batch": [MAUI]}}

    def _answer(self, request: Request) -> dict[str, Any]:
        body = request.json()
        self.asked.append(body)
        steps, over = self.steps([each["do"] for each in self.asked])
        return {"steps": steps, "over": over}

    def probe(self, timeout_s: float = 600) -> SystemProbe:
        return SystemProbe(Floe(self.home), timeout_s, self.clock, self.clock.sleep, system="maui")

    def verbs(self) -> list[str]:
        return [each["do"] for each in self.asked]


@pytest.fixture
def desk(node: FakeNode, home: Home) -> Desk:
    return Desk(node, home)


def told(probe: SystemProbe) -> list[tuple[str, bool]]:
    return [(each.what, each.ok) for each in probe.steps]


def test_every_step_is_told_and_the_pilot_is_let_go(
    desk: Desk, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing.secrets, "token_hex", lambda _: "abcdef")
    node.replies["/v1/datasets/site-test-abcdef/wait"] = {"done": True, "counts": {"settled": 1}}
    desk.steps = lambda asked: (CLEAN, True) if asked.count("end") else (GOOD, False)
    probe = desk.probe()
    assert probe.run()
    assert told(probe) == [
        ("node answers", True), ("answers", True), ("submitted", True), ("started", True),
        ("spoke to this node", True), (RAN, True), ("cleaned up", True),
    ]  # fmt: skip
    assert desk.verbs() == ["begin", "look", "end"]
    (posted,) = node.posted["/v1/datasets"]
    assert posted["description"]["sites"] == {"only": [node.name]}
    assert len(desk.asked[0]["dataset"]) == 64


def test_a_step_that_fails_ends_it_with_what_to_do(desk: Desk, node: FakeNode) -> None:
    bad = step("submitted", False, "invalid account", "correct [site.maui]")
    desk.steps = lambda asked: ([GOOD[0], bad], True)
    probe = desk.probe()
    assert not probe.run()
    assert told(probe)[-1] == ("submitted", False)
    assert probe.steps[-1].right == "correct [site.maui]"
    assert "/v1/datasets" not in node.posted


def test_what_takes_too_long_is_ended_and_explained(desk: Desk) -> None:
    waits = step("started", None, "job 4711 waits")
    late = step("started", False, "job 4711 waits: nodes are down")

    def steps(asked: Sequence[str]) -> tuple[Steps, bool]:
        if "end" not in asked:
            return [*GOOD[:2], waits], False
        return [*GOOD[:2], late, step("cleaned up", True, "cancelled")], asked[-1] == "look"

    desk.steps = steps
    probe = desk.probe(timeout_s=60)
    assert not probe.run()
    assert told(probe)[-2:] == [("started", False), ("cleaned up", True)]
    assert "nodes are down" in probe.steps[-2].detail
    assert 60 < desk.clock.now_s < 80


def test_a_pilot_that_does_not_go_is_told(desk: Desk, node: FakeNode) -> None:
    listed = step("cleaned up", None, "job 4711 is listed still: running")
    bad = step("spoke to this node", False, "it has not")
    desk.steps = lambda asked: ([*GOOD[:3], bad, listed], False)
    probe = desk.probe()
    assert not probe.run()
    assert told(probe)[-2:] == [("spoke to this node", False), ("cleaned up", False)]
    assert desk.clock.now_s > 3 * MAUI["look_s"]  # type: ignore[operator]


def test_a_batch_system_that_is_not_there_is_no_test(desk: Desk, floe: Run) -> None:
    shown = floe("site", "test", "muai")
    assert shown.status == 4
    assert "it has maui" in shown.err
    assert not desk.asked


def test_all_batch_systems_are_tried_without_a_name(desk: Desk, floe: Run) -> None:
    desk.steps = lambda asked: ([step("answers", False, "no answer", "floe config check")], True)
    shown = floe("site", "test", "--json")
    assert shown.status == 1
    assert [each["what"] for each in shown.json()["steps"]] == ["node answers", "answers"]
    assert shown.json()["steps"][1]["system"] == "maui"
