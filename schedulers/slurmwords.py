"""What Slurm's words for states and reasons mean. Pure.

Source: squeue(1) of Slurm 22.05, "JOB STATE CODES" and "JOB REASON CODES"; sacct(1), "JOB STATE
CODES"; the words that came with later versions: squeue(1) of 24.05.
"""

from __future__ import annotations

import re

from schedulers.base import JobState

STATES = {
    "PENDING": JobState.QUEUED,
    "REQUEUED": JobState.QUEUED,
    "REQUEUE_FED": JobState.QUEUED,
    "REQUEUE_HOLD": JobState.HELD,
    "RESV_DEL_HOLD": JobState.HELD,
    "SPECIAL_EXIT": JobState.HELD,
    "CONFIGURING": JobState.RUNNING,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "STAGE_OUT": JobState.RUNNING,
    "STOPPED": JobState.RUNNING,
    "SUSPENDED": JobState.RUNNING,
    "COMPLETING": JobState.RUNNING,
    "COMPLETED": JobState.DONE,
    "FAILED": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    "LAUNCH_FAILED": JobState.FAILED,
    "RECONFIG_FAIL": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
    "TIMEOUT": JobState.TIMED_OUT,
    "DEADLINE": JobState.TIMED_OUT,
    "PREEMPTED": JobState.PREEMPTED,
    "NODE_FAIL": JobState.NODE_FAILED,
    "BOOT_FAIL": JobState.NODE_FAILED,
    "REVOKED": JobState.UNKNOWN,  # another cluster of a federation has it
}

# A waiting job with such a reason does not start before somebody changes something: it is held, or
# asks for what its partition, account or quality of service never gives to one job.
HELD_REASONS = re.compile(
    r"JobHeld|JobHoldMaxRequeue|[Hh]eld\b|BadConstraints|DependencyNeverSatisfied"
    r"|InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed"
    r"|PartitionTimeLimit|PartitionNodeLimit|MaxWallDurationPerJob|PerJobLimit$|PerNodeLimit$"
)
# A partition's limit is also named when its nodes are down.
NOT_HELD_REASONS = re.compile(r"DOWN|DRAIN")

REASONS = {
    "Resources": "waits until enough of what it asks for is free",
    "Priority": "others come first",
    "JobHeldUser": "held by this account: scontrol release",
    "JobHeldAdmin": "held by the cluster's administrators",
    "JobArrayTaskLimit": "as many tasks of this array run as are allowed at once",
    "Dependency": "waits for another job",
    "DependencyNeverSatisfied": "waits for a job that failed",
    "BadConstraints": "no node can ever give what it asks for",
    "PartitionTimeLimit": "asks for more time than the partition allows",
    "PartitionNodeLimit": "asks for more than the partition allows",
    "PartitionDown": "the partition takes jobs, and starts none: it is down",
    "PartitionInactive": "the partition is not active",
    "InvalidAccount": "the account is not known or not allowed",
    "InvalidQOS": "the quality of service is not known or not allowed",
    "QOSMaxJobsPerUserLimit": "as many jobs of this account run as are allowed",
    "AssocMaxJobsLimit": "as many jobs of this account run as are allowed",
    "BeginTime": "its earliest start has not come",
    "Licenses": "waits for a license",
    "NonZeroExitCode": "ended with an error",
    "TimeLimit": "ran as long as it had asked for",
    "NodeDown": "its node went down",
    "JobLaunchFailure": "was killed, or could not be started on its node",
}
