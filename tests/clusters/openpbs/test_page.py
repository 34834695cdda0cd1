"""docs/site-pbs.md, followed word by word on programs that imitate OpenPBS and run its jobs."""

from __future__ import annotations

from pathlib import Path

from tests.clusters.walk import walk
from tests.fakes import openpbs_rig as openpbs


def test_the_page_about_pbs_can_be_walked(tmp_path: Path) -> None:
    rig = openpbs.release()
    try:
        said = dict(walk("site-pbs.md", rig.place, tmp_path))
    finally:
        rig.close()
    assert "pbs_version" in said["qstat -B -f"]
    assert said["floe logs hello/3/main"] == "this is job 3\n"
    assert "Job_Name = floe-ulb-" in said["qstat -f -t"]
