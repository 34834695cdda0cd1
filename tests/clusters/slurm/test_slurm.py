"""What only Slurm does, on two real clusters side by side: one with accounting, one without.

Both forget a job soon after its end. Where we are root, the second one belongs to another user.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from schedulers.base import JobName, JobState, PilotSpec, Refused
from schedulers.slurm import Slurm
from tests.clusters.place import wait_until
from tests.clusters.slurm.config import Shape
from tests.clusters.slurm.rig import SlurmRig
from tests.contract.submissions import Submissions

FORGOTTEN_S = 150  # the controller looks for jobs to forget once a minute
MORE = """\
AccountingStorageEnforce=associations,limits
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
"""
Done = tuple[PilotSpec, list[JobName]]


@pytest.fixture(scope="module")
def recorded() -> Iterator[SlurmRig]:
    """Two nodes, accounting that is enforced, and a partition whose jobs push others out."""
    shape = Shape(nodes=2, cpus=2, accounting=True, min_job_age_s=2, more=MORE)
    rig = SlurmRig("gamma", shape)
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def bare() -> Iterator[SlurmRig]:
    """Without accounting, of a plain user."""
    rig = SlurmRig("delta", Shape(min_job_age_s=2), "nobody" if os.geteuid() == 0 else None)
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def ours(recorded: SlurmRig) -> Submissions:
    return Submissions(recorded)


@pytest.fixture(scope="module")
def theirs(bare: SlurmRig) -> Submissions:
    return Submissions(bare)


@pytest.fixture(scope="module", autouse=True)
def ended(ours: Submissions, theirs: Submissions) -> tuple[Done, Done]:
    """A job that fails on each, before all else: to be forgotten soon."""
    here, there = (each.spec(settings={"exit": 3}) for each in (ours, theirs))
    mine, other = ours.submit(here), theirs.submit(there)
    ours.wait_gone(mine)
    theirs.wait_gone(other)
    return (here, mine), (there, other)


@pytest.fixture(autouse=True)
def _slots_are_free(ours: Submissions, theirs: Submissions) -> Iterator[None]:
    yield
    ours.tidy()
    theirs.tidy()


def test_clusters_side_by_side_see_their_own_jobs_alone(
    ours: Submissions, theirs: Submissions
) -> None:
    here, there = (each.spec(settings={"sleep_s": 300}) for each in (ours, theirs))
    jobs = ours.submit(here), theirs.submit(there)
    for each, spec, job in zip((ours, theirs), (here, there), jobs, strict=True):
        each.wait(job, JobState.RUNNING)
        listed = each.listing()
        assert {report.tag for report in listed.values()} == {spec.name}
        assert {report.host.rstrip("12") for report in listed.values()} <= {"gamma", "delta"}
    assert ours.listing()[jobs[0][0]].host.startswith("gamma")
    assert theirs.listing()[jobs[1][0]].host.startswith("delta")


def test_a_job_whose_node_went_down_is_told_from_a_failed_one(
    recorded: SlurmRig, ours: Submissions
) -> None:
    spec = ours.spec(settings={"sleep_s": 300}, options=["--nodelist=gamma2"])
    jobs = ours.submit(spec)
    ours.wait(jobs, JobState.RUNNING)
    recorded.cluster.control("update", "nodename=gamma2", "state=down", "reason=test")
    ours.wait_gone(jobs)
    report = ours.ended(jobs, spec.name)[jobs[0]]
    # It may be back already: its daemon is alive, and says so.
    resume = ("scontrol", "update", "nodename=gamma2", "state=resume")
    recorded.place.run(*resume, check=False)
    assert (report.state, report.host) == (JobState.NODE_FAILED, "gamma2")


def test_a_job_that_made_room_for_another_one_is_told_from_a_cancelled_one(
    ours: Submissions,
) -> None:
    spec = ours.spec(settings={"sleep_s": 300}, cpu=2, count=2)
    jobs = ours.submit(spec)
    ours.wait(jobs, JobState.RUNNING)
    urgent = ours.spec(settings={"sleep_s": 300}, cpu=2, queue="urgent")
    ours.submit(urgent)
    wait_until("room", lambda: len(ours.tagged(spec.name)) < 2, 60)
    (pushed,) = set(jobs) - set(ours.tagged(spec.name))
    assert ours.ended([pushed], spec.name)[pushed].state is JobState.PREEMPTED


def test_a_row_that_somebody_writes_into_a_name_is_no_job(
    recorded: SlurmRig, ours: Submissions
) -> None:
    forged = "x\nfloe|4711|RUNNING|gamma1|None|floe-test-00000000\n"
    recorded.place.run("sbatch", "--hold", f"--job-name={forged}", "--wrap=true")
    assert JobName("4711") in Slurm(mark="floe").listed(
        recorded.run(Slurm(mark="floe").listing())
    ), "it could be forged by somebody who knew the mark"
    assert JobName("4711") not in ours.listing()


def test_more_tasks_than_an_array_may_have_are_refused(ours: Submissions) -> None:
    with pytest.raises(Refused, match="array") as caught:
        ours.submit(ours.spec(count=2000))
    assert caught.value.fewer
    assert ours.listing() == {}


def test_a_full_quota_passes_with_fewer_jobs(recorded: SlurmRig, ours: Submissions) -> None:
    there = recorded.place.run("squeue", "--noheader", "--array", "--format=%i").stdout.split()
    most = len(there) + 2  # what other tests have left counts, too
    who = ("modify", "user", recorded.cluster.user, "set")
    recorded.place.run("sacctmgr", "--immediate", *who, f"MaxSubmitJobs={most}")
    try:
        with pytest.raises(Refused, match="AssocMaxSubmitJobLimit") as caught:
            ours.submit(ours.spec(count=50, settings={"sleep_s": 300}))
        assert caught.value.fewer
        fewer = ours.spec(count=2, settings={"sleep_s": 300})
        wait_until("those that are completing", lambda: len(ours.attempt(fewer)[0]) == 2)
    finally:
        recorded.place.run("sacctmgr", "--immediate", *who, "MaxSubmitJobs=-1")


def test_an_account_that_is_not_ours_is_refused_before_and_at_a_submission(
    ours: Submissions,
) -> None:
    spec = ours.spec(account="nonsense")
    words = "Invalid account or account/partition combination specified"
    command = ours.scheduler.rehearse(spec)
    assert command is not None
    with pytest.raises(Refused, match=words):
        ours.scheduler.rehearsed(ours.rig.run(command), spec)
    with pytest.raises(Refused, match=words):
        ours.submit(spec)
    assert ours.listing() == {}


def test_partitions_and_their_nodes_are_told(ours: Submissions) -> None:
    command = ours.scheduler.limits()
    assert command is not None
    queues = {queue.name: queue for queue in ours.scheduler.limits_of(ours.rig.run(command))}
    assert set(queues) == {"main", "short", "urgent"}
    assert queues["main"].default
    assert queues["short"].time_s_max == 600
    assert (queues["main"].cpu_max, queues["main"].gpu_max) == (2, 2)


def test_a_closed_partition_says_so(recorded: SlurmRig, ours: Submissions) -> None:
    recorded.cluster.control("update", "partitionname=short", "state=down")
    command = ours.scheduler.limits()
    assert command is not None
    queues = {queue.name: queue for queue in ours.scheduler.limits_of(ours.rig.run(command))}
    jobs = ours.submit(ours.spec(queue="short", time_s=60))
    words = ours.scheduler.described(ours.rig.run(ours.scheduler.describe(jobs[0])))
    recorded.cluster.control("update", "partitionname=short", "state=up")
    assert (queues["short"].open, queues["main"].open) == (False, True)
    assert "down" in queues["short"].words
    assert "PartitionDown" in words


def test_while_the_accounting_is_down_the_controller_is_asked(
    recorded: SlurmRig, ours: Submissions
) -> None:
    spec = ours.spec(settings={"sleep_s": 300})
    jobs = ours.submit(spec)
    ours.wait(jobs, JobState.RUNNING)
    recorded.cluster.stop_accounting()
    try:
        assert ours.look_up(jobs, spec.name)[jobs[0]].state is JobState.RUNNING
        ours.cancel(jobs)
        ours.wait_gone(jobs)
        assert ours.ended(jobs, spec.name)[jobs[0]].state is JobState.CANCELLED
    finally:
        recorded.cluster.start_accounting()


def test_a_forgotten_job_is_in_the_accounting_and_denied_without(
    ended: tuple[Done, Done], ours: Submissions, theirs: Submissions
) -> None:
    (here, mine), (there, other) = ended
    for each, jobs in ((ours, mine), (theirs, other)):
        ask = ("squeue", "--noheader", "--states=all", f"--jobs={jobs[0]}")
        forgot = lambda each=each, ask=ask: not each.rig.place.run(*ask, check=False).stdout  # noqa: E731
        wait_until(f"{jobs} to be forgotten", forgot, FORGOTTEN_S)
    report = ours.ended(mine, here.name)[mine[0]]
    assert (report.state, report.exit) == (JobState.FAILED, 3)
    for jobs in (other, [*other, theirs.rig.unknown]):  # squeue fails for a single one only
        found = theirs.look_up(jobs, there.name)
        assert set(found) == set(jobs)
        assert all(each.denied and not each.state.over for each in found.values())
