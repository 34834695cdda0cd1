"""What the nodes of a failed test logged, in its report: their homes are gone afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from bench.meshes import Mesh
from bench.site import Site
from tests.clusters.ground import Camp
from tests.netns.meshes import NetMesh

TAIL_BYTES = 12_000


def add_logs(item: pytest.Item, report: pytest.TestReport) -> None:
    """A section for each node that a fixture of the test gave."""
    if not report.failed or not isinstance(item, pytest.Function):
        return
    for here in {id(each): each for each in _sites(item.funcargs.values())}.values():
        path = here.home / "log" / "node.log"
        report.sections.append((f"the end of {path}", _tail(path)))
    for camp in item.funcargs.values():
        if isinstance(camp, Camp):
            report.sections.append((f"what the camp in {camp.base} says", camp.told()))


def _sites(values: Iterable[object]) -> Iterator[Site]:
    for value in values:
        if isinstance(value, Site):
            yield value
        elif isinstance(value, Mesh | NetMesh):
            yield from value.sites.values()


def _tail(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"({error.strerror})"
    return data[-TAIL_BYTES:].decode("utf-8", "replace")
