"""Rows of Slurm's lists of jobs that have ended, or still live: of squeue and of sacct. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from schedulers import texts
from schedulers.base import JobName, JobState, Report, SchedulerError
from schedulers.slurmwords import HELD_REASONS, NOT_HELD_REASONS, REASONS, STATES

JOB = re.compile(r"(\d{1,10})(?:_(\d{1,9}))?")
STATE = re.compile(r"[A-Z_]{2,40}")
DENIED: Final = Report(JobState.UNKNOWN, "the controller does not know it", denied=True)
_NO_HOST = {"", "(null)", "None assigned", "n/a"}


def accounted(text: str) -> dict[JobName, Report]:
    """What sacct tells; other lines are warnings, or tasks that wait."""
    found = {}
    for line in text.split("\n"):
        fields = line.split("|")
        if len(fields) == 5 and JOB.fullmatch(fields[0]) and texts.tag_of(fields[4]):
            job, state, code, host, tag = fields
            found[JobName(job)] = _ended(state, _exit(code, what="sacct"), host, "", tag)
    return found


def remembered(text: str, mark: str) -> tuple[dict[JobName, Report], bool]:
    """What the controller still knows, of the living and the dead; and whether it has answered.

    The header says so, which comes after the controller's answer: without one, what is not here
    may be known there.
    """
    found, answered = {}, False
    for line in text.split("\n"):
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 8 or f"{fields[1]}|" != mark:
            continue
        job, _, state, code, host, reason, tag, _ = fields
        answered = answered or (state, tag) == ("STATE", "NAME")
        if not texts.tag_of(tag):
            continue
        if not JOB.fullmatch(job):
            raise SchedulerError(f"squeue: cannot read {texts.harmless(line, 120)!r}")
        found[JobName(job)] = _ended(state, _exit(code, what="squeue"), host, reason, tag)
    return found, answered


def of(job: JobName, known: Mapping[JobName, Report]) -> Report | None:
    """What is known of a job.

    Tasks that end before they start, as when the rest of an array is cancelled, have no row of
    their own: one row with the array's number stands for all of them. A task that has started
    always has its own; in the controller's memory, until it is forgotten.
    """
    if job in known:
        return known[job]
    rest = known.get(_array(job))
    return rest if rest is not None and rest.state.over else None


def names(job: JobName, known: Mapping[JobName, Report]) -> bool:
    """Whether a row may be this job's."""
    return job in known or _array(job) in known


def _array(job: JobName) -> JobName:
    return JobName(job.partition("_")[0])


def state_of(state: str, reason: str) -> JobState:
    found = STATES.get(state, JobState.UNKNOWN)
    if found is JobState.QUEUED and (
        HELD_REASONS.search(reason) and not NOT_HELD_REASONS.search(reason)
    ):
        return JobState.HELD
    return found


def words_of(state: str, reason: str) -> str:
    """Why a job is as it is, in a sentence where we have one."""
    code = "" if reason in ("None", "(null)") else reason
    if sentence := REASONS.get(code):
        return f"{sentence} ({code})"
    plain = state in ("PENDING", "RUNNING", "COMPLETED")
    return texts.harmless(code if plain else f"{state} {code}")


def _ended(state: str, code: int, host: str, reason: str, tag: str) -> Report:
    """A row that tells how a job ended; `state` may be "CANCELLED by 1001"."""
    first = state.partition(" ")[0].rstrip("+")
    if not STATE.fullmatch(first):
        raise SchedulerError(f"{texts.harmless(state, 40)!r} is no state of a job")
    found = state_of(first, reason)
    told = found in (JobState.DONE, JobState.FAILED) or (found.over and code != 0)
    return Report(found, words_of(state, reason), code if told else None, host_of(host), tag)


def _exit(code: str, *, what: str) -> int:
    """Status or -signal of "3:0", or of a wait status such as 768 (wait(2))."""
    if match := re.fullmatch(r"(\d{1,5}):(\d{1,3})", code):
        return -int(match[2]) if int(match[2]) else int(match[1])
    if re.fullmatch(r"\d{1,10}", code):
        signal = int(code) & 0x7F
        return -signal if signal else int(code) >> 8 & 0xFF
    raise SchedulerError(f"{what}: {texts.harmless(code, 40)!r} is no exit code")


def host_of(nodes: str) -> str:
    return "" if nodes in _NO_HOST else texts.harmless(nodes, 80)
