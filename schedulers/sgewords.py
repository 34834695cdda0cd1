"""What Grid Engine's states and failure codes mean. Pure.

Source: sge_status(5), tables of states and of "failed" values; sge_accounting(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from schedulers import texts
from schedulers.base import JobState, Report, SchedulerError

# Letters of a state, the first that is found decides. Sge_status(5) lists their combinations.
STATES = (
    ("E", JobState.HELD, ""),  # an error at its start, of which qstat -j has more to say
    ("s", JobState.RUNNING, "suspended"),
    ("S", JobState.RUNNING, "suspended with its queue"),
    ("T", JobState.RUNNING, "suspended by a load threshold"),
    ("N", JobState.RUNNING, "suspended by preemption"),
    ("P", JobState.RUNNING, "suspended by preemption"),
    ("r", JobState.RUNNING, ""),
    ("t", JobState.RUNNING, "starting"),
    ("h", JobState.HELD, "held by its owner, an operator or the system: qrls"),
    ("w", JobState.QUEUED, ""),
    ("q", JobState.QUEUED, ""),
    ("z", JobState.ENDED, ""),
)
_LETTERS = re.compile(r"[dEhNPqrRsStTwz]{1,8}")
# "failed" values after which a job is over. After others it may be tried again, or wait in error
# state, and has its record all the same.
FAILURES = {
    0: JobState.FAILED,  # it ended with a status of its own
    12: JobState.FAILED,
    13: JobState.FAILED,
    14: JobState.FAILED,
    15: JobState.FAILED,
    16: JobState.FAILED,
    17: JobState.FAILED,
    19: JobState.NODE_FAILED,
    21: JobState.NODE_FAILED,
    37: JobState.TIMED_OUT,
    100: JobState.FAILED,
}
_BY_SIGNAL = (17, 37, 100)


def living(letters: str, host: str, tag: str) -> Report:
    """A job in qstat's listing, by the letters of its state."""
    if _LETTERS.fullmatch(letters):
        for letter, state, words in STATES:
            if letter in letters:
                more = "being deleted" if "d" in letters else ""
                return Report(
                    state, ", ".join(each for each in (words, more) if each), None, host, tag
                )
    return Report(JobState.UNKNOWN, f"state {texts.harmless(letters, 20)!r}", None, host, tag)


def ended(record: Mapping[str, str]) -> Report | None:
    """What a record of qacct -j tells; None if the job may live on.

    Values carry words: "37  : qmaster enforced h_rt, ...", "137     (Killed)". Raises
    SchedulerError for codes that are no numbers.
    """
    code, status = _number(record, "failed"), _number(record, "exit_status")
    state = FAILURES.get(code)
    if state is None:
        return None
    if code == 0 and status == 0:
        state = JobState.DONE
    words = record["failed"].partition(":")[2].strip() if code else ""
    if code == 37 and _wall_s(record) < _asked_s(record):
        state = JobState.FAILED  # over another limit than its time
    if deleted := _deleted_by(record):
        state, words = JobState.CANCELLED, f"deleted by {deleted}"
    exit_ = 128 - status if code in _BY_SIGNAL and 128 < status < 256 else status
    host = texts.harmless(record.get("hostname", ""), 80)
    tag, owner = texts.tag_of(record["jobname"]), texts.harmless(record.get("owner", ""), 80)
    return Report(state, texts.harmless(words), exit_, host, tag, owner=owner)


def _number(record: Mapping[str, str], key: str) -> int:
    match = re.match(r"\d{1,9}(?!\S)", record[key])
    if match is None:
        raise SchedulerError(f"qacct: {key} is {texts.harmless(record[key], 40)!r}")
    return int(match[0])


def _deleted_by(record: Mapping[str, str]) -> str:
    """Forks tell who deleted a job; 8.1.9 does not."""
    who = record.get("deleted_by", "NONE")
    return "" if who in ("NONE", "undefined", "") else texts.harmless(who, 80)


def _wall_s(record: Mapping[str, str]) -> float:
    match = re.match(r"\d{1,12}(\.\d+)?", record.get("ru_wallclock", ""))
    return float(match[0]) if match else 0.0


def _asked_s(record: Mapping[str, str]) -> float:
    """The h_rt that the job asked for; 0 if it did not."""
    match = re.search(r"\bh_rt=(\d{1,12})\b", record.get("category", ""))
    return float(match[1]) if match else 0.0
