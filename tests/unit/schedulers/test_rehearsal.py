"""Submissions that are judged and not made: how they are asked for, and what real systems said."""

from __future__ import annotations

import pytest

from schedulers.base import Completed, PilotSpec, Refused, Scheduler, SchedulerError
from schedulers.htcondor import HTCondor
from schedulers.pbs import Pbs
from schedulers.sge import Sge
from schedulers.slurm import Slurm
from schedulers.torque import Torque

SPEC = PilotSpec(
    "floe-desy-k3x9w2q1", ["/d/pilot.pyz", "/d/settings.json"], "/d/log", folder="/d",
    files=["/d/pilot.pyz", "/d/settings.json"], options=["-w", "e"],
)  # fmt: skip


def failed(err: str, status: int = 1) -> Completed:
    return Completed(status, b"", err.encode())


@pytest.mark.parametrize(
    ("scheduler", "last"),
    [
        (Slurm(), ["--test-only"]),
        (Sge(), ["-w", "v"]),
        (HTCondor(), ["-dry-run", "-", "-"]),
    ],
)
def test_no_option_of_the_admins_makes_a_rehearsal_real(
    scheduler: Scheduler, last: list[str]
) -> None:
    command = scheduler.rehearse(SPEC)
    assert command is not None
    real = scheduler.submit(SPEC)
    assert list(command.argv[-len(last) :]) == last
    assert [word for word in real.argv if word not in command.argv] == []
    assert command.stdin == real.stdin


@pytest.mark.parametrize("scheduler", [Pbs(), Torque()])
def test_pbs_has_no_rehearsal_but_says_what_cannot_be_written(scheduler: Scheduler) -> None:
    assert scheduler.rehearse(SPEC) is None
    with pytest.raises(SchedulerError, match="queue"):
        scheduler.rehearse(PilotSpec(SPEC.name, SPEC.argv, SPEC.log, queue="a b"))


@pytest.mark.parametrize(
    ("scheduler", "done", "words"),
    [
        (
            Slurm(),
            Completed(
                0, b"", b"sbatch: Job 1 to start at 2026-11-26T07:32:15 using 1 processors on "
                b"nodes gamma1 in partition main\n",
            ),
            "would start 2026-11-26T07:32:15 on gamma1",
        ),
        (
            Sge(),
            Completed(0, b"verification: found suitable queue(s)\n", b""),
            "verification: found suitable queue(s)",
        ),
        (HTCondor(), Completed(0, b"ProcId=0\nJobStatus=1\n1.0 - 1.0\n", b""), ""),
        (
            HTCondor(),
            Completed(
                0, b"1.0 - 1.0\n",
                b"WARNING: the line 'nosuchkey = 3' was unused by condor_submit. Is it a typo?\n",
            ),
            "WARNING: the line 'nosuchkey = 3' was unused by condor_submit. Is it a typo?",
        ),
    ],
)  # fmt: skip
def test_what_would_be_taken_is_told(scheduler: Scheduler, done: Completed, words: str) -> None:
    assert scheduler.rehearsed(done, SPEC) == words


