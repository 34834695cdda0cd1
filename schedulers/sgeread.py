"""What Grid Engine's commands print: qstat -xml, qacct -j, qconf -sq. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from xml.etree import ElementTree

from schedulers import texts
from schedulers.base import Completed, JobName, JobState, Queue, Report, SchedulerError
from schedulers.sgewords import living

JOB = re.compile(r"(\d{1,10})(?:\.(\d{1,9}))?")
_TAGS_MAX = 1_000_000  # of a document: 40,000 jobs, some hundred megabytes of memory
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")  # XML 1.0, 2.2


def job_name(number: str, task: str) -> JobName:
    """Raises SchedulerError unless both are numbers, or the task is none."""
    name = number if task in ("", "undefined", "0") else f"{number}.{task}"
    if not JOB.fullmatch(name):
        raise SchedulerError(f"{texts.harmless(name, 40)!r} is no job")
    return JobName(name)


def tree_of(done: Completed, what: str, roots: Sequence[str]) -> ElementTree.Element:
    """The XML document that a command printed; what comes before it are warnings.

    Grid Engine writes control characters of names as they are, and never writes a "<!". Raises
    SchedulerError for a document that is not whole or has another root.
    """
    text = texts.whole(done, what, lines=False)
    start = text.find("<?xml")
    if start < 0 or "<!" in text:
        raise SchedulerError(f"{what}: printed no XML: {texts.harmless(text, 80)!r}")
    if text.count("<") > _TAGS_MAX:
        raise SchedulerError(f"{what}: printed more than {_TAGS_MAX} tags, which is too much")
    try:
        tree = ElementTree.fromstring(_UNREADABLE.sub("\ufffd", text[start:]))
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise SchedulerError(f"{what}: printed broken XML: {error}") from None
    if tree.tag not in roots:
        raise SchedulerError(f"{what}: printed <{texts.harmless(tree.tag, 40)}>")
    return tree


def texts_in(tree: ElementTree.Element, outer: str, inner: str) -> Iterator[str]:
    """Of elements in a list, or in the items of one: no deeper, so that each is read once."""
    for found in tree.iter(outer):
        for child in found:
            yield from (each.text or "" for each in (child, *child) if each.tag == inner)


def rows_of(done: Completed) -> dict[JobName, Report]:
    """All jobs in what `listing` prints."""
    tree = tree_of(done, "qstat", ("job_info",))
    if tree.find("queue_info") is None or tree.find("job_info") is None:
        raise SchedulerError("qstat: its list of running or of waiting jobs is missing")
    found: dict[JobName, Report] = {}
    for row in tree.iter("job_list"):
        fields = {each.tag: each.text or "" for each in row}
        job = job_name(fields.get("JB_job_number", ""), fields.get("tasks", ""))
        tag = texts.tag_of(fields.get("JB_name", ""))
        host = fields.get("queue_name", "").partition("@")[2]
        if job in found and "master" not in fields:
            raise SchedulerError(f"qstat: lists job {job} twice")
        report = living(fields.get("state", ""), texts.harmless(host, 80), tag)
        found[job] = replace(report, owner=texts.harmless(fields.get("JB_owner", ""), 80))
    return found


def beside_others(rows: Mapping[JobName, Report], jobs: Iterable[JobName]) -> dict[JobName, Report]:
    """Jobs that are back in the listing, and tasks that are not while others of their array are.

    Of a task that was deleted while it waited nobody says more: qstat -j names running ones alone.
    """
    arrays = {job.partition(".")[0]: report.tag for job, report in rows.items() if report.tag}
    found = {}
    for job in jobs:
        array = job.partition(".")[0]
        if job in rows:
            found[job] = rows[job]
        elif array in arrays:
            words = "not in its array any more"
            found[job] = Report(JobState.UNKNOWN, words, tag=arrays[array], denied=True)
    return found


def unknown_to_master(done: Completed, jobs: Iterable[JobName]) -> dict[JobName, Report]:
    """Jobs that the master does not know: it names them, if it knows none of those asked for.

    Where it knows one it passes over the others, and they are those missing in its answer.
    """
    tree = tree_of(done, "qstat -j", ("detailed_job_info", "unknown_jobs"))
    asked = {job.partition(".")[0] for job in jobs}
    if tree.tag == "unknown_jobs":
        gone = {each.text or "" for each in tree.iter("ST_name")}
    else:
        known = {each.text or "" for each in tree.iter("JB_job_number")}
        gone = asked - known if known & asked else set()
    report = Report(JobState.UNKNOWN, "the master does not know it", denied=True)
    return {job: report for job in jobs if job.partition(".")[0] in gone}


def records_of(text: str) -> Iterator[dict[str, str]]:
    """Records of qacct -j. Raises SchedulerError for one that lacks what we need."""
    for part in re.split(r"^={20,}$", text, flags=re.MULTILINE)[1:]:
        record: dict[str, str] = {}
        for line in part.split("\n"):
            key, _, value = line.partition(" ")
            record.setdefault(key, value.strip())
        if missing := {"jobname", "jobnumber", "taskid", "failed", "exit_status"} - record.keys():
            raise SchedulerError(f"qacct: a record has no {min(missing)}")
        yield record


def queues_of(text: str) -> list[Queue]:
    """What qconf -sq shows. Raises SchedulerError."""
    queues: list[dict[str, str]] = []
    for line in text.replace("\\\n", " ").split("\n"):
        key, _, value = line.partition(" ")
        if key == "qname":
            queues.append({})
        if queues:
            queues[-1][key] = value.strip()
    try:
        return [_queue(queue) for queue in queues if "BATCH" in queue["qtype"]]
    except (KeyError, ValueError) as error:
        raise SchedulerError(f"qconf -sq: {error}") from None


def _queue(queue: Mapping[str, str]) -> Queue:
    """Raises KeyError, ValueError."""
    times = [texts.seconds_of(each) for each in _per_host(queue["h_rt"])]
    sizes = [texts.size_bytes(each, lower=1000) for each in _per_host(queue["h_vmem"])]
    slots = [int(each) for each in _per_host(queue["slots"])]
    parallel = any(each.upper() != "NONE" for each in _per_host(queue["pe_list"]))
    return Queue(
        name=texts.harmless(queue["qname"], 80),
        time_s_max=None if None in times else max(each or 0 for each in times),
        memory_bytes_max=None if None in sizes else max(each or 0 for each in sizes),
        cpu_max=max(slots) if parallel else 1,
    )


def _per_host(value: str) -> list[str]:
    """The values in "4,[host1=8],[@group=16]": queue_conf(5)."""
    return [re.sub(r"^\[[^=\]]*=|\]$", "", part.strip()) for part in re.split(r",(?=\[)", value)]
