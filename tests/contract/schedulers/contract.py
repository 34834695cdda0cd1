"""What every batch system has to do for us: the same tests for all of them, on real ones.

Each is a module with a subclass of `Contract`, so that several are tried side by side. What a
system cannot do at all it says in `Rig.lacks`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from schedulers.base import JobName, JobState, PilotSpec, Refused, SchedulerError
from tests.clusters.rig import Rig
from tests.contract.submissions import Submissions

Overdue = tuple[PilotSpec, list[JobName]]

HOSTILE = [
    "'", '"', "it's", "$(touch {canary})", "`touch {canary}`", "; touch {canary}", "a b  c",
    "%j%a%%", "\\", "\\n", "*", "~", "-x", "--help", "ünï—😀", "#SBATCH", "#$ -x", "$HOME",
    "${{x}}", "a=b,c", "&", "|", "<", ">", "(", "!", "x" * 4000,
]  # fmt: skip


def canary(rig: Rig) -> Path:
    return rig.folder / "canary"


def able(rig: Rig, *what: str) -> None:
    for each in what:
        if each in rig.lacks:
            pytest.skip(f"this batch system lacks {each}")


class Contract:
    """make: the rig of this batch system, for all tests of the class."""

    make: ClassVar[Callable[[], Rig]]

    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls) -> Iterator[Rig]:
        here = cls.make()
        yield here
        here.close()

    @pytest.fixture(scope="class")
    @classmethod
    def ours(cls, rig: Rig) -> Submissions:
        return Submissions(rig)

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def overdue(cls, rig: Rig, ours: Submissions) -> Overdue | None:
        """A job that stays longer than it may: it takes a minute or two until somebody minds."""
        if "walltime" in rig.lacks:
            return None
        spec = ours.spec(settings={"sleep_s": 600}, time_s=rig.time_s)
        return spec, ours.submit(spec)

    @pytest.fixture(autouse=True)
    def _slots_are_free(self, ours: Submissions, overdue: Overdue | None) -> Iterator[None]:
        yield
        ours.tidy(keep=overdue[1] if overdue else ())

    # Submit and list.

    def test_the_batch_system_tells_its_version(self, ours: Submissions) -> None:
        version = ours.scheduler.version_of(ours.rig.run(ours.scheduler.version()))
        assert version.isprintable()
        assert any(each.isdigit() for each in version)

    def test_many_pilots_are_one_submission_and_each_runs_with_a_log_of_its_own(
        self, ours: Submissions
    ) -> None:
        spec = ours.spec(["word"], {"sleep_s": 0}, count=7)
        jobs = ours.submit(spec)
        assert len(set(jobs)) == 7
        ours.wait_gone(jobs)
        assert {ours.output(spec, job) for job in jobs} == {"['word']\n"}
        assert len({ours.scheduler.log_file(spec.log, job) for job in jobs}) == 7

    def test_a_submission_is_found_again_by_its_tag_alone(self, ours: Submissions) -> None:
        spec = ours.spec(settings={"sleep_s": 300}, count=3)
        jobs = ours.submit(spec)
        found = ours.tagged(spec.name)
        assert set(found) == set(jobs)
        assert all(report.state in (JobState.QUEUED, JobState.RUNNING) for report in found.values())
        ours.wait(jobs[:1], JobState.RUNNING)
        assert ours.listing()[jobs[0]].host

    @pytest.mark.parametrize("name", ["somebody", "a|floe-test-00000000", "floe-test-1", "$(id)"])
    def test_foreign_jobs_are_not_listed(self, rig: Rig, ours: Submissions, name: str) -> None:
        able(rig, "foreign")
        before = set(ours.listing())
        rig.foreign(name)
        assert set(ours.listing()) <= before

    def test_an_unknown_queue_is_refused_in_the_systems_own_words(self, ours: Submissions) -> None:
        with pytest.raises(SchedulerError, match=r"\w+ \w+") as caught:
            ours.submit(ours.spec(queue="no-such-queue"))
        assert len(str(caught.value)) < 500

    def test_an_unknown_option_is_refused(self, ours: Submissions) -> None:
        with pytest.raises(SchedulerError, match=r"\w+ \w+"):
            ours.submit(ours.spec(options=["--no-such-option"]))

    def test_a_submission_is_rehearsed_and_not_made(self, ours: Submissions) -> None:
        spec = ours.spec(count=2)
        command = ours.scheduler.rehearse(spec)
        if command is None:
            pytest.skip("this batch system rehearses nothing")
        ours.scheduler.rehearsed(ours.rig.run(command), spec)
        assert not ours.tagged(spec.name)
        wrong = ours.spec(options=["--no-such-option"])
        bad = ours.scheduler.rehearse(wrong)
        assert bad is not None
        with pytest.raises(Refused, match="no-such-option"):
            ours.scheduler.rehearsed(ours.rig.run(bad), wrong)

    # Cancel.

    def test_waiting_and_running_jobs_are_cancelled_by_one_command(
        self, rig: Rig, ours: Submissions
    ) -> None:
        spec = ours.spec(settings={"sleep_s": 600}, count=rig.slots + 2)
        jobs = ours.submit(spec)
        ours.wait(jobs, JobState.RUNNING, some=1)
        ours.wait(jobs, JobState.QUEUED, some=2)
        listed = ours.listing()
        first = next(job for job in jobs if job in listed and listed[job].state is JobState.RUNNING)
        if "log" not in rig.lacks:
            ours.wait_printing(spec, first)
        ours.cancel(jobs)
        ours.wait_gone(jobs)
        reports = ours.ended(jobs, spec.name)
        expected = {JobState.CANCELLED}
        if "ends" in rig.lacks:
            expected = {JobState.CANCELLED, JobState.ENDED}
        elif "cancelled" in rig.lacks:
            expected = {JobState.FAILED, JobState.ENDED}
        if "memory" in rig.lacks:
            reports = {job: report for job, report in reports.items() if not report.denied}
        assert {report.state for report in reports.values()} <= expected
        if not {"sigterm", "log"} & rig.lacks:
            assert "SIGTERM" in ours.output(spec, first)

    def test_cancelling_what_is_gone_or_never_was_is_no_error(self, ours: Submissions) -> None:
        spec = ours.spec()
        jobs = ours.submit(spec)
        ours.wait_gone(jobs)
        for some in (jobs, [ours.rig.unknown], [*jobs, ours.rig.unknown]):
            ours.cancel(some)

    # Why does it wait?

    def test_a_held_job_is_told_from_a_waiting_one_and_explained(
        self, rig: Rig, ours: Submissions
    ) -> None:
        able(rig, "held")
        spec = ours.spec(**rig.held)
        jobs = ours.submit(spec)
        ours.wait(jobs, JobState.HELD)
        words = ours.scheduler.described(rig.run(ours.scheduler.describe(jobs[0])))
        assert "held" in words.lower() or "hold" in words.lower()
        assert words.isprintable()
        ours.cancel(jobs)
        ours.wait_gone(jobs)

    def test_an_impossible_request_is_refused_or_explained_and_never_ends_well(
        self, rig: Rig, ours: Submissions
    ) -> None:
        spec = ours.spec(**rig.impossible)
        jobs, refused = ours.attempt(spec)
        if refused:
            assert len(refused.split()) > 2
            return
        assert ours.listing()[jobs[0]].state in (JobState.QUEUED, JobState.HELD)
        assert ours.scheduler.described(rig.run(ours.scheduler.describe(jobs[0])))
        ours.cancel(jobs)

    def test_a_host_that_is_to_be_avoided_runs_nothing(self, rig: Rig, ours: Submissions) -> None:
        able(rig, "avoid")
        jobs = ours.submit(ours.spec(settings={"sleep_s": 300}))
        ours.wait(jobs, JobState.RUNNING)
        host = ours.listing()[jobs[0]].host
        avoiding, refused = ours.attempt(
            ours.spec(settings={"sleep_s": 300}, avoid=[host], count=2)
        )
        later = ours.submit(ours.spec(settings={"sleep_s": 300}))
        ours.wait(later, JobState.RUNNING)  # there is room, and time to use it
        listed = ours.listing()
        assert set(avoiding) <= set(listed)
        assert avoiding or "not available" in refused  # where it is the only host
        assert host not in {listed[job].host for job in avoiding}

    # After the end.

    @pytest.mark.parametrize(
        ("settings", "state", "status"),
        [
            ({"exit": 0}, JobState.DONE, 0),
            ({"exit": 3}, JobState.FAILED, 3),
            ({"signal": signal.SIGKILL}, JobState.FAILED, -signal.SIGKILL),
        ],
    )
    def test_how_a_job_ended_is_looked_up(
        self, rig: Rig, ours: Submissions, settings: dict[str, int], state: JobState, status: int
    ) -> None:
        spec = ours.spec(settings=settings, count=2)
        jobs = ours.submit(spec)
        ours.wait_gone(jobs)
        for report in ours.ended(jobs, spec.name).values():
            if report.denied:
                assert {"ends", "memory"} <= rig.lacks
            elif "ends" in rig.lacks:
                assert report.state is JobState.ENDED
            else:
                assert (report.state, report.exit) == (state, status)

    def test_jobs_that_ended_are_found_by_their_tag_alone(
        self, rig: Rig, ours: Submissions
    ) -> None:
        able(rig, "ends")
        spec, other = ours.spec(count=2), ours.spec()
        jobs = [*ours.submit(spec), *ours.submit(other)]
        ours.wait_gone(jobs)
        ours.ended(jobs[:2], spec.name)
        assert set(ours.look_up_tag(spec.name)) == set(jobs[:2])

    def test_a_job_that_nobody_knows_is_not_over(self, rig: Rig, ours: Submissions) -> None:
        found = ours.look_up([ours.rig.unknown], "floe-test-00000000")
        assert not any(report.state.over for report in found.values())

    def test_known_and_unknown_jobs_are_looked_up_together(
        self, rig: Rig, ours: Submissions
    ) -> None:
        spec = ours.spec()
        jobs = ours.submit(spec)
        ours.wait_gone(jobs)
        found = ours.ended(jobs, spec.name)
        found = ours.look_up([*jobs, ours.rig.unknown], spec.name)
        over = {job for job, report in found.items() if report.state.over}
        assert over == set(jobs) or ("memory" in rig.lacks and not over)

    # What people and datasets write.

    def test_hostile_words_reach_the_pilot_and_no_shell(self, rig: Rig, ours: Submissions) -> None:
        words = [word.format(canary=canary(rig)) for word in HOSTILE]
        spec = ours.spec(words)
        (job,) = ours.submit(spec)
        ours.wait_gone([job])
        assert ours.output(spec, job) == ascii(words) + "\n"
        assert not canary(rig).exists()

    @pytest.mark.parametrize("word", ["a\nb", "a\0b", "x" * 100_000, "\x1b[1m", "a\u2028b"])
    def test_words_that_are_no_words_are_refused_before_anything_is_run(
        self, ours: Submissions, word: str
    ) -> None:
        with pytest.raises(SchedulerError, match=r"\w+"):
            ours.scheduler.submit(ours.spec([word]))

    @pytest.mark.parametrize("field", ["queue", "account"])
    @pytest.mark.parametrize(
        "value", ["$(touch {})", "; touch {}", "' touch {}", "-x {}", "ü\u202e"]
    )
    def test_hostile_settings_reach_no_shell(
        self, rig: Rig, ours: Submissions, field: str, value: str
    ) -> None:
        spec = ours.spec(**{field: value.format(canary(rig))})
        jobs, refused = ours.attempt(spec)
        assert refused.isprintable()
        assert set(ours.tagged(spec.name)) <= set(jobs)
        if jobs:
            ours.cancel(jobs)
        assert not canary(rig).exists()

    def test_a_log_with_a_hostile_name_is_found(self, rig: Rig, ours: Submissions) -> None:
        able(rig, "paths")
        spec = ours.spec(["x"], log=str(rig.folder / "it's $(id) %j; 100 %"), count=2)
        jobs = ours.submit(spec)
        ours.wait_gone(jobs)
        assert {ours.output(spec, job) for job in jobs} == {"['x']\n"}

    # Limits, outages, the end of one's time.

    def test_queues_tell_what_they_allow(self, rig: Rig, ours: Submissions) -> None:
        able(rig, "limits")
        command = ours.scheduler.limits()
        assert command is not None
        queues = ours.scheduler.limits_of(rig.run(command))
        assert any(queue.open for queue in queues)
        assert all(queue.name.isprintable() for queue in queues)

    def test_nothing_is_known_while_the_daemons_are_down_and_nothing_is_lost(
        self, rig: Rig, ours: Submissions
    ) -> None:
        able(rig, "outage")
        spec = ours.spec(settings={"sleep_s": 300})
        jobs = ours.submit(spec)
        ours.wait(jobs, JobState.RUNNING)
        with rig.outage():
            with pytest.raises(SchedulerError, match=r"\w+ \w+"):
                ours.listing()
            with pytest.raises(SchedulerError):
                ours.submit(ours.spec())
            found = ours.look_up(jobs, spec.name)
            assert not any(report.state.over for report in found.values())
        ours.wait(jobs, JobState.RUNNING)
        ours.cancel(jobs)

    def test_a_job_over_its_time_is_told_from_a_failed_one(
        self, rig: Rig, ours: Submissions, overdue: Overdue | None
    ) -> None:
        able(rig, "walltime")
        assert overdue is not None
        spec, jobs = overdue
        ours.wait_gone(jobs, rig.overdue_s)
        report = ours.ended(jobs, spec.name)[jobs[0]]
        if not ("memory" in rig.lacks and report.denied):
            assert report.state is (JobState.ENDED if "ends" in rig.lacks else JobState.TIMED_OUT)
        if not {"sigterm", "log"} & rig.lacks:
            assert "SIGTERM" in ours.output(spec, jobs[0])
