"""Nothing is granted whose files nobody reachable holds; once somebody does, the work begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.leading.supplies import AGAIN_S
from tests.unit.node.claims.mesh import Mesh, MeshSite


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path)
    yield mesh
    mesh.close()


def two(mesh: Mesh) -> tuple[MeshSite, MeshSite]:
    leader, other = mesh.site("desy"), mesh.site("nersc")
    mesh.run(3)
    return leader, other


def test_work_whose_files_are_nowhere_is_granted_to_nobody_and_others_is(mesh: Mesh) -> None:
    leader, _other = two(mesh)
    leader.lacks = {1: "no site that is reachable has it"}
    without, whole = leader.submit("without", 8), leader.submit("whole", 8)
    assert (leader.number(without), leader.number(whole)) == (1, 2)
    mesh.until(lambda: leader.settled(whole) == 8, 200)
    assert leader.settled(without) == 0
    assert leader.sharing.supplies.missing(1) == "no site that is reachable has it"
    assert leader.sharing.supplies.missing(2) == ""
    leader.lacks = {}
    mesh.until(lambda: leader.settled(without) == 8, AGAIN_S + 200)
    assert leader.sharing.supplies.missing(1) == ""


def test_files_are_looked_for_now_and_then_and_no_more_once_they_are_there(mesh: Mesh) -> None:
    leader, _other = two(mesh)
    leader.lacks = {1: "nowhere"}
    leader.submit("without", 4)
    mesh.run(3 * AGAIN_S)
    assert 3 <= leader.file_looks <= 4
    leader.lacks = {}
    mesh.run(2 * AGAIN_S)
    looks = leader.file_looks
    mesh.run(3 * AGAIN_S)
    assert leader.file_looks == looks
