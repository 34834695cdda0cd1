"""OpenPBS and PBS Professional: qsub, qstat, qdel. Pure. Torque is next door, in torque.py.

One submission is a job array: its subjobs are called 176[0].server, 176[1].server, ...; a single
job 177.server. The listing is of everybody's jobs, since qstat gives JSON of all or of one alone;
ours are told by their tag. A job that has left it is in the history, where the server keeps one
(job_history_enable). Without, all that is ever said is that the server does not know it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from schedulers import texts
from schedulers.base import (
    LOOKUP_JOBS_MAX,
    TAG,
    Command,
    Completed,
    JobName,
    JobState,
    OtherForm,
    PilotSpec,
    Queue,
    Report,
    SchedulerError,
)
from schedulers.pbsrecords import BrokenJson, Record, from_json, from_text, jobs_from_text
from schedulers.pbswords import ARRAY, EXITS, report
from schedulers.script import job_script

COMMANDS = ("qsub", "qstat", "qdel")
UNKNOWN_ID, FINISHED = 153, 35  # exit statuses: PBSE_UNKJOBID, PBSE_HISTJOBID modulo 256
_MEBIBYTE = 1 << 20
_JOB = re.compile(r"(\d{1,12})(?:\[(\d{0,9})\])?(\.[\w.-]{1,255})?")
_RESOURCE = re.compile(r"[A-Za-z][\w-]{0,63}")
_VALUE = re.compile(r"[\w.@/%-]{1,200}")
_PLAIN = re.compile(r"[\w.@+=][\w.@+=-]{0,199}")
_UNKNOWN = re.compile(  # a word is read from its beginning, so that endless ones cost nothing
    r"Unknown Job Id(?: Error)?:? (\S{1,300})|(?<!\S)(\d\S{0,300})[: ]{1,9}Job has finished|"
    r"Job has finished,? (\d\S{0,300})"
)
_GONE = re.compile(
    r"Unknown Job Id|Job has finished|Request invalid for (state of job|finished array subjob)",
    re.IGNORECASE,
)
# What a server says instead of making a job (pbs_error.h; Torque's qsub puts it into brackets), and
# qsub before it asks.
_REFUSED = re.compile(
    r"^qsub: (?:submit error \()?"
    r"(?:Unknown queue|Unknown resource|Illegal attribute|illegal -|Job violates|"
    r"Queue is not enabled|Unauthorized Request|Invalid account|Bad UID|Job rejected by)",
    re.MULTILINE,
)
# As many jobs as may be, each subjob being one: max_queued, max_queued_res, queued_jobs_threshold
# and max_array_size of pbs_server_attributes(7B), in the words of OpenPBS's pbs_messages.c; and
# max_queuable and max_user_queuable of Torque's pbs_queue_attributes(7B), in those of its
# pbs_error_db.h.
_FEWER = re.compile(
    r"^qsub: (?:submit error \()?"
    r"(?:would exceed |Maximum number of jobs |Array job exceeds server or queue size limit)",
    re.MULTILINE,
)


class Pbs:
    """One PBS server.

    name: of the site section. commands: other names for COMMANDS. python: what runs the pilot, if
    not python3. gpu, disk: what the site calls these resources of a host; "" are not asked for.
    Raises ValueError for commands that PBS does not have.
    """

    exits = EXITS

    def __init__(
        self,
        name: str = "pbs",
        *,
        commands: Mapping[str, str] | None = None,
        python: str = "",
        gpu: str = "ngpus",
        disk: str = "",
    ) -> None:
        self.name = name
        self._commands = texts.Commands(COMMANDS, commands or {})
        self._python = python
        self._gpu, self._disk = gpu, disk

    # Is it there?

    def programs(self) -> list[str]:
        return self._commands.programs()

    def version(self) -> Command:
        return Command(self._commands.argv("qstat", "-B", "-f"))

    def version_of(self, done: Completed) -> str:
        servers = from_text(texts.whole(done, "qstat -B"), "qstat -B")
        for server, record in servers.items():
            version, state = record.get("pbs_version", "?"), record.get("server_state", "?")
            return texts.harmless(f"PBS {version}, server {server}: {state}", 80)
        raise SchedulerError(f"qstat shows no server: {texts.harmless(done.out, 80)!r}")

    # Submit.

    def submit(self, spec: PilotSpec) -> Command:
        assert TAG.fullmatch(spec.name), spec.name
        assert spec.count >= 1
        words = ["-N", spec.name, "-S", "/bin/sh", "-j", "oe", "-m", "n"]
        words += ["-o", self._log_pattern(spec)]
        words += self._array(spec)
        words += self._wishes(spec)
        if spec.queue:
            words += ["-q", _value(spec.queue, "queue")]
        if spec.account:
            words += ["-A", _value(spec.account, "account")]
        words += [texts.word(option, "an option") for option in spec.options]
        lines = [*spec.lines]
        if spec.folder:  # jobs begin in the home folder, and qsub has no option for another one
            lines.append(f"cd {shlex.quote(texts.word(spec.folder, 'folder'))} || exit 1")
        script = job_script(spec.argv, python=self._python, lines=lines)
        return Command(self._commands.argv("qsub", *words), script)

    def rehearse(self, spec: PilotSpec) -> None:
        """PBS has no such thing: a queue's limits are all that can be asked beforehand."""
        self.submit(spec)

    def rehearsed(self, done: Completed, spec: PilotSpec) -> str:
        return ""

    def _log_pattern(self, spec: PilotSpec) -> str:
        """For qsub -o, which takes HOST:PATH and knows ^array_index^."""
        if bad := re.search(r"[:^,\\]|^-", spec.log):
            shown = texts.harmless(spec.log, 80)
            raise SchedulerError(f"log {shown!r}: no {bad[0]!r} is allowed")
        return f"{texts.word(spec.log, 'log')}.{'^array_index^' if spec.count > 1 else 0}"

    def _array(self, spec: PilotSpec) -> Iterator[str]:
        """An array has to be rerunnable: qsub(1B), -r."""
        if spec.count > 1:
            yield from ("-J", f"0-{spec.count - 1}")
        else:
            yield from ("-r", "n")  # a pilot that starts again would find its token used up

    def _wishes(self, spec: PilotSpec) -> Iterator[str]:
        chunk = ["1", f"ncpus={spec.cpu}"]
        if spec.memory_bytes:
            chunk.append(f"mem={texts.in_units(spec.memory_bytes, _MEBIBYTE)}mb")
        if spec.gpu and self._gpu:
            chunk.append(f"{self._gpu}={spec.gpu}")
        if spec.disk_bytes and self._disk:
            chunk.append(f"{self._disk}={texts.in_units(spec.disk_bytes, _MEBIBYTE)}mb")
        chunk += [f"{name}={value}" for name, value in extra(spec)]
        yield from ("-l", f"select={':'.join(chunk)}")
        if spec.time_s is not None:
            yield from ("-l", f"walltime={texts.clock(spec.time_s)}")

    def submitted(self, done: Completed, spec: PilotSpec) -> list[JobName]:
        texts.refused(done, "qsub", _REFUSED, _FEWER)
        lines = texts.whole(done, "qsub").split("\n")
        found = [match for line in lines if (match := _JOB.fullmatch(line.strip()))]
        if len(found) != 1 or (found[0][2] is None) != (spec.count == 1) or found[0][2]:
            raise SchedulerError(f"qsub named no such job: {texts.harmless(done.out, 120)!r}")
        number, server = found[0][1], found[0][3] or ""
        if spec.count == 1:
            return [JobName(f"{number}{server}")]
        return [JobName(f"{number}[{index}]{server}") for index in range(spec.count)]

    def log_file(self, log: str, job: JobName) -> str:
        return f"{log}.{index_of(job) or 0}"

    # List.

    def listing(self) -> Command:
        return Command(self._commands.argv("qstat", "-f", "-t", "-F", "json"))

    def listed(self, done: Completed) -> dict[JobName, Report]:
        """Of JSON that is none, the text is asked for. Both are told by how they begin."""
        text = texts.whole(done, "qstat", lines=False)
        first = re.search(r"^(Job Id:|[ \t]*\{)", text, re.MULTILINE)
        if first is None:
            raise SchedulerError(f"qstat: printed no jobs: {texts.harmless(text, 80)!r}")
        if first[0] == "Job Id:":
            return self._living(jobs_from_text(text, "qstat"))
        try:
            return self._living(from_json(text, "qstat"))
        except BrokenJson as error:
            raise OtherForm(str(error), self._as_text()) from None

    def _as_text(self) -> Command:
        return Command(self._commands.argv("qstat", "-f", "-t"))

    def _living(self, records: Mapping[str, Record]) -> dict[JobName, Report]:
        return {job: each for job, each in self._reports(records).items() if not each.state.over}

    def _reports(self, records: Mapping[str, Record]) -> dict[JobName, Report]:
        """Ours, without arrays as such."""
        return {
            JobName(job): report(record, self.exits)
            for job, record in records.items()
            if texts.tag_of(record.get("Job_Name", "")) and not _is_array(job, record)
        }

    # Look up.

    def lookup(self, jobs: Sequence[JobName], tags: Sequence[str]) -> Sequence[Command]:
        """As text: of several jobs, qstat may give the first alone as JSON."""
        assert len(jobs) <= LOOKUP_JOBS_MAX
        if not jobs:
            return [Command(self._commands.argv("qstat", "-x", "-f", "-t", "-F", "json"))]
        which = list(dict.fromkeys(map(whole_array, jobs)))
        return [
            Command(self._commands.argv("qstat", "-x", "-f", "-t", *which)),
            Command(self._commands.argv("qstat", "-f", "-t", *which)),
        ]

    def looked_up(
        self, number: int, done: Completed, jobs: Sequence[JobName]
    ) -> dict[JobName, Report]:
        if done.status not in (0, UNKNOWN_ID, FINISHED):
            raise SchedulerError(f"qstat: {texts.complaint(done)}")
        text = texts.uncut(done, "qstat", lines=False)
        if not jobs:
            try:
                return self._reports(from_json(text, "qstat"))
            except BrokenJson as error:
                raise SchedulerError(str(error)) from None
        found = self._reports(jobs_from_text(text, "qstat"))
        denied = Report(JobState.UNKNOWN, "the server does not know it", denied=True)
        finished = Report(JobState.ENDED, "the server says that it has finished")
        named: dict[str, list[JobName]] = {}
        for job in jobs:
            for word in {str(job), whole_array(job)}:
                named.setdefault(word, []).append(job)
        for match in _UNKNOWN.finditer(texts.plain(done.err)):
            word = next(each for each in match.groups() if each)
            for job in named.pop(word, ()):
                found.setdefault(job, denied if match[1] else finished)
        return {job: found[job] for job in jobs if job in found}

    # Cancel.

    def cancel(self, jobs: Sequence[JobName]) -> Command:
        return Command(self._commands.argv("qdel", *jobs))

    def cancelled(self, done: Completed) -> None:
        lines = texts.told(done, "qdel")
        wrong = [line for line in lines if not _GONE.search(line)]
        if done.status != 0 and (wrong or not lines):
            words = texts.harmless(" · ".join(wrong[-3:])) or texts.complaint(done)
            raise SchedulerError(f"qdel: {words}")

    # Describe.

    def describe(self, job: JobName) -> Command:
        """A subjob that has not begun has no comment of its own, but its array has."""
        return Command(self._commands.argv("qstat", "-f", *dict.fromkeys((whole_array(job), job))))

    def described(self, done: Completed) -> str:
        if done.status not in (0, UNKNOWN_ID):
            raise SchedulerError(f"qstat: {texts.complaint(done)}")
        text = texts.uncut(done, "qstat", lines=False)
        words = [report(each).words for each in jobs_from_text(text, "qstat").values()]
        return next((each for each in reversed(words) if each), "")

    # Limits.

    def limits(self) -> Command:
        return Command(self._commands.argv("qstat", "-Q", "-f"))

    def limits_of(self, done: Completed) -> list[Queue]:
        queues = from_text(texts.whole(done, "qstat -Q"), "qstat -Q")
        try:
            return [_queue(name, queue, self._gpu) for name, queue in queues.items()]
        except ValueError as error:
            raise SchedulerError(f"qstat -Q: {error}") from None


