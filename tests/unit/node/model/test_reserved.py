"""Keys that a later release will take: their type is checked, then they are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from node.model.description import DATASET
from node.model.kinds import Braced, Either, Kind, ListOf, MapOf, Reserved, Table
from tests.unit.node.model.drafts import problems, small, with_module, with_task

GROWTH = {"times": 2, "max": "16GB"}
TIMES = {"times": 2, "max": "4h"}

# (description, place, the name that is refused)
RESERVED: list[tuple[dict[str, Any], str, str]] = [
    (small(max_running=500), "max_running", "max_running"),
    (small(notify=["failed:mail:a@b.c"]), "notify", "notify"),
    (small(credentials={"osdf:///wipac": "storage.read:/data"}), "credentials", "credentials"),
    (small(env={"image": "a.sif"}), "env.image", "image"),
    (small(needs={"cpu": "{job}"}), "needs.cpu", "an expression in needs"),
    (small(needs={"memory": "{job}GB"}), "needs.memory", "an expression in needs"),
    (small(needs={"gpu_memory": "8GB"}), "needs.gpu_memory", "gpu_memory"),
    (small(needs={"gpu_model": ["A100*"]}), "needs.gpu_model", "gpu_model"),
    (small(needs={"gpu_capability": ">=6.1"}), "needs.gpu_capability", "gpu_capability"),
    (small(needs={"os": ["el9"]}), "needs.os", "os"),
    (small(needs={"arch": ["x86_64"]}), "needs.arch", "arch"),
    (small(needs={"custom": {"license": 1}}), "needs.custom", "custom"),
    (small(retry={"wait": "0s"}), "retry.wait", "wait"),
    (small(retry={"memory": GROWTH}), "retry.memory", "memory"),
    (small(retry={"time": TIMES}), "retry.time", "time"),
    (with_task(max_running=5), "task.sim.max_running", "max_running"),
    (with_task(credentials={"a": "b"}), "task.sim.credentials", "credentials"),
    (with_task(retry={"wait": "5m"}), "task.sim.retry.wait", "wait"),
    (with_task(needs=[{"gpu": 1}, {"cpu": 8}]), "task.sim.needs", "a list of alternative needs"),
    (with_task(after=["other/sim:7"]), "task.sim.after", '":7" in after'),
    (with_task(after=["other/sim:0-9"]), "task.sim.after", '":0-9" in after'),
    (
        with_task(after=[{"task": "gen", "when": "ended", "min": 0.95}]),
        "task.sim.after",
        "a table in after",
    ),
    (
        with_task(inputs={"a": {"from": "https://h/a", "unpack": True}}),
        "task.sim.inputs.a.unpack",
        "unpack",
    ),
    (
        with_task(checkpoint={"files": ["ck*"], "every": "30m", "exit": 85}),
        "task.sim.checkpoint",
        "checkpoint",
    ),
    (with_task(batch={"htcondor": {"requirements": "HasX"}}), "task.sim.batch", "batch"),
    (with_module(exit={"hold": [3]}), "task.sim.module[0].exit.hold", "hold"),
    (with_module(time="1h"), "task.sim.module[0].time", "time"),
    (with_module(env={"image": "a"}), "task.sim.module[0].env.image", "image"),
]
for _scheme in ("osdf", "pelican", "gsiftp", "root", "s3"):
    RESERVED.append(
        (with_task(inputs={"a": f"{_scheme}://h/x"}), "task.sim.inputs.a", f"{_scheme}:")
    )
for _scheme in ("osdf", "pelican", "gsiftp", "root", "s3", "http", "https"):
    _to = {"to": [f"{_scheme}://h/x"]}
    RESERVED.append((with_task(outputs={"a": _to}), "task.sim.outputs.a.to[0]", f"{_scheme}:"))

# (description, place): the type is checked first
WRONG_TYPE: list[tuple[dict[str, Any], str]] = [
    (small(max_running="many"), "max_running"),
    (small(notify="x"), "notify"),
    (small(credentials={"a": 1}), "credentials.a"),
    (small(env={"image": 5}), "env.image"),
    (small(needs={"gpu_memory": 8}), "needs.gpu_memory"),
    (small(needs={"gpu_model": "A100"}), "needs.gpu_model"),
    (small(needs={"gpu_capability": 6.1}), "needs.gpu_capability"),
    (small(needs={"os": "el9"}), "needs.os"),
    (small(needs={"arch": [5]}), "needs.arch[0]"),
    (small(needs={"custom": {"license": "one"}}), "needs.custom.license"),
    (small(retry={"wait": "soon"}), "retry.wait"),
    (small(retry={"memory": {"times": 2, "max": "4h"}}), "retry.memory.max"),
    (small(retry={"time": {"max": "16GB"}}), "retry.time.max"),
    (with_task(needs=[{"cpu": 0}]), "task.sim.needs[0].cpu"),
    (with_task(after=[{"when": "ended"}]), "task.sim.after.task"),
    (with_task(inputs={"a": {"from": "https://h/a", "unpack": 1}}), "task.sim.inputs.a.unpack"),
    (with_task(checkpoint={"every": "often"}), "task.sim.checkpoint.every"),
    (with_task(batch={"htcondor": "x"}), "task.sim.batch.htcondor"),
    (with_module(exit={"hold": ["x"]}), "task.sim.module[0].exit.hold[0]"),
    (with_module(time=3600), "task.sim.module[0].time"),
]


@pytest.mark.parametrize(("table", "where", "name"), RESERVED)
def test_a_reserved_key_is_refused_by_name(table: dict[str, Any], where: str, name: str) -> None:
    found = problems(table)
    assert list(found) == [where]
    assert f"{name} is not yet supported" in found[where]


@pytest.mark.parametrize(("table", "where"), WRONG_TYPE)
def test_the_type_of_a_reserved_key_is_checked_first(table: dict[str, Any], where: str) -> None:
    found = problems(table)
    assert list(found) == [where]
    assert "not yet supported" not in found[where]


def reserved_keys(kind: Kind, place: str = "") -> set[str]:
    """Places of every reserved key below a kind."""
    if isinstance(kind, Table):
        found = set()
        for key in kind.keys:
            here = f"{place}.{key.name}".lstrip(".")
            found |= {here} if key.reserved else reserved_keys(key.kind, here)
        return found
    if isinstance(kind, ListOf):
        return reserved_keys(kind.item, place)
    if isinstance(kind, MapOf):
        return reserved_keys(kind.value, place)
    if isinstance(kind, Braced | Reserved):
        return reserved_keys(kind.kind, place) if isinstance(kind, Braced) else set()
    if isinstance(kind, Either):
        return set().union(*(reserved_keys(inner, place) for _, inner in kind.kinds))
    return set()


def test_every_reserved_key_is_tried_here() -> None:
    tried = {name for _, _, name in RESERVED}
    missing = {place for place in reserved_keys(DATASET) if place.split(".")[-1] not in tried}
    assert missing == set()
    assert len(reserved_keys(DATASET)) > 15
