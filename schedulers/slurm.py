"""Slurm: sbatch, squeue, sacct, scancel, sinfo, scontrol, of version 20.11 or later. Pure.

One submission is a job array: jobs are called 4711_0, 4711_1, ...; a single one 4711. Everything is
said on the command line, after the `lines` of the admin and before the `options`, which win.

A job that has left the queue is looked up in the accounting (sacct). Where there is none, or it is
behind, the controller still knows a job for a while after its end (MinJobAge in slurm.conf(5),
300 s by default). Afterwards it denies the job, nobody says how it ended, and it stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from schedulers import slurmrecords as records
from schedulers import texts
from schedulers.base import (
    LOOKUP_JOBS_MAX,
    TAG,
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
from schedulers.slurmrecords import DENIED, JOB, STATE

COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "sinfo", "scontrol")
HISTORY = "now-7days"  # how far back a submission is looked for by its tag alone
_MEBIBYTE = 1 << 20
_SUBMITTED = re.compile(r"(\d{1,10})(?:;[\w.-]+)?")
_OPTION = re.compile(r"[a-z][a-z-]{0,40}")
_DENIED = re.compile(r"Invalid job id", re.IGNORECASE)
_GONE = re.compile(
    r"Invalid job id|already completing or completed|Job/step already|No active"
    r"|\bjob\b.* not found",  # a command can be not found, too
    re.IGNORECASE,
)
_NO_ACCOUNTING = re.compile(r"accounting storage is disabled", re.IGNORECASE)
_WOULD_START = re.compile(r"Job \d+ to start at (\S+) using .* on nodes (\S+)")
# What may be otherwise in a moment, of slurm_errno.h and its kin: the controller is away, the
# partition or its nodes are down or full.
_LATER = re.compile(
    r"contact slurm controller|connect failure|Connection refused|timed out|Zero Bytes|standby"
    r"|Required (?:partition|node) not available|Requested nodes are busy|temporarily"
    r"|violates accounting/QOS policy",  # of submitted jobs, for one
    re.IGNORECASE,
)
# Answers of the controller (slurm_errno.h), and of sbatch before it asked, after which there is no
# job. "Socket timed out" and its like are not among them.
_REFUSED = re.compile(
    r"Batch job submission failed: (?:Invalid|Requested|Required|Job violates|User's group|Access|"
    r"No partition|More processors|Memory required|Job's account|Pathname|Node count|Duplicate)"
    r"|^sbatch: (?:unrecognized|invalid|option )|^\S*sbatch: unrecognized option",
    re.MULTILINE,
)
# As many jobs as may be, each task of an array being one: sacctmgr(1), MaxSubmitJobs and
# GrpSubmitJobs, by the names of their reasons in slurm's src/common/job_state_reason.c; and
# slurm.conf(5), MaxArraySize.
_FEWER = re.compile(
    r"^sbatch: error: (?:Assoc|QOS)\w{0,40}Submit\w{0,40}Limit\b"
    r"|Batch job submission failed: Invalid job array specification",
    re.MULTILINE,
)


class Slurm:
    """One Slurm cluster.

    name: of the site section. commands: other names for COMMANDS, for wrappers, or for
    "squeue --clusters=x". python: what runs the pilot, if not python3. mark: begins our lines in
    the listing; a random one cannot be written into a job's name by somebody else. Raises
    ValueError for commands that Slurm does not have.
    """

    def __init__(
        self,
        name: str = "slurm",
        *,
        commands: Mapping[str, str] | None = None,
        python: str = "",
        mark: str = "floe",
    ) -> None:
        self.name = name
        self._commands = texts.Commands(COMMANDS, commands or {})
        self._python = python
        self._mark = f"{mark}|"

    # Is it there?

    def programs(self) -> list[str]:
        return self._commands.programs()

    def version(self) -> Command:
        return Command(self._commands.argv("scontrol", "show", "config"))

    def version_of(self, done: Completed) -> str:
        text = texts.whole(done, "scontrol show config")
        found = dict(re.findall(r"^(SLURM_VERSION|ClusterName) *= *(\S+)$", text, re.MULTILINE))
        if "SLURM_VERSION" not in found:
            raise SchedulerError(f"scontrol tells no version: {texts.harmless(text, 80)!r}")
        version, cluster = found["SLURM_VERSION"], found.get("ClusterName", "?")
        return texts.harmless(f"Slurm {version}, cluster {cluster}", 80)

    # Submit.

    def submit(self, spec: PilotSpec) -> Command:
        assert TAG.fullmatch(spec.name), spec.name
        assert spec.count >= 1
        words = [
            "--parsable",
            f"--job-name={spec.name}",
            "--no-requeue",  # a pilot that starts again would find its token used up
            "--export=NONE",  # the node's own environment is nobody's business
            "--nodes=1",
            "--ntasks=1",
            f"--cpus-per-task={spec.cpu}",
            f"--output={_log_pattern(spec.log, array=spec.count > 1)}",
        ]
        if spec.count > 1:
            words.append(f"--array=0-{spec.count - 1}")
        words += [f"--{option}={value}" for option, value in _wishes(spec)]
        words += [texts.word(option, "an option") for option in spec.options]
        # srun within a payload is to see its environment: sbatch(1), --export=NONE
        lines = [*spec.lines, "unset SLURM_EXPORT_ENV"]
        script = job_script(spec.argv, python=self._python, lines=lines)
        return Command(self._commands.argv("sbatch", *words), script)

    def submitted(self, done: Completed, spec: PilotSpec) -> list[JobName]:
        texts.refused(done, "sbatch", _REFUSED, _FEWER)
        text = texts.whole(done, "sbatch")
        lines = [line.strip() for line in text.split("\n")]
        found = [match[1] for line in lines if (match := _SUBMITTED.fullmatch(line))]
        if len(found) != 1:
            raise SchedulerError(f"sbatch named no job: {texts.harmless(text, 120)!r}")
        if spec.count == 1:
            return [JobName(found[0])]
        return [JobName(f"{found[0]}_{task}") for task in range(spec.count)]

    def log_file(self, log: str, job: JobName) -> str:
        return f"{log}.{job.partition('_')[2] or 0}"

    def rehearse(self, spec: PilotSpec) -> Command:
        """--test-only comes last: no option of the admin's undoes it."""
        command = self.submit(spec)
        return Command([*command.argv, "--test-only"], command.stdin)

    def rehearsed(self, done: Completed, spec: PilotSpec) -> str:
        """sbatch tells on stderr when and where it would start."""
        if done.status != 0:
            words = texts.named("sbatch", texts.complaint(done))
            raise (SchedulerError if _LATER.search(words) else Refused)(words)
        found = _WOULD_START.search(texts.plain(done.err + done.out))
        return texts.harmless(f"would start {found[1]} on {found[2]}", 120) if found else ""

    # List.

    def listing(self) -> Command:
        return self._squeue("--me")

    def listed(self, done: Completed) -> dict[JobName, Report]:
        jobs = self._read(texts.whole(done, "squeue"))
        return {job: report for job, report in jobs.items() if not report.state.over}

    def _squeue(self, *words: str) -> Command:
        """All states, so that SQUEUE_STATES in somebody's profile hides none."""
        form = f"--format={self._mark}%i|%T|%N|%r|%j"
        more = ("--noheader", "--array", "--all", "--states=all", form, *words)
        return Command(self._commands.argv("squeue", *more))

    def _read(self, text: str) -> dict[JobName, Report]:
        """Our jobs in what `_squeue` prints.

        A row with more fields than five is a foreign job's, with a separator in its name. Raises
        SchedulerError for a row of ours that makes no sense, or comes twice.
        """
        found: dict[JobName, Report] = {}
        for row in texts.rows(text, self._mark):
            fields = row.split("|")
            if len(fields) != 5 or not texts.tag_of(fields[4]):
                continue
            job, state, host, reason, tag = fields
            if not JOB.fullmatch(job) or not STATE.fullmatch(state) or job in found:
                raise SchedulerError(f"squeue: cannot read {texts.harmless(row, 120)!r}")
            found[JobName(job)] = Report(
                records.state_of(state, reason),
                records.words_of(state, reason),
                None,
                records.host_of(host),
                tag,
            )
        return found

    # Look up.

    def lookup(self, jobs: Sequence[JobName], tags: Sequence[str]) -> Sequence[Command]:
        assert len(jobs) <= LOOKUP_JOBS_MAX
        form = "--format=JobID,State,ExitCode,NodeList,JobName"
        arrays = dict.fromkeys(job.partition("_")[0] for job in jobs)  # for the reason, see _of
        which = [f"--jobs={','.join(arrays)}"] if jobs else [f"--name={','.join(tags)}"]
        since = [] if jobs else [f"--starttime={HISTORY}"]
        words = ("--noheader", "--parsable2", "--allocations", form, *which, *since)
        fields = f"JobArrayID:24|{self._mark},State:24|,exit_code:12|,NodeList:80|,Reason:160|"
        # With its header, which says that the controller has answered.
        rows = ("--array", "--all", "--states=all", f"--Format={fields},Name:48|")
        mine = [] if jobs else ["--me"]  # others may call their jobs as ours are called
        return [
            Command(self._commands.argv("sacct", *words)),
            Command(self._commands.argv("squeue", *rows, *which, *mine)),
        ]

    def looked_up(
        self, number: int, done: Completed, jobs: Sequence[JobName]
    ) -> dict[JobName, Report]:
        if number == 0:
            return self._accounted(done, jobs)
        if jobs and _denies(done):  # how squeue speaks of a single one
            return dict.fromkeys(jobs, DENIED)
        known, answered = records.remembered(texts.whole(done, "squeue"), self._mark)
        found = {job: each for job in jobs or known if (each := records.of(job, known))}
        if answered:
            found |= {job: DENIED for job in jobs if not records.names(job, known)}
        return found

    def _accounted(self, done: Completed, jobs: Sequence[JobName]) -> dict[JobName, Report]:
        """What sacct tells of the dead: of the living it may be long behind.

        Its daemon was down, or a job got lost.
        """
        if done.status != 0 and _NO_ACCOUNTING.search(texts.complaint(done)):
            return {}
        known = records.accounted(texts.whole(done, "sacct"))
        found = ((job, records.of(job, known)) for job in jobs or known)
        return {job: each for job, each in found if each and each.state.over}

    # Cancel.

    def cancel(self, jobs: Sequence[JobName]) -> Command:
        return Command(self._commands.argv("scancel", *_ranges(jobs)))

    def cancelled(self, done: Completed) -> None:
        if done.status != 0 and not _only_gone(done):
            raise SchedulerError(f"scancel: {texts.complaint(done)}")

    # Describe.

    def describe(self, job: JobName) -> Command:
        return self._squeue(f"--jobs={job}")

    def described(self, done: Completed) -> str:
        if _denies(done):
            return ""
        jobs = self._read(texts.whole(done, "squeue"))
        return next((report.words for report in jobs.values()), "")

    # Limits.

    def limits(self) -> Command:
        form = f"--format={self._mark}%P|%a|%l|%c|%m|%T|%G"
        return Command(self._commands.argv("sinfo", "--noheader", "--exact", form))

    def limits_of(self, done: Completed) -> list[Queue]:
        groups: dict[str, list[list[str]]] = {}
        for row in texts.rows(texts.whole(done, "sinfo"), self._mark):
            fields = row.split("|")
            if len(fields) != 7:
                raise SchedulerError(f"sinfo: cannot read {texts.harmless(row, 120)!r}")
            groups.setdefault(fields[0], []).append(fields)
        try:
            return [_queue(name, rows) for name, rows in groups.items()]
        except ValueError as error:
            raise SchedulerError(f"sinfo: {error}") from None


