"""The pilot's file: the same bytes from the same source, and it starts on the oldest Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from node import pilotzip

OLDEST = Path.home() / ".pyenv/versions/3.6.15/bin/python"


def test_the_same_source_gives_the_same_bytes() -> None:
    modules = pilotzip.sources()
    backwards = dict(reversed(list(modules.items())))
    assert pilotzip.build(modules) == pilotzip.build(backwards)


def test_time_and_place_do_not_show_in_the_bytes(tmp_path: Path) -> None:
    first = pilotzip.write(tmp_path / "one.pyz").read_bytes()
    os.utime(tmp_path / "one.pyz", (0, 0))
    assert pilotzip.write(tmp_path / "two.pyz").read_bytes() == first


def test_another_source_gives_other_bytes() -> None:
    changed = {**pilotzip.sources(), "pilot/loop.py": b"pass\n"}
    assert pilotzip.build(changed) != pilotzip.build()


@pytest.mark.parametrize("python", [Path(sys.executable), OLDEST])
def test_the_file_starts(tmp_path: Path, python: Path) -> None:
    if not python.exists():
        pytest.skip("no Python 3.6 here")
    path = pilotzip.write(tmp_path / "pilot.pyz")
    done = subprocess.run([python, path], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "usage: pilot SETTINGS.json" in done.stderr
