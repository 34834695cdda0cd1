"""Grid Engine 8.1.9 and its forks: qsub, qstat, qacct, qdel, qconf. Pure.

One submission is an array job: its tasks are called 47.1, 47.2, ...; a single job 47. Resources are
whatever a site calls them: the names are settings. An account is a project (-P): sge_project(5).

A job that is over is absent from qstat, and qacct tells how it ended: of those that ran. One that
was deleted while it waited leaves no trace but that the master, asked for it by its number, does
not know it. qacct is some seconds late (flush_time in sge_conf(5)): so says the master of every
job that has just ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from schedulers import texts
from schedulers.base import (
    LOOKUP_JOBS_MAX,
    TAG,
    WORDS_MAX,
    Command,
    Completed,
    JobName,
    PilotSpec,
    Queue,
    Refused,
    Report,
    SchedulerError,
)
from schedulers.script import job_script
from schedulers.sgeread import (
    JOB,
    beside_others,
    job_name,
    queues_of,
    records_of,
    rows_of,
    texts_in,
    tree_of,
    unknown_to_master,
)
from schedulers.sgewords import ended

COMMANDS = ("qsub", "qstat", "qacct", "qdel", "qconf")
HISTORY_DAYS = 8  # how far back qacct reads when it looks for many submissions at once
TAGS_EACH_MAX = (
    8  # submissions that qacct is asked for one by one; it reads its whole file each time
)
_MEBIBYTE = 1 << 20
_SUBMITTED = re.compile(r"(\d{1,10})(?:\.(\d{1,9})-(\d{1,9}):1)?")
_RESOURCE = re.compile(r"[A-Za-z_][\w.-]{0,63}")
_GONE = re.compile(r'^(denied: )?job "\d+"( task "\d+")? does not exist$')
# The master is away (what commlib and gdi say then), or as many jobs wait as may.
_LATER = re.compile(
    r"commlib error|unable to (?:send message|contact)|can't (?:reach|resolve)"
    r"|Only \d+ jobs are allowed",
    re.I,
)
# What the master says instead of making a job, and qsub before it asks.
_REFUSED = re.compile(
    r"^Unable to run job: (?:job rejected|Job was rejected|unknown resource|Job \d+ .*cannot run)"
    r"|^qsub: (?:invalid|Unknown) option",
    re.MULTILINE,
)
# sge_conf(5): max_aj_tasks; max_u_jobs and max_jobs, to which an array is one job. Their words are
# in msg_qmaster.h, MSG_JOB_MORETASKSTHAN and MSG_JOB_ALLOWEDJOBSPER*; forks spell them otherwise.
_FEWER = re.compile(r"job rejected: you try to submit a job with more than \d+ tasks", re.I)
_FULL = re.compile(r"job rejected: only \d+ jobs are allowed per (?:user|cluster)", re.I)
_NO_RECORD = re.compile(r"^error: job \w+ \S+ not found$", re.MULTILINE)
# Nothing has ended since the cluster was made, or this host does not see its accounting.
_NO_FILE = re.compile(r"^/\S*/accounting: No such file or directory$", re.MULTILINE)
_DELETED = re.compile(r"^\S+ has (deleted|registered the) job(-array task)? ")
_IN_ERROR = " (in error state: qmod -cj once that is mended, or qdel)"
_WHEN = re.compile(r"^[\d/]{8,10} [\d:]{8} \[\d+:\d+\]: ")  # and in which process


class Sge:
    """One Grid Engine.

    name: of the site section. commands: other names for COMMANDS. python: what runs the pilot, if
    not python3. pe: the parallel environment in which slots are cores of one host. memory, gpu,
    disk: what the site calls these resources; "" are not asked for. per_job: those of them that a
    job asks for as a whole, while others count for each slot (consumable JOB and YES in
    sge_complex(5)). Raises ValueError for commands that Grid Engine does not have.
    """

    def __init__(
        self,
        name: str = "sge",
        *,
        commands: Mapping[str, str] | None = None,
        python: str = "",
        pe: str = "smp",
        memory: str = "h_vmem",
        gpu: str = "gpu",
        disk: str = "",
        per_job: Iterable[str] = (),
    ) -> None:
        self.name = name
        self._commands = texts.Commands(COMMANDS, commands or {})
        self._python = python
        self._pe = pe
        self._names = {"memory": memory, "gpu": gpu, "disk": disk}
        self._per_job = frozenset(per_job)

    # Is it there?

    def programs(self) -> list[str]:
        return self._commands.programs()

    def version(self) -> Command:
        return Command(self._commands.argv("qstat", "-g", "c"))

    def version_of(self, done: Completed) -> str:
        lines = texts.whole(done, "qstat -g c").split("\n")
        start = next((at for at, line in enumerate(lines) if line.startswith("----")), None)
        if start is None:
            raise SchedulerError(f"qstat shows no queues: {texts.harmless(done.out, 80)!r}")
        queues = [line.split()[0] for line in lines[start + 1 :] if line.strip()]
        return texts.harmless(f"Grid Engine, {texts.counted(queues, 'queue')}", 80)

    # Submit.

    def submit(self, spec: PilotSpec) -> Command:
        assert TAG.fullmatch(spec.name), spec.name
        assert spec.count >= 1
        words = ["-terse", "-N", spec.name, "-S", "/bin/sh", "-b", "n", "-j", "y"]
        words += ["-r", "n"]  # a pilot that starts again would find its token used up
        words += ["-notify"]  # SIGUSR2 some time before SIGKILL: qsub(1)
        words += ["-o", _log_pattern(spec.log, array=spec.count > 1)]
        if spec.count > 1:
            words += ["-t", f"1-{spec.count}"]
        words += self._wishes(spec)
        words += [texts.word(option, "an option") for option in spec.options]
        script = job_script(spec.argv, python=self._python, lines=spec.lines)
        return Command(self._commands.argv("qsub", *words), script)

    def rehearse(self, spec: PilotSpec) -> Command:
        """-w v: the master judges the job against all queues as if they were empty: qsub(1).

        It comes last, so that no option of the admin's undoes it.
        """
        command = self.submit(spec)
        return Command([*command.argv, "-w", "v"], command.stdin)

    def rehearsed(self, done: Completed, spec: PilotSpec) -> str:
        if done.status != 0:
            words = texts.named("qsub", texts.complaint(done).removesuffix(" · Exiting."))
            raise (SchedulerError if _LATER.search(words) else Refused)(words)
        return texts.harmless(done.out, 120)

    def _wishes(self, spec: PilotSpec) -> Iterator[str]:
        """Options that depend on the submission."""
        if spec.folder:
            yield from ("-wd", _value(spec.folder, "folder"))
        if spec.cpu > 1:
            yield from ("-pe", _value(self._pe, "parallel environment"), str(spec.cpu))
        for resource, value in self._resources(spec):
            yield from ("-l", f"{resource}={value}")
        if spec.avoided:  # an expression of sge_types(1), "expression"
            yield from ("-l", f"hostname=!({'|'.join(spec.avoided)})")
        if spec.queue:
            yield from ("-q", _value(spec.queue, "queue"))
        if spec.account:
            yield from ("-P", _value(spec.account, "account"))

    def _resources(self, spec: PilotSpec) -> Iterator[tuple[str, str]]:
        if spec.time_s is not None:
            yield "h_rt", str(spec.time_s)
        for kind, size in (("memory", spec.memory_bytes), ("disk", spec.disk_bytes)):
            if size and (name := self._names[kind]):
                slots = 1 if kind in self._per_job else spec.cpu
                yield name, f"{texts.in_units(size, slots * _MEBIBYTE)}M"
        if spec.gpu and (name := self._names["gpu"]):
            slots = 1 if "gpu" in self._per_job else spec.cpu
            if spec.gpu % slots:
                raise SchedulerError(
                    f"{spec.gpu} GPU over {slots} slots: here {name} counts for each slot; ask for"
                    " a multiple, or say that it counts for the job (per_job)"
                )
            yield name, str(spec.gpu // slots)
        for name, value in spec.extra.items():
            if not _RESOURCE.fullmatch(name):
                raise SchedulerError(f"extra {texts.harmless(name, 40)!r} is no resource's name")
            if "," in value:
                raise SchedulerError(f"extra {name}: no comma is allowed in a value")
            yield name, texts.word(value, f"extra {name}")

    def submitted(self, done: Completed, spec: PilotSpec) -> list[JobName]:
        texts.refused(done, "qsub", _REFUSED, _FEWER, _FULL)
        lines = texts.whole(done, "qsub").split("\n")
        found = [match for line in lines if (match := _SUBMITTED.fullmatch(line.strip()))]
        if len(found) != 1 or (found[0][2], found[0][3]) != (
            (None, None) if spec.count == 1 else ("1", str(spec.count))
        ):
            raise SchedulerError(f"qsub named no such job: {texts.harmless(done.out, 120)!r}")
        if spec.count == 1:
            return [JobName(found[0][1])]
        return [JobName(f"{found[0][1]}.{task}") for task in range(1, spec.count + 1)]

    def log_file(self, log: str, job: JobName) -> str:
        return f"{log}.{job.partition('.')[2] or 0}"

    # List.

    def listing(self) -> Command:
        # "$user" is qstat's own word for this account: qstat(1), -u
        return Command(self._commands.argv("qstat", "-xml", "-g", "d", "-u", "$user"))

    def listed(self, done: Completed) -> dict[JobName, Report]:
        return {job: report for job, report in rows_of(done).items() if report.tag}

    # Look up.

    def lookup(self, jobs: Sequence[JobName], tags: Sequence[str]) -> Sequence[Command]:
        assert len(jobs) <= LOOKUP_JOBS_MAX
        commands = [["-j", tag] for tag in tags[:TAGS_EACH_MAX]]
        if len(tags) > TAGS_EACH_MAX:
            first, last = min(tags), max(tags)
            same = next(
                at for at, pair in enumerate(zip(first, last, strict=False)) if len({*pair}) > 1
            )
            commands.insert(0, ["-d", str(HISTORY_DAYS), "-j", f"{first[:same]}*"])
        found = [Command(self._commands.argv("qacct", *words)) for words in commands]
        if jobs:
            numbers = dict.fromkeys(job.partition(".")[0] for job in jobs)
            known = self._commands.argv("qstat", "-xml", "-j", ",".join(numbers))
            found += [self.listing(), Command(known)]
        return found

    def looked_up(
        self, number: int, done: Completed, jobs: Sequence[JobName]
    ) -> dict[JobName, Report]:
        """Each kind of answer is told by how it begins.

        An accounting that is not there has nothing to tell of jobs that have left, but is no answer
        to the question whether a submission ever was made.
        """
        text = texts.plain(done.out[:4096]).lstrip()
        if "<detailed_job_info" in text or "<unknown_jobs" in text:
            return unknown_to_master(done, jobs)
        if "<job_info" in text:
            return beside_others(rows_of(done), jobs)
        words = texts.plain(done.err)
        if done.status == 1 and (_NO_RECORD.search(words) or (jobs and _NO_FILE.search(words))):
            return {}
        found = {}
        for record in records_of(texts.whole(done, "qacct")):
            report = ended(record)
            if report is not None:  # a later record of a job takes the place of one before
                found[job_name(record["jobnumber"], record["taskid"])] = report
        return {job: found[job] for job in (jobs or found) if job in found}

    # Cancel.

    def cancel(self, jobs: Sequence[JobName]) -> Command:
        return Command(self._commands.argv("qdel", *_ranges(jobs)))

    def cancelled(self, done: Completed) -> None:
        lines = texts.told(done, "qdel")
        if done.status == 0:
            return
        told = [line for line in lines if _GONE.search(line) or _DELETED.search(line)]
        if not told or len(told) < len(lines):
            wrong = next((line for line in lines if line not in told), texts.complaint(done))
            raise SchedulerError(f"qdel: {texts.harmless(wrong)}")

    # Describe.

    def describe(self, job: JobName) -> Command:
        return Command(self._commands.argv("qstat", "-xml", "-j", job.partition(".")[0]))

    def described(self, done: Completed) -> str:
        """What went wrong at its start; else what the scheduler says of it; else of all jobs."""
        tree = tree_of(done, "qstat -j", ("detailed_job_info", "unknown_jobs"))
        for outer, inner in (
            ("JAT_message_list", "QIM_message"),
            ("SME_message_list", "MES_message"),
            ("SME_global_message_list", "MES_message"),
        ):
            found = dict.fromkeys(_WHEN.sub("", each) for each in texts_in(tree, outer, inner))
            if found:
                more = _IN_ERROR if inner == "QIM_message" else ""
                return texts.harmless(" · ".join(list(found)[:4]), WORDS_MAX - len(more)) + more
        return ""

    # Limits.

    def limits(self) -> Command:
        return Command(self._commands.argv("qconf", "-sq", "*"))

    def limits_of(self, done: Completed) -> list[Queue]:
        return queues_of(texts.whole(done, "qconf -sq"))


# What we write.


def _value(value: str, what: str) -> str:
    """One word that cannot be taken for an option."""
    if value.startswith(("-", "@")):
        raise SchedulerError(f"{what} {texts.harmless(value, 40)!r} begins with {value[0]!r}")
    return texts.word(value, what)


def _log_pattern(log: str, *, array: bool) -> str:
    """For qsub -o, which reads $ and knows HOST:PATH,...: qsub(1), -e."""
    if bad := re.search(r"[$:,]", log):
        raise SchedulerError(f"log {texts.harmless(log, 80)!r}: no {bad[0]!r} is allowed")
    return f"{_value(log, 'log')}.{'$TASK_ID' if array else 0}"


def _ranges(jobs: Iterable[JobName]) -> list[str]:
    """47.1-9 for many tasks of an array: sge_types(1), wc_job_range_list."""
    alone, tasks = texts.by_array(jobs, JOB)
    parts = ((array, part) for array, some in tasks.items() for part in texts.spans(some))
    return alone + [f"{array}.{part}" for array, part in parts]