def _log_pattern(log: str, *, array: bool) -> str:
    """For sbatch --output, which reads % itself: sbatch(1), "filename pattern"."""
    if "\\" in log:
        raise SchedulerError(f"log {texts.harmless(log, 80)!r}: no backslash is allowed")
    return texts.word(log, "log").replace("%", "%%") + (".%a" if array else ".0")


def _wishes(spec: PilotSpec) -> Iterator[tuple[str, str]]:
    """Options of sbatch that depend on the submission."""
    if spec.folder:
        yield "chdir", texts.word(spec.folder, "folder")
    if spec.memory_bytes:
        yield "mem", f"{texts.in_units(spec.memory_bytes, _MEBIBYTE)}M"
    if spec.gpu:
        yield "gres", f"gpu:{spec.gpu}"
    if spec.time_s is not None:
        days, rest = divmod(spec.time_s, 86_400)
        yield "time", f"{days}-{texts.clock(rest)}"
    if spec.queue:
        yield "partition", texts.word(spec.queue, "queue")
    if spec.account:
        yield "account", texts.word(spec.account, "account")
    if spec.avoided:
        yield "exclude", ",".join(spec.avoided)
    for option, value in spec.extra.items():
        if not _OPTION.fullmatch(option):
            shown = texts.harmless(option, 40)
            raise SchedulerError(f"extra {shown!r} is no long option of sbatch, such as constraint")
        yield option, texts.word(value, f"extra {option}")


