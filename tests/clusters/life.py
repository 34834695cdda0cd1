"""Lives of a node above a real batch system: written once, lived on each of them.

A module of a batch system has a fixture `camp` and a class that inherits `Lives`. Some lives take
minutes, as the batch system does: they begin before the first test, and are looked at in the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.clusters.ground import Camp, Ground, Kind
from tests.clusters.place import ClusterError, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "atmospheric"
JOBS, EVENTS = 2, 60  # of the example
DONE_S = 90  # until a dataset of short units is done
LONG_THE_FIRST_TIME = 'test "$FLOE_ATTEMPT" -gt 1 || exec sleep 900'


def kinds(ground: Ground) -> list[Kind]:
    """Of pilots, one for each life, in the order of the tests: none is left of the kinds behind."""
    return [
        Kind("crashed", ground.elsewhere),
        Kind("overdue", ground.overdue),
        Kind("example", {}),
        Kind("cancelled", {}),
        Kind("outage", {}),
        Kind("after", {}),
    ]


@contextmanager
def camp_above(ground: Ground) -> Iterator[Camp]:
    """A node above a batch system, with what takes long under way."""
    made: Camp | None = None
    try:
        made = Camp(ground, kinds(ground))
        made.submit("crashed", "crashed", LONG_THE_FIRST_TIME)
        made.wait_running("crashed")
        job = made.only_job("crashed")
        ground.crash(job, made.listed()[job].host)
        made.submit("overdue", "overdue", LONG_THE_FIRST_TIME)
        made.wait_running("overdue")  # before there are larger pilots, which it fits, too
        yield made
    except SystemExit as error:  # of a command; it would confuse what owns the fixture
        raise ClusterError(str(error)) from None
    finally:
        if made is not None:
            made.close()
        ground.close()


class Lives:
    """What has to hold on every batch system."""

    def test_the_example_comes_out_as_from_a_plain_shell_loop(
        self, camp: Camp, tmp_path: Path
    ) -> None:
        for path in EXAMPLE.iterdir():
            (tmp_path / path.name).write_text(_small(path, camp.disk_mb("example")))
        plain = _plain(tmp_path / "plain")
        camp.site.run("submit", str(tmp_path / "atmospheric.toml"))
        camp.site.run("submit", str(tmp_path / "spectra.toml"))
        camp.site.wait("spectra", 240)
        for name in ("atmospheric", "spectra"):
            camp.site.run("fetch", name, "--to", str(tmp_path / name))
        assert plain.wait(120) == 0
        for job in range(JOBS):
            ours = tmp_path / "atmospheric" / str(job) / "weight" / "weighted.npz"
            assert _arrays(ours) == _arrays(tmp_path / f"plain/in/{job}/weighted.npz")
        merged = tmp_path / "spectra" / "0" / "merge" / "spectra.npz"
        assert _arrays(merged) == _arrays(tmp_path / "plain" / "spectra.npz")

    def test_a_unit_whose_pilot_is_cancelled_runs_again_and_costs_no_retry(
        self, camp: Camp
    ) -> None:
        camp.submit("cancelled", "cancelled", LONG_THE_FIRST_TIME)
        camp.wait_running("cancelled")
        job = camp.only_job("cancelled")
        camp.ground.cancel(job)
        camp.site.wait("cancelled", DONE_S)
        assert ends(camp, "cancelled") == ["infrastructure", "success"]
        wait_until("the end of the pilot", lambda: job not in camp.jobs("cancelled"))
        assert job not in camp.listed()

    def test_while_the_batch_system_is_down_pilots_go_on_and_none_is_lost_or_submitted_again(
        self, camp: Camp
    ) -> None:
        live_through_an_outage(camp, lambda: None)

    def test_a_unit_whose_pilot_is_over_its_time_runs_again(self, camp: Camp) -> None:
        camp.site.wait("overdue", int(camp.ground.overdue_s))
        assert ends(camp, "overdue") == ["infrastructure", "success"]

    def test_a_unit_on_a_worker_that_fails_runs_again(self, camp: Camp) -> None:
        camp.site.wait("crashed", DONE_S)
        assert ends(camp, "crashed") == ["infrastructure", "success"]


def ends(camp: Camp, name: str, job: int = 0) -> list[str]:
    """How the attempts at a unit ended."""
    return [str(attempt["outcome"]) for attempt in camp.attempts(name, job)]


def _small(path: Path, disk_mb: int) -> str:
    """A file of the example: fewer jobs and events, and the Python that has its packages."""
    text = path.read_text() if path.is_file() else ""
    for old, new in (
        ("jobs = 40", f"jobs = {JOBS}"),
        ("events = 1500", f"events = {EVENTS}"),
        ('disk = "500MB"', f'disk = "{disk_mb}MB"'),
        ('run = ["python3"', f'run = ["{sys.executable}"'),
    ):
        text = text.replace(old, new)
    return text


def _plain(folder: Path) -> subprocess.Popen[bytes]:
    """The same by a shell loop."""
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return subprocess.Popen(
        ["sh", str(EXAMPLE / "plain.sh"), str(JOBS), str(folder), str(EVENTS)],
        env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _arrays(path: Path) -> dict[str, bytes]:
    with np.load(path) as file:
        return {name: file[name].tobytes() for name in file.files}


def live_through_an_outage(camp: Camp, meanwhile: Callable[[], None]) -> None:
    """Two pilots run a unit each; one unit ends while the daemons are down, one after."""
    names = ("outage", "after")
    for name in names:
        camp.submit(name, name, f"until test -e {camp.base}/{name}; do sleep 0.2; done")
    for name in names:
        camp.wait_running(name)
    jobs = {camp.only_job(name) for name in names}
    with camp.ground.rig.outage():
        camp.wait_said("no answer about jobs")
        (camp.base / "outage").touch()
        wait_until("a unit that ends", lambda: camp.counts("outage")["settled"] == 1)
        meanwhile()
    (camp.base / "after").touch()
    camp.site.wait("after", DONE_S)
    assert [ends(camp, name) for name in names] == [["success"], ["success"]]
    assert [len(camp.submissions(name)) for name in names] == [1, 1]
    wait_until("the end of these pilots", lambda: not jobs & set(camp.listed()))
    wait_until("the node to know it", lambda: not any(map(camp.jobs, names)))
