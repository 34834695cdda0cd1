"""What only OpenPBS does, as seen on a real one: the plugin against programs that imitate it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from schedulers.base import Command, Completed, JobName, JobState, OtherForm, PilotSpec, Report
from schedulers.pbs import Pbs
from tests.fakes.openpbs import FOLDER, OWNER, configure, install
from tests.fakes.openpbs_server import Settings

TAG = "floe-test-k3x9w2q1"
WAIT_S = 30.0


class Site:
    """A server, and a plugin that speaks to it through its programs."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        state = folder / "pbs"
        state.mkdir()
        programs = install(state, Settings(**settings))  # type: ignore[arg-type]
        path = f"{programs}:{os.environ['PATH']}"
        self.environ = {"PATH": path, "HOME": str(folder), FOLDER: str(state), "LC_ALL": "C"}
        self.pbs = Pbs(python=sys.executable)

    def configure(self, **settings: object) -> None:
        configure(self.folder / "pbs", Settings(**settings))  # type: ignore[arg-type]

    def run(self, argv: Sequence[str], stdin: bytes = b"", **environ: str) -> Completed:
        done = subprocess.run(
            argv, input=stdin, env={**self.environ, **environ}, cwd=self.folder,
            capture_output=True, timeout=WAIT_S, check=False,
        )  # fmt: skip
        return Completed(done.returncode, done.stdout, done.stderr)

    def ask(self, command: Command) -> Completed:
        return self.run(command.argv, command.stdin)

    def submit(self, code: str, count: int = 1) -> list[JobName]:
        spec = PilotSpec(TAG, ["-c", code], str(self.folder / "log"), count=count, time_s=60)
        return self.pbs.submitted(self.ask(self.pbs.submit(spec)), spec)

    def foreign(self, *words: str) -> None:
        """A job of somebody else, which never starts."""
        done = self.run(["qsub", "-h", *words], b"true\n", **{OWNER: "bob"})
        assert done.status == 0, done

    def listing(self) -> dict[JobName, Report]:
        return self.pbs.listed(self.ask(self.pbs.listing()))

    def looked_up(self, jobs: Sequence[JobName], number: int = 0) -> dict[JobName, Report]:
        command = self.pbs.lookup(jobs, [TAG])[number]
        return self.pbs.looked_up(number, self.ask(command), jobs)

    def cancel(self, jobs: Sequence[JobName]) -> None:
        self.pbs.cancelled(self.ask(self.pbs.cancel(jobs)))

    def wait_gone(self, jobs: Sequence[JobName]) -> None:
        wait_until(lambda: not set(jobs) & set(self.listing()))


def wait_until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not check():
        assert time.monotonic() < end
        time.sleep(0.05)  # another process has to get there


@pytest.fixture(params=["release", "master"])
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_names_that_break_the_json_hide_none_of_our_jobs(tmp_path: Path) -> None:
    site = Site(tmp_path, cpus=0)
    for name in ("nan", "inf", ".5", "1.", "+5", "123", "1e5"):
        site.foreign("-N", name)
    jobs = site.submit("pass")
    assert set(site.listing()) == set(jobs)


def test_variables_that_are_no_text_or_empty_hide_none_of_our_jobs(tmp_path: Path) -> None:
    site = Site(tmp_path, cpus=0)
    site.foreign("-v", "A=,B=ü,C=\\d,D=\t")
    jobs = site.submit("pass", count=2)
    assert set(site.listing()) == set(jobs)


def test_what_is_broken_beyond_that_is_read_as_text(tmp_path: Path, flavour: str) -> None:
    site = Site(tmp_path, flavour=flavour, cpus=0)
    site.foreign("-v", f"A={'x' * 200},B=" + "\nJob Id: 0.pbshost\n\tJob_Name = evil")
    jobs = site.submit("pass", count=2)
    broken = site.ask(site.pbs.listing()).out.replace(b'"queue"', b'"que"ue"')
    with pytest.raises(OtherForm) as caught:
        site.pbs.listed(Completed(0, broken, b""))
    assert site.pbs.listed(site.ask(caught.value.instead)) == site.listing()
    assert set(site.listing()) == set(jobs)


def test_a_deleted_subjob_is_not_taken_for_one_that_ended_well(
    tmp_path: Path, flavour: str
) -> None:
    site = Site(tmp_path, flavour=flavour, cpus=2)
    jobs = site.submit("import time; time.sleep(1)", count=3)
    waiting = [job for job, report in site.listing().items() if report.state is JobState.QUEUED]
    assert len(waiting) == 1
    site.cancel(waiting)
    assert site.looked_up(waiting)[waiting[0]].state is JobState.CANCELLED
    site.wait_gone(jobs)
    found = site.looked_up(jobs)
    assert sorted(each.state.value for each in found.values()) == ["cancelled", "done", "done"]


