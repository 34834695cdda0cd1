"""What an admin of a site on Slurm is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import pytest

from schedulers.slurm import COMMANDS
from tests.clusters.account import plain_account
from tests.clusters.faces import Desk, Faces, desk_above
from tests.clusters.slurm.config import Shape
from tests.clusters.slurm.rig import SlurmRig


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with desk_above(
        lambda: SlurmRig("faces", Shape(), account=plain_account()), "slurm", COMMANDS
    ) as made:
        yield made


class TestFaces(Faces):
    wrong: ClassVar[Sequence[tuple[Mapping[str, object], str]]] = [
        ({"queue": "mian"}, "invalid partition specified: mian"),
        ({"options": ["--nonsense"]}, "unrecognized option"),
    ]
