"""docs/site-htcondor.md, followed word by word on a pool made for it."""

from __future__ import annotations

from pathlib import Path

from tests.clusters.condor.pool import lacking, pool
from tests.clusters.rig import need
from tests.clusters.walk import walk


def test_the_page_about_htcondor_can_be_walked(tmp_path: Path) -> None:
    need("HTCondor", lacking())
    with pool("page") as here:
        said = dict(walk("site-htcondor.md", here.place, tmp_path))
    (submits,) = (text for text in said if text.startswith("condor_ping"))
    assert "Authorized:                  TRUE" in said[submits]
    assert "its pilot left; its files are removed" in said["floe site test"]
    assert said["floe logs hello/3/main"] == "this is job 3\n"
    assert "(Icefloe pilot)" in said["condor_q -nobatch"]