def test_a_job_that_ignores_a_cancel_runs_until_it_is_killed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); "
    jobs = site.submit(code + "time.sleep(60)")
    wait_until(lambda: bool(list((tmp_path / "pbs").glob("out-*"))))
    wait_until(lambda: (tmp_path / "pbs/out-0").stat().st_size > 0)
    site.cancel(jobs)
    assert site.listing()[jobs[0]].state is JobState.RUNNING
    site.cancel(jobs)  # again: it is a request
    site.wait_gone(jobs)
    assert site.looked_up(jobs)[jobs[0]].state is JobState.CANCELLED


def test_jobs_are_looked_up_at_once_whichever_client_it_is(tmp_path: Path, flavour: str) -> None:
    site = Site(tmp_path, flavour=flavour)
    ones, array = site.submit("raise SystemExit(3)"), site.submit("pass", count=2)
    jobs = [*ones, *array, JobName("77.pbshost")]
    site.wait_gone(jobs)
    found = site.looked_up(jobs)
    assert [found[job].state.value for job in jobs] == ["failed", "done", "done", "unknown"]
    assert [found[job].denied for job in jobs] == [False, False, False, True]
    assert found[jobs[0]].exit == 3
    everything = site.pbs.looked_up(0, site.ask(site.pbs.lookup([], [TAG])[0]), [])
    assert everything == {job: found[job] for job in jobs[:3]}


def test_without_a_history_nobody_says_that_a_job_has_ended(tmp_path: Path) -> None:
    site = Site(tmp_path, history=False)
    jobs = site.submit("raise SystemExit(3)")
    site.wait_gone(jobs)
    report = site.looked_up(jobs, 1)[jobs[0]]
    assert (report.state, report.denied) == (JobState.UNKNOWN, True)


def test_a_server_that_is_down_tells_nothing_though_its_json_is_whole(tmp_path: Path) -> None:
    site = Site(tmp_path)
    jobs = site.submit("import time; time.sleep(60)")
    site.configure(down=True)
    done = site.ask(site.pbs.listing())
    assert (done.status, b'"pbs_server"' in done.out) == (255, True)
    for call in (site.listing, lambda: site.looked_up(jobs), lambda: site.cancel(jobs)):
        with pytest.raises(Exception, match="cannot connect"):
            call()
    site.configure()
    assert set(site.listing()) == set(jobs)
    site.cancel(jobs)
    site.wait_gone(jobs)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"queue": "nosuch"}, "Unknown queue"),
        ({"extra": {"nosuch": "1"}}, "Unknown resource"),
        ({"queue": "short", "time_s": 3600}, "exceeds|violates"),
        ({"options": ["-Y"]}, "usage"),
        ({"lines": ["#PBS\r"]}, "cannot be printed"),
    ],
)
def test_a_refused_submission_is_quoted_and_makes_no_job(
    tmp_path: Path, more: dict[str, object], words: str
) -> None:
    site = Site(tmp_path)
    spec = PilotSpec(TAG, ["-c", "pass"], "/dev/null", **more)  # type: ignore[arg-type]
    with pytest.raises(Exception, match=words):
        site.pbs.submitted(site.ask(site.pbs.submit(spec)), spec)
    assert site.listing() == {}


def test_a_log_that_cannot_be_written_does_not_make_a_job_fail(tmp_path: Path) -> None:
    site = Site(tmp_path)
    spec = PilotSpec(TAG, ["-c", "pass"], "/nonexistent/log")
    jobs = site.pbs.submitted(site.ask(site.pbs.submit(spec)), spec)
    site.wait_gone(jobs)
    assert site.looked_up(jobs)[jobs[0]].state is JobState.DONE


def test_held_jobs_are_told_apart_and_released(tmp_path: Path) -> None:
    site = Site(tmp_path, cpus=0)
    [job] = site.submit("pass")
    assert site.run(["qhold", job]).status == 0
    report = site.listing()[job]
    assert (report.state, report.words) == (JobState.HELD, "held by its owner")
    assert site.run(["qrls", job]).status == 0
    assert site.listing()[job].state is JobState.QUEUED
    assert site.pbs.described(site.ask(site.pbs.describe(job))).startswith("Can Never Run")
