"""What an admin of a site on HTCondor is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import pytest

from schedulers.htcondor import COMMANDS
from tests.clusters.condor.rig import CondorRig
from tests.clusters.faces import Desk, Faces, desk_above


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with desk_above(lambda: CondorRig("faces"), "htcondor", COMMANDS) as made:
        yield made


class TestFaces(Faces):
    wrong: ClassVar[Sequence[tuple[Mapping[str, object], str]]] = [
        ({"lines": ["request_memory = 2 gigs"]}, "RequestMemory = 2 gigs"),
        ({"account": "a b"}, "is no such name"),
    ]
