"""What an admin of a site on Grid Engine is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import pytest

from schedulers.sge import COMMANDS
from tests.clusters.account import plain_account
from tests.clusters.faces import Desk, Faces, desk_above
from tests.clusters.sge.rig import SgeRig


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with desk_above(lambda: SgeRig("faces", account=plain_account()), "sge", COMMANDS) as made:
        yield made


class TestFaces(Faces):
    wrong: ClassVar[Sequence[tuple[Mapping[str, object], str]]] = [
        ({"queue": "mian"}, 'unknown queue "mian"'),
        ({"account": "nope"}, 'project "nope" does not exist'),
    ]
    tells_queues = False
