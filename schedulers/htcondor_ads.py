"""What HTCondor's commands print, told as states and reasons. Pure.

Sources: HTCondor manual 23.0, "Job ClassAd Attributes" (JobStatus, ExitCode, ExitBySignal,
ExitSignal, RemoveReason), "Vacate Reason Codes"; manual page condor_q, "-better-analyze".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from schedulers import texts
from schedulers.base import Completed, JobName, JobState, Report, SchedulerError
from schedulers.htcondor_submit import EVICTED, TIME_OVER

Ad = Mapping[str, object]
_EITHER = (
    "ClusterId,ProcId,JobBatchName,JobStatus,ExitCode,ExitBySignal,ExitSignal,RemoveReason,"
    "LastRemoteHost,Owner"
)
LISTED = f"{_EITHER},HoldReason,NumJobStarts,RemoteHost"
ENDED = f"{_EITHER},VacateReason,VacateReasonCode"
# Attribute JobStatus.
_IN_QUEUE = {
    1: JobState.QUEUED,  # idle
    2: JobState.RUNNING,
    3: JobState.RUNNING,  # marked for removal: it leaves the queue when its worker let go
    5: JobState.HELD,
    6: JobState.RUNNING,  # its output is on the way back
    7: JobState.RUNNING,  # suspended
}
_TOTAL = re.compile(r"^Total for query: (\d+) jobs?;", re.MULTILINE)
_ADS = re.compile(r"^[ \t]*[\[{]", re.MULTILINE)
_REMOVED, _COMPLETED = 3, 4
_IDS = 10**9  # clusters, and jobs of one
# VacateReasonCode: shadow, starter or startd failed, or the worker was lost or shut down.
_NODE_CODES = {1002, 1007, 1008, 1012, 1013}


def whole(done: Completed, what: str) -> str:
    """As texts.whole, with the first lines of a complaint: the last ones are advice."""
    if done.status != 0:
        raise SchedulerError(f"{what}: {why(done)}")
    return texts.uncut(done, what)


def why(done: Completed) -> str:
    """What a command complains of."""
    for data in (done.err, done.out):
        text = texts.plain(data[: 1 << 16]).partition("Extra Info:")[0]
        lines = [line for line in text.splitlines() if line.strip(" .")]
        if lines:
            return texts.harmless(" · ".join(lines[:3]))
    return texts.complaint(done)


def ads(text: str, what: str) -> list[Ad]:
    """A list of ClassAds. Raises SchedulerError."""
    document = texts.json_of(text, what)
    if not isinstance(document, list) or not all(isinstance(each, dict) for each in document):
        raise SchedulerError(f"{what}: printed something else than a list of ads")
    return document


def no_jobs(text: str) -> bool:
    """Whether these are totals of a query that found nothing."""
    return _TOTAL.findall(text) == ["0"]


def no_ads(text: str) -> bool:
    """Whether nothing in it can be ads or totals: they begin a line."""
    return not _ADS.search(text) and not _TOTAL.search(text)


def queued(found: Iterable[Ad]) -> dict[JobName, Report]:
    """Of condor_q: our jobs, each told by its JobStatus."""
    told = {_job(ad): _owned(_in_queue(ad), ad) for ad in found}
    return {job: report for job, report in told.items() if report.tag}


def ended(found: Iterable[Ad]) -> dict[JobName, Report]:
    """Of condor_history."""
    return {_job(ad): _owned(_in_history(ad), ad) for ad in found}


def _owned(report: Report, ad: Ad) -> Report:
    """The history is of everybody's jobs, and so is the queue for some accounts."""
    return replace(report, owner=_words(ad, "Owner"))


def largest(found: Iterable[Ad], name: str) -> int | None:
    """The greatest value of an attribute; None if no ad has it."""
    values = [ad[name] for ad in found if name in ad]
    numbers = [each for each in values if isinstance(each, (int, float)) and 0 <= each < 1 << 62]
    return int(max(numbers)) if numbers else None


def _job(ad: Ad) -> JobName:
    """Raises SchedulerError for an ad without ids: who prints that may have lost others."""
    cluster, number = _number(ad, "ClusterId"), _number(ad, "ProcId")
    if cluster is None or number is None or not (0 <= cluster < _IDS and 0 <= number < _IDS):
        raise SchedulerError(f"HTCondor printed a job without an id: {texts.harmless(str(ad), 80)}")
    return JobName(f"{cluster}.{number}")


