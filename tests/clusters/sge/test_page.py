"""docs/site-sge.md, followed word by word on a cluster made for it."""

from __future__ import annotations

from tests.clusters.account import plain_account
from tests.clusters.rig import need
from tests.clusters.sge.cluster import cluster, lacking
from tests.clusters.walk import walk


def test_the_page_about_grid_engine_can_be_walked() -> None:
    need("Grid Engine", lacking())
    account = plain_account()
    with account.folder("page") as home, cluster("page") as here:
        said = dict(walk("site-sge.md", here.place, home, account))
    assert "main.q" in said["qstat -g c"]
    assert said["floe logs hello/3/main"] == "this is job 3\n"
    assert "Full jobname:     floe-farm-" in said["qstat -r"]
