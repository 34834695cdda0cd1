"""`floe site limits` and `floe config reload`, as people see them."""

from __future__ import annotations

from typing import Any

from node.home import Home
from tests.fakes.api_server import FakeNode, Request
from tests.unit.node.cli.conftest import Floe

MAUI = {
    "name": "maui", "running_max": 100, "pilots_min": 0, "queued_max": 20, "submit_max": 20,
    "submit_s": 30, "look_s": 30,
    "queues": [
        {"name": "main", "time_s_max": 604_800, "cpu_max": 4, "gpu_max": 2,
         "memory_bytes_max": 4_000_000_000, "default": True, "open": True, "words": ""},
        {"name": "dark", "open": True, "words": "no node is up: down"},
    ],
}  # fmt: skip
LOCAL = {"pilots_max": 0, "pilots_min": 0, "slots": 8, "until": "the next start of the node"}


def told(node: FakeNode, path: str = "/v1/admin/limits") -> list[Any]:
    """What the node is asked for."""
    asked: list[Any] = []

    def answer(request: Request) -> dict[str, Any]:
        asked.append(request.json())
        return {"limits": LOCAL, "batch": [MAUI]}

    node.replies[path] = answer
    return asked


def test_limits_of_pilots_and_of_queues_are_shown(floe: Floe, node: FakeNode) -> None:
    asked = told(node)
    shown = floe("site", "limits")
    assert shown.status == 0
    lines = shown.out.splitlines()
    assert next(line for line in lines if line.startswith("maui")).split()[:5] == [
        "maui", "100", "0", "20", "20"
    ]  # fmt: skip
    assert any("main" in line and "7d" in line and "4 GB" in line for line in lines)
    assert "no node is up: down" in shown.out
    assert asked == [{}]
    assert "local" not in shown.out, "there are no pilots on this machine"
    assert "local" in floe("site", "limits", "local").out


def test_limits_of_one_batch_system_are_changed_for_now(floe: Floe, node: FakeNode) -> None:
    asked = told(node)
    shown = floe("site", "limits", "maui", "--pilots", "50", "--queued", "5")
    assert asked == [{"system": "maui", "pilots_max": 50, "queued_max": 5}]
    assert "until the next start of the node" in shown.out
    assert "local" not in shown.out
    floe("site", "limits", "--pilots", "3")
    assert asked[1] == {"system": "local", "pilots_max": 3}
    assert "local" in floe("site", "limits", "--pilots", "0").out


def test_a_batch_system_that_is_not_there_is_no_limit(floe: Floe, node: FakeNode) -> None:
    told(node)
    shown = floe("site", "limits", "muai")
    assert shown.status == 4
    assert "local, maui" in shown.err


def test_a_reload_tells_what_changed_and_what_waits(floe: Floe, node: FakeNode, home: Home) -> None:
    node.replies["/v1/admin/reload"] = {
        "changed": ["site.local: pilots_max"], "later": ["api.listen"]
    }  # fmt: skip
    shown = floe("config", "reload")
    assert shown.out == (
        "changed\n  site.local: pilots_max\nfrom the next start of the node: api.listen\n"
    )
    for words in (), ("--anyway",):
        asked = told(node, "/v1/admin/reload")
        floe("config", "reload", *words)
        assert asked == [{"anyway": bool(words)}]
    home.config.write_text("[site.local]\npilots = 3\n")
    refused = floe("config", "reload")
    assert refused.status == 1
    assert "site.local.pilots" in refused.err