@pytest.mark.parametrize(
    ("scheduler", "err", "words"),
    [
        (
            Slurm(),
            "sbatch: error: invalid partition specified: nope\n"
            "allocation failure: Invalid partition name specified\n",
            "invalid partition specified: nope",
        ),
        (Slurm(), "sbatch: unrecognized option '--x'\nTry \"sbatch --help\"\n", "option '--x'"),
        (
            Slurm(),
            "allocation failure: Requested node configuration is not available\n",
            "sbatch: allocation failure: Requested node configuration is not available",
        ),
        (
            Sge(),
            'Unable to run job: job rejected: the requested project "nope" does not exist\n'
            "Exiting.\n",
            'project "nope" does not exist$',
        ),
        (
            Sge(),
            'Unable to run job: Job 3 cannot run in PE "smp" because it only offers 0 slots\n'
            "verification: no suitable queues\nExiting.\n",
            'cannot run in PE "smp" because it only offers 0 slots',
        ),
        (HTCondor(), "\nERROR: Invalid accounting_group: a b\n", "Invalid accounting_group: a b"),
        (
            HTCondor(),
            "ERROR: Parse error in expression: \n\tRequestMemory = 2 gigs\n\t\n",
            "RequestMemory = 2 gigs",
        ),
        (
            HTCondor(),
            "Usage: condor_submit [options] [<attrib>=<value>] [- | <submit-file>]\n    -terse\n",
            "does not take all of these options: '-w e'",
        ),
    ],
)
def test_a_refusal_quotes_the_system(scheduler: Scheduler, err: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        scheduler.rehearsed(failed(err), SPEC)


@pytest.mark.parametrize(
    ("scheduler", "err"),
    [
        (Slurm(), "allocation failure: Unable to contact slurm controller (connect failure)\n"),
        (Slurm(), "allocation failure: Required partition not available (inactive or drain)\n"),
        (  # or as many pilots wait as may
            Slurm(),
            "allocation failure: Job violates accounting/QOS policy (job submit limit, user's size"
            " and/or time limits)\n",
        ),
        (Sge(), "Unable to run job: job rejected: Only 5 jobs are allowed per user\nExiting.\n"),
        (
            Sge(),
            "error: commlib error: got select error (Connection refused)\n"
            "Unable to run job: unable to send message to qmaster using port 6444\nExiting.\n",
        ),
        (HTCondor(), "\nERROR: Can't find address of local schedd\n"),
    ],
)
def test_an_outage_is_no_refusal(scheduler: Scheduler, err: str) -> None:
    with pytest.raises(SchedulerError) as caught:
        scheduler.rehearsed(failed(err), SPEC)
    assert not isinstance(caught.value, Refused)


@pytest.mark.parametrize(
    ("scheduler", "err"),
    [
        (
            Slurm(),
            "sbatch: error: invalid partition specified: mian\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
        ),
        (
            Slurm(),
            "sbatch: error: AssocMaxSubmitJobLimit\n"
            "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
            "(job submit limit, user's size and/or time limits)\n",
        ),
        (Slurm(), "/usr/bin/sbatch: unrecognized option '--x'\nTry \"sbatch --help\"\n"),
        (
            Sge(),
            'Unable to run job: Job was rejected because job requests unknown queue "nope"\n'
            "Exiting.\n",
        ),
        (Sge(), 'qsub: invalid option argument "--no-such"\n'),
        (Pbs(), "qsub: Unknown queue\n"),
        (Torque(), "qsub: Job violates queue and/or server resource limits\n"),
        (Torque(), "qsub: submit error (Unknown queue MSG=requested queue not found)\n"),
        (
            Torque(),
            "qsub: submit error (Unauthorized Request  MSG=group ACL is not satisfied: user "
            "ana@login, queue training)\n",
        ),
        (HTCondor(), "\nERROR: Invalid accounting_group: a b\n"),
        (HTCondor(), "Usage: condor_submit [options]\n"),
    ],
)
def test_a_refused_submission_made_no_job_for_certain(scheduler: Scheduler, err: str) -> None:
    with pytest.raises(Refused):
        scheduler.submitted(failed(err), SPEC)


# What they say of a full quota, and of an array that is too long: of all, fewer may be taken.
FEWER = [
    *(
        (
            Slurm(),
            f"sbatch: error: {reason}\nsbatch: error: Batch job submission failed: Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)\n",
        )
        for reason in (
            *("AssocMaxSubmitJobLimit", "AssocGrpSubmitJobsLimit", "QOSMaxSubmitJobPerUserLimit"),
            *("QOSGrpSubmitJobsLimit", "QOSMaxSubmitJobPerAccountLimit"),
        )
    ),
    (
        Slurm(),
        "sbatch: error: Batch job submission failed: Invalid job array specification\n",
    ),
    (
        Sge(),
        "Unable to run job: job rejected: You try to submit a job with more than 5 tasks\n"
        "Exiting.\n",
    ),
    *(
        (Pbs(), f"qsub: {words}\n")
        for words in (
            "would exceed queue generic's per-user limit",
            "would exceed complex's per-user limit of jobs in 'Q' state",
            "would exceed user ana's limit on resource ncpus in complex",
            "Maximum number of jobs already in complex",
            "Maximum number of jobs for user ana already in queue workq",
            "Array job exceeds server or queue size limit",
        )
    ),
    (
        Torque(),
        "qsub: submit error (Maximum number of jobs already in queue for user MSG=total number "
        "of current user's jobs exceeds the queue limit: user ana@login, queue long)\n",
    ),
    *(
        (
            HTCondor(),
            f"Submitting job(s)\nERROR: Failed to create {what}\n"
            f"Number of submitted jobs would exceed {limit}\n",
        )
        for what, limit in (
            ("cluster", "MAX_JOBS_SUBMITTED"),
            ("proc", "MAX_JOBS_PER_OWNER"),
            ("proc", "MAX_JOBS_PER_SUBMISSION"),
        )
    ),
]
# An array is one job to these.
FULL = [
    (Sge(), f"Unable to run job: job rejected: {words}\nExiting.\n")
    for words in (
        "Only 5 jobs are allowed per user (current job count: 5)",
        "only 5 jobs are allowed per user (current job count: 5)",
        "Only 1000 jobs are allowed per cluster",
    )
]


@pytest.mark.parametrize(
    ("scheduler", "err", "fewer"),
    [*((*each, True) for each in FEWER), *((*each, False) for each in FULL)],
)
def test_a_full_quota_is_told_from_what_is_refused_for_ever(
    scheduler: Scheduler, err: str, fewer: bool
) -> None:
    with pytest.raises(Refused) as caught:
        scheduler.submitted(failed(err), SPEC)
    assert (caught.value.limit, caught.value.fewer) == (True, fewer)


@pytest.mark.parametrize(
    ("scheduler", "err"),
    [
        (
            Slurm(),
            "sbatch: error: QOSMaxWallDurationPerJobLimit\n"
            "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
            "(job submit limit, user's size and/or time limits)\n",
        ),
        (Slurm(), "sbatch: error: Batch job submission failed: Invalid qos specification\n"),
        (Sge(), "Unable to run job: job rejected: the requested project does not exist\n"),
        (Torque(), "qsub: Job violates queue and/or server resource limits\n"),
        (HTCondor(), "\nERROR: Invalid accounting_group: a b\n"),
    ],
)
def test_what_no_end_of_a_job_changes_is_no_full_quota(scheduler: Scheduler, err: str) -> None:
    with pytest.raises(Refused) as caught:
        scheduler.submitted(failed(err), SPEC)
    assert not caught.value.limit


@pytest.mark.parametrize(
    ("scheduler", "err"),
    [
        (
            Slurm(),
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n",
        ),
        (Slurm(), "sbatch: error: Batch job submission failed: Unspecified error\n"),
        (Sge(), "Unable to run job: got no response from JSV script\nExiting.\n"),
        (Pbs(), "qsub: End of File\n"),
        (Torque(), "qsub: submit error (Pbs Server is currently too busy to service this)\n"),
        (HTCondor(), "\nERROR: Failed to commit job submission into the queue.\n"),
    ],
)
def test_other_complaints_leave_open_whether_there_are_jobs(scheduler: Scheduler, err: str) -> None:
    with pytest.raises(SchedulerError) as caught:
        scheduler.submitted(failed(err), SPEC)
    assert not isinstance(caught.value, Refused)


def test_programs_are_those_that_are_run() -> None:
    assert Pbs(commands={"qsub": "sudo -n qsub"}).programs() == ["sudo", "qstat", "qdel"]