def _value(value: str, what: str) -> str:
    """One word that cannot be taken for an option, nor for more where a site wraps commands."""
    if not _PLAIN.fullmatch(value):
        shown = texts.harmless(value, 40)
        raise SchedulerError(f"{what} is {shown!r}; letters, digits and . _ @ + = - only")
    return value


def extra(spec: PilotSpec) -> Iterator[tuple[str, str]]:
    for name, value in spec.extra.items():
        if not _RESOURCE.fullmatch(name):
            raise SchedulerError(f"extra {texts.harmless(name, 40)!r} is no resource's name")
        if not _VALUE.fullmatch(value):
            shown = texts.harmless(value, 40)
            raise SchedulerError(f"extra {name} is {shown!r}; letters, digits and ._@/%- only")
        yield name, value


def _parts(job: str) -> tuple[str, str | None, str]:
    match = _JOB.fullmatch(job)
    assert match is not None, job
    return match[1], match[2], match[3] or ""


def index_of(job: JobName) -> str:
    return _parts(job)[1] or ""


def whole_array(job: JobName) -> str:
    """176[].server for a subjob; a single job itself."""
    number, index, server = _parts(job)
    return f"{number}{'' if index is None else '[]'}{server}"


def _is_array(job: str, record: Record) -> bool:
    return "[]" in job or record.get("job_state") == ARRAY


def _queue(name: str, queue: Record, gpu: str) -> Queue:
    """Raises ValueError."""
    closed = [words for key, words in (("enabled", "takes no jobs"), ("started", "is stopped"))
              if queue.get(key, "True").lower() not in ("true", "yes")]  # fmt: skip
    cpu, gpus = queue.get("resources_max.ncpus"), queue.get(f"resources_max.{gpu}")
    return Queue(
        name=texts.harmless(name, 80),
        time_s_max=texts.seconds_of(queue.get("resources_max.walltime", "")),
        cpu_max=None if cpu is None else int(cpu),
        memory_bytes_max=texts.size_bytes(queue.get("resources_max.mem", "")),
        gpu_max=None if gpus is None else int(gpus),
        open=not closed,
        words=f"the queue {' and '.join(closed)}" if closed else "",
    )