def _only_gone(done: Completed) -> bool:
    """Whether all that a command complains of is that jobs are gone."""
    return _only(_GONE, done)


def _denies(done: Completed) -> bool:
    """Whether a command fails because the controller knows no such job."""
    return done.status != 0 and _only(_DENIED, done)


def _only(words: re.Pattern[str], done: Completed) -> bool:
    lines = [line for line in texts.plain(done.err).split("\n") if line.strip()]
    return bool(lines) and all(words.search(line) for line in lines)


def _ranges(jobs: Iterable[JobName]) -> list[str]:
    """4711_[0-9,12] for many tasks of an array: one request instead of one for each."""
    alone, tasks = texts.by_array(jobs, JOB)
    return alone + [f"{array}_[{texts.tasks_text(some)}]" for array, some in tasks.items()]


def _queue(name: str, rows: Sequence[Sequence[str]]) -> Queue:
    """A partition, from its groups of equal nodes. Raises ValueError."""
    available, time = rows[0][1], rows[0][2]
    # A star: it does not respond, and gets no new work (sinfo(1), NODE STATE CODES).
    usable = [row for row in rows if not re.match(r"down|drain|fail|unk|.*\*$", row[5])]
    open_ = available == "up"
    no_node = "" if usable else "no node is up: " + ", ".join(sorted({row[5] for row in rows}))
    sizes = [texts.size_bytes(row[4].rstrip("+"), unit="M") or 0 for row in rows]
    return Queue(
        name=texts.harmless(name.rstrip("*"), 80),
        time_s_max=texts.seconds_of(time),
        cpu_max=max(int(row[3].rstrip("+")) for row in rows) or None,
        memory_bytes_max=max(sizes) or None,
        gpu_max=max(_gpus(row[6]) for row in rows),
        default=name.endswith("*"),
        open=open_,
        words=texts.harmless(no_node if open_ else f"the partition is {available}"),
    )


def _gpus(gres: str) -> int:
    """GPUs in "gpu:tesla:2(S:0-1),mps:100". A kind without a number is one."""
    kinds = re.sub(r"\([^()]*\)", "", gres).split(",")
    counts = [kind.split(":")[-1] for kind in kinds if re.match(r"gpu(:|$)", kind)]
    return sum(int(count) if count.isdigit() else 1 for count in counts)
