"""docs/site-torque.md, followed word by word with Torque's commands in front of a real Slurm."""

from __future__ import annotations

from pathlib import Path

from tests.clusters.slurm_pbs.rig import SlurmPbsRig
from tests.clusters.walk import walk


def test_the_page_about_torque_can_be_walked(tmp_path: Path) -> None:
    rig = SlurmPbsRig("page")
    try:
        said = dict(walk("site-torque.md", rig.place, tmp_path))
    finally:
        rig.close()
    assert "Queue:" in said["qstat -Q -f"]
    assert said["floe logs hello/3/main"] == "this is job 3\n"
    assert "Job_Name = floe-lyon-" in said["qstat -f"]
