"""What PBS's states, substates and exit statuses mean. Pure.

Sources: qstat(1B), job states; OpenPBS src/include/job.h, JOB_SUBSTATE_ and JOB_EXEC_ values, and
PBS Reference Guide, "Job Exit Status Codes"; Torque's qstat(1), states C and T.
"""

from __future__ import annotations

import re

from schedulers import texts
from schedulers.base import JobState, Report, SchedulerError
from schedulers.pbsrecords import Record

STATES = {
    "Q": JobState.QUEUED,
    "T": JobState.QUEUED,  # on its way to a queue
    "W": JobState.QUEUED,  # for a time to come
    "H": JobState.HELD,
    "R": JobState.RUNNING,
    "S": JobState.RUNNING,  # suspended
    "U": JobState.RUNNING,  # suspended, as somebody sits at its worker
    "E": JobState.RUNNING,  # ending; its exit status may change still
    "M": JobState.UNKNOWN,  # moved to another server
}
OVER = ("F", "X", "C")  # finished; a subjob of a living array; completed, in Torque
ARRAY = "B"  # has subjobs that began
HOLDS = {"u": "its owner", "o": "an operator", "s": "the system", "p": "a bad password"}
_DELETED, _FINISHED, _FAILED = "91", "92", "93"  # substates
# Exit statuses below zero are PBS's own.
EXITS = {
    -1: (JobState.FAILED, "could not be started"),
    -2: (JobState.FAILED, "could not be started, after its files were there"),
    -3: (JobState.FAILED, "could not be started, to be tried again"),
    -4: (JobState.NODE_FAILED, "its worker was started anew"),
    -5: (JobState.NODE_FAILED, "its worker was started anew"),
    -6: (JobState.NODE_FAILED, "its worker was started anew"),
    -10: (JobState.FAILED, "there is no such account on its worker"),
    -14: (JobState.NODE_FAILED, "lost one of its workers"),
    -17: (JobState.FAILED, "refused by a hook of the site"),
    -19: (JobState.CANCELLED, "deleted by a hook of the site"),
    -20: (JobState.NODE_FAILED, "lost its worker"),
    -27: (JobState.FAILED, "used more memory than it asked for"),
    -29: (JobState.TIMED_OUT, "over its wall time"),
}
# Torque has its own numbers for the same: its src/include/job.h.
TORQUE_EXITS = {
    -4: EXITS[-4],
    -10: (JobState.FAILED, "used more memory than it asked for"),
    -11: (JobState.TIMED_OUT, "over its wall time"),
}


def report(record: Record, exits: dict[int, tuple[JobState, str]] = EXITS) -> Report:
    """What a record of qstat -f says. Raises SchedulerError for one without a state."""
    letter, tag = record.get("job_state", ""), texts.tag_of(record.get("Job_Name", ""))
    if not re.fullmatch(r"[A-Z]", letter):
        raise SchedulerError(f"qstat: a job's state is {texts.harmless(letter, 20)!r}")
    host = texts.harmless(re.split(r"[/+]", record.get("exec_host", ""))[0], 80)
    comment = record.get("comment", "")
    owner = texts.harmless(record.get("Job_Owner", "").partition("@")[0], 80)
    if letter in OVER:
        state, words, status = _ended(record, exits)
        return Report(state, texts.harmless(words or comment), status, host, tag, owner=owner)
    if letter == "H" and "held" not in comment:  # it is of the time before
        comment = f"held by {_holders(record)}"
    state, words = STATES.get(letter, JobState.UNKNOWN), texts.harmless(comment)
    return Report(state, words, None, host, tag, owner=owner)


def _holders(record: Record) -> str:
    kinds = record.get("Hold_Types", "")
    found = [who for letter, who in HOLDS.items() if letter in kinds and kinds != "n"]
    waits = record.get("substate") == "22"
    return " and ".join(found) or ("jobs that it depends on" if waits else "somebody")


def _ended(
    record: Record, exits: dict[int, tuple[JobState, str]]
) -> tuple[JobState, str, int | None]:
    """State, words and exit status of a job that is over.

    A deleted subjob shows the status of its array, even 0: its substate comes first.
    """
    substate, shown = record.get("substate", ""), record.get("Exit_status", "")
    if substate == _DELETED:
        return JobState.CANCELLED, "", None
    if not shown:
        if substate == _FINISHED:
            return JobState.FAILED, "ended without having run", None
        return JobState.ENDED, "", None
    if not re.fullmatch(r"-?\d{1,6}", shown):
        raise SchedulerError(f"qstat: an exit status is {texts.harmless(shown, 20)!r}")
    code = int(shown)
    if code < 0:
        state, words = exits.get(code, (JobState.FAILED, f"PBS gives exit status {code}"))
        return state, words, None
    if code == 0:
        done = substate != _FAILED
        return (JobState.DONE, "", 0) if done else (JobState.FAILED, "", None)
    return JobState.FAILED, "", _status(code)


def _status(code: int) -> int:
    """256 + signal is of the job's shell, 128 + signal of what ran in it."""
    for base in (256, 128):
        if base < code <= base + 64:
            return base - code
    return code
