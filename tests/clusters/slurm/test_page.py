"""docs/site-slurm.md, followed word by word on a cluster made for it."""

from __future__ import annotations

from tests.clusters.account import plain_account
from tests.clusters.rig import need
from tests.clusters.slurm.cluster import cluster, lacking
from tests.clusters.walk import walk


def test_the_page_about_slurm_can_be_walked() -> None:
    need("Slurm", lacking())
    account = plain_account()
    with account.folder("page") as home, cluster("page", nodes=2) as here:
        said = dict(walk("site-slurm.md", here.place, home, account))
    assert "main*" in said["sinfo -s"]
    assert said["floe logs hello/3/main"] == "this is job 3\n"
    assert "floe-mau" in said["squeue --me --array"]
    assert "Slurm" in said["floe site show"]