def _in_queue(ad: Ad) -> Report:
    status = _number(ad, "JobStatus")
    if status == _COMPLETED:
        return _finished(ad)
    state = _IN_QUEUE.get(status or 0, JobState.UNKNOWN)
    words = _words(ad, "HoldReason" if state is JobState.HELD else "RemoveReason")
    if state is JobState.QUEUED and _number(ad, "NumJobStarts"):
        words = f"{EVICTED}, and soon removed"  # the schedd looks once a minute
    return Report(state, words, None, _host(ad, "RemoteHost"), _tag(ad))


def _in_history(ad: Ad) -> Report:
    status = _number(ad, "JobStatus")
    if status == _COMPLETED:
        return _finished(ad)
    if status != _REMOVED:
        return Report(JobState.UNKNOWN, tag=_tag(ad))
    words = _words(ad, "RemoveReason")
    state = JobState.CANCELLED
    if words == TIME_OVER:
        state = JobState.TIMED_OUT
    elif words == EVICTED:
        lost = _number(ad, "VacateReasonCode") in _NODE_CODES
        state = JobState.NODE_FAILED if lost else JobState.PREEMPTED
        words = _words(ad, "VacateReason") or words
    return Report(state, words, _exit(ad), _host(ad, "LastRemoteHost"), _tag(ad))


def _finished(ad: Ad) -> Report:
    """A job that ended by itself; how, says its exit code, which is there only then."""
    code = _exit(ad)
    state = JobState.ENDED
    if code is not None:
        state = JobState.FAILED if code else JobState.DONE
    return Report(state, "", code, _host(ad, "LastRemoteHost"), _tag(ad))


def _exit(ad: Ad) -> int | None:
    """A job that never ran may carry ExitBySignal too, but then no signal."""
    if ad.get("ExitBySignal") is True:
        number = _number(ad, "ExitSignal")
        return -number if number else None
    return _number(ad, "ExitCode")


def _number(ad: Ad, name: str) -> int | None:
    """An unevaluated expression comes as text, and is no number."""
    value = ad.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _words(ad: Ad, name: str) -> str:
    value = ad.get(name)
    return texts.harmless(value) if isinstance(value, str) else ""


def _host(ad: Ad, name: str) -> str:
    """The worker, without the slot in front of it."""
    return _words(ad, name).rpartition("@")[2]


def _tag(ad: Ad) -> str:
    name = ad.get("JobBatchName")
    return texts.tag_of(name) if isinstance(name, str) else ""


# Why a job waits. Version 25 counts slots apart that would fit if others gave back their part.

_HOLD = re.compile(r"^Hold reason: (.+)$", re.MULTILINE)
_DEFINED = re.compile(r"^    (\w+) = (.+?)(?: \((?:kb|mb)\))?$", re.MULTILINE)
_STEP = re.compile(r"^\[\d+\] +(\d{1,9})(?: +(\d{1,9}))?  (\S.*)$", re.MULTILINE)
_MACHINES = re.compile(r"Of (?:\d+ slots on )?(\d{1,9}) machines,$", re.MULTILINE)
_COUNT = re.compile(
    r"^ +(\d{1,9}) (?:slots )?(reject your job|match|are able to run|would match)\b", re.MULTILINE
)


def sentence(text: str) -> str:
    """The analysis in one sentence; "" for a job that runs, has ended, or is not there."""
    held = _HOLD.search(text)
    if held:
        return texts.harmless(f"held: {held[1]}")
    machines = _MACHINES.search(text)
    if machines is None or "Job is running." in text:
        return ""
    if int(machines[1]) == 0:
        return "the pool has no machines"
    return texts.harmless(f"{_waiting(text)}; machines: {machines[1]}")


def _waiting(text: str) -> str:
    lacking = _lacking(text)
    if lacking:
        return f"no slot has {lacking}"
    counts = {what for number, what in _COUNT.findall(text) if int(number)}
    if counts - {"reject your job"}:
        return "waits for its turn"
    if counts:
        return "slots refuse it by their own requirements"
    return "no slot meets all of its requirements together"


def _lacking(text: str) -> str:
    """The conditions that nothing meets, with the job's own values in them."""
    values: dict[str, str] = dict(_DEFINED.findall(text))
    wants = [
        re.sub(r"\b(?:TARGET\.|MY\.)?(\w+)", lambda word: values.get(word[1], word[1]), condition)
        for now, drained, condition in _STEP.findall(text)
        if int(now) == 0 and int(drained or 0) == 0 and "[" not in condition
    ]
    return " and ".join(wants)
