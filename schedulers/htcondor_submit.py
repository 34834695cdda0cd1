"""The submit description of pilots for HTCondor, and the quoting of its language. Pure.

Source: HTCondor manual 23.0, manual page condor_submit, "Submit description file commands".
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence

from schedulers import texts
from schedulers.base import PilotSpec, SchedulerError
from schedulers.script import job_line

# How a removal by our own policy is called in RemoveReason.
EVICTED, TIME_OVER = "floe: evicted", "floe: time is over"
_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def description(spec: PilotSpec, python: str) -> Iterator[str]:
    """Its lines. The admin's come last, so that they win."""
    assert texts.tag_of(spec.name), spec.name
    if spec.queue:
        raise SchedulerError(f"HTCondor has no queues: {texts.harmless(spec.queue, 40)!r}")
    files = [_path(each, spec.folder) for each in spec.files]
    beside = {each: posixpath.basename(each) for each in files}
    if len(set(beside.values())) < len(set(files)):
        raise SchedulerError("two files for the worker have the same name")
    argv = [beside.get(posixpath.join(spec.folder, word), word) for word in spec.argv]
    folder, log = posixpath.split(_path(spec.log, spec.folder))
    yield "universe = vanilla"
    yield "executable = /bin/sh"
    yield "transfer_executable = false"
    yield f"arguments = {_arguments(['-c', job_line(argv, python=python)])}"
    yield f"batch_name = {spec.name}"
    yield "description = Icefloe pilot"  # what condor_q shows instead of the command line
    yield "should_transfer_files = YES"
    yield "when_to_transfer_output = ON_EXIT"
    if files:
        yield f"transfer_input_files = {', '.join(_listed_file(each) for each in files)}"
    yield 'transfer_output_files = ""'  # what lies about there stays there
    yield f"initialdir = {_value(folder, 'the folder of the log')}"
    yield f"output = {_remapped(log)}.$(ProcId)"
    yield f"error = {_remapped(log)}.$(ProcId)"
    yield "notification = never"
    yield from _wants(spec)
    yield from _policy(spec.time_s, spec.avoided)
    yield from _admin_lines(spec.lines)
    yield f"queue {spec.count}"


def _wants(spec: PilotSpec) -> Iterator[str]:
    """What one pilot needs. Memory is in MiB, disk in KiB."""
    yield f"request_cpus = {spec.cpu}"
    if spec.gpu:
        yield f"request_gpus = {spec.gpu}"
    if spec.memory_bytes:
        yield f"request_memory = {texts.in_units(spec.memory_bytes, 1 << 20)}"
    if spec.disk_bytes:
        yield f"request_disk = {texts.in_units(spec.disk_bytes, 1 << 10)}"
    for name, value in spec.extra.items():
        if not _RESOURCE.fullmatch(name):
            raise SchedulerError(f"no resource can be called {texts.harmless(name, 40)!r}")
        yield f"request_{name} = {_value(value, f'resource {name}')}"
    if spec.account:
        yield f"accounting_group = {_value(spec.account, 'the accounting group')}"


def _policy(time_s: int | None, avoided: Sequence[str]) -> Iterator[str]:
    """A pilot starts once, ends gently, and is removed when it was evicted or its time is over."""
    hosts = f' && !stringListIMember(TARGET.Machine, "{",".join(avoided)}")' if avoided else ""
    yield f"requirements = MY.NumJobStarts =?= 0{hosts}"
    yield "want_graceful_removal = true"
    over = f" || (JobStatus == 2 && time() - JobCurrentStartDate > {time_s})" if time_s else ""
    yield f"periodic_remove = (JobStatus == 1 && NumJobStarts > 0){over}"
    yield f'+PeriodicRemoveReason = ifThenElse(JobStatus == 1, "{EVICTED}", "{TIME_OVER}")'


def _admin_lines(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        words = texts.word(line, "a line of the submit file").split()
        if words and words[0].lower() == "queue":
            raise SchedulerError("lines of the submit file: queue is written by us")
        yield line


def _arguments(words: Iterable[str]) -> str:
    """Words in the newer syntax: one pair of double quotes around all, single ones around each.

    Both are doubled within. $(DOLLAR) is a dollar sign, but $$ with a bracket is a macro of the
    worker's, however it is written: `job_line` has none.
    """
    quoted = ("'" + word.replace("'", "''").replace('"', '""') + "'" for word in words)
    return '"' + " ".join(each.replace("$", "$(DOLLAR)") for each in quoted) + '"'


def _value(text: str, what: str) -> str:
    """The text as the value of a submit command, which runs to the end of its line.

    Raises SchedulerError for what cannot be said there.
    """
    value = texts.word(text, what)
    if value != value.strip() or value.endswith("\\") or value.startswith('"'):
        raise SchedulerError(f"{what}: HTCondor cannot be given {texts.harmless(value, 80)!r}")
    if "$$" in value or "$(dollar)" in value.lower():
        raise SchedulerError(f"{what}: HTCondor would expand {texts.harmless(value, 80)!r}")
    return value.replace("$", "$(DOLLAR)")


def _listed_file(path: str) -> str:
    """A path in a list of files to transfer."""
    if "," in path:
        raise SchedulerError(f"HTCondor cannot transfer a file with a comma: {path[:80]!r}")
    return _value(path, "a file for the worker")


def _remapped(name: str) -> str:
    """A file's name as the place of what comes back, of which HTCondor makes a list with ";"."""
    if "\\;" in name:
        raise SchedulerError(f"the log: HTCondor cannot write to {texts.harmless(name, 80)!r}")
    return _value(name, "the log").replace(";", "\\;")


def _path(path: str, folder: str) -> str:
    whole = posixpath.join(folder, path)
    if not whole.startswith("/"):
        raise SchedulerError(f"{texts.harmless(path, 80)!r} must be a path from the root")
    return whole
