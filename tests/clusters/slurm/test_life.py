"""A node above real Slurm with accounting."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.ground import Camp
from tests.clusters.hostile import Hostile
from tests.clusters.life import Lives, camp_above
from tests.clusters.slurm.ground import SlurmGround


@pytest.fixture(scope="module")
def camp() -> Iterator[Camp]:
    with camp_above(SlurmGround()) as here:
        yield here


class TestSlurm(Lives, Hostile):
    """All lives."""

    def test_all_this_was_done_by_a_plain_user(self, camp: Camp) -> None:
        name = camp.ground.account.name
        uid = pwd.getpwnam(name).pw_uid if name else os.geteuid()
        if not uid:
            pytest.skip("no user but root can run Icefloe from here")
        logs = list((camp.site.home / "pilots").glob("*/*/log*"))  # opened by Slurm, as the user
        assert logs
        seen = [Path(f"/proc/{camp.site.pid}"), camp.site.home, *logs]
        assert {path.stat().st_uid for path in seen} == {uid}
