"""HTCondor: submit descriptions, and what condor_q, condor_history and condor_status tell. Pure.

Pilots and their settings travel by HTCondor's own file transfer, logs come back the same way: no
shared disk is needed. A pilot starts once: after an eviction it is removed, not started again,
since its site hands its work to others and submits a new one.

Source: HTCondor manual 23.0, manual pages of the commands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from schedulers import htcondor_ads as read
from schedulers import texts
from schedulers.base import (
    LOOKUP_JOBS_MAX,
    Command,
    Completed,
    JobName,
    OtherForm,
    PilotSpec,
    Queue,
    Refused,
    Report,
    SchedulerError,
)
from schedulers.htcondor_submit import description

COMMANDS = (
    *("condor_submit", "condor_q", "condor_history", "condor_rm", "condor_status", "condor_ping"),
)
HISTORY_JOBS_MAX = 100_000  # read back in the history before a job counts as not found
TAGGED_JOBS_MAX = 10_000  # of submissions whose jobs are not known
_CLUSTER = re.compile(r"(\d{1,9})\.(\d{1,9}) - (\d{1,9})\.(\d{1,9})")
_JOB = re.compile(r"(\d{1,9})\.(\d{1,9})")
_GONE = re.compile(r"Job \d+\.\d+ (?:not found|(?:already )?marked for (?:forced )?removal)")
_LATER = re.compile(
    r"Can't find address|Failed to (?:connect|fetch)|communication error|timed? ?out"
)
# Complaints of a description, before a schedd is asked.
_REFUSED = re.compile(
    r"\AUsage:|^ERROR: (?:Parse error|Invalid|No such directory|on Line|I don't know)", re.MULTILINE
)
# As many jobs as may be: MAX_JOBS_SUBMITTED and its kin of the configuration, in the words of
# condor_submit (submit.cpp), which leaves its transaction with the schedd undone then.
_FEWER = re.compile(r"would exceed MAX_JOBS_(?:SUBMITTED|PER_OWNER|PER_SUBMISSION)\b")
_OURS = 'regexp("^floe-", JobBatchName)'


class HTCondor:
    """One schedd.

    name: of the site section. commands: other names for COMMANDS, for wrappers. python: the first
    Python to try on a worker. schedd: another one than this host's usual one; it must see the files
    of this host. pool: the collector that knows it. Raises ValueError for commands that HTCondor
    does not have.
    """

    def __init__(
        self,
        name: str = "htcondor",
        *,
        commands: Mapping[str, str] | None = None,
        python: str = "",
        schedd: str = "",
        pool: str = "",
    ) -> None:
        self.name = name
        self._commands = texts.Commands(COMMANDS, commands or {})
        self._python = python
        self._pool = ["-pool", pool] if pool else []
        self._schedd = [*(["-name", schedd] if schedd else []), *self._pool]

    def _argv(self, command: str, *words: str) -> list[str]:
        """The command line of one that speaks to the schedd."""
        return self._commands.argv(command, *self._schedd, *words)

    def programs(self) -> list[str]:
        return self._commands.programs()

    def version(self) -> Command:
        """Asks the schedd whether this account may submit; it answers with its version."""
        return Command(self._argv("condor_ping", "-type", "SCHEDD", "-verbose", "WRITE"))

    def version_of(self, done: Completed) -> str:
        text = read.whole(done, "condor_ping")
        version = re.search(r"^Remote Version: +\$CondorVersion: (\S{1,40})", text, re.MULTILINE)
        account = re.search(r"^Remote Mapping: +(\S{1,100})", text, re.MULTILINE)
        if version is None or account is None or not re.search(r"^Authorized: +TRUE", text, re.M):
            raise Refused(f"condor_ping: may not submit: {texts.harmless(text)!r}")
        return texts.harmless(f"HTCondor {version[1]}, as {account[1]}")

    # Submitting.

    def submit(self, spec: PilotSpec) -> Command:
        options = [texts.word(option, "an option") for option in spec.options]
        words = ["-terse", *options, "-"]
        lines = description(spec, self._python)
        text = "".join(f"{line}\n" for line in lines)
        return Command(self._argv("condor_submit", *words), text.encode())

    def rehearse(self, spec: PilotSpec) -> Command:
        """Reads the description, and prints the job instead of sending it to the schedd."""
        command = self.submit(spec)
        words = [*command.argv[:-1], "-dry-run", "-", command.argv[-1]]
        return Command(words, command.stdin)

    def rehearsed(self, done: Completed, spec: PilotSpec) -> str:
        """Warnings, such as of words in it that mean nothing to HTCondor."""
        if done.status != 0:
            words = f"condor_submit: {_rejection(done, spec)}"
            raise (SchedulerError if _LATER.search(words) else Refused)(words)
        lines = texts.plain(done.err).splitlines()
        return texts.harmless(" · ".join(each for each in lines if each.startswith("WARNING")))

    def submitted(self, done: Completed, spec: PilotSpec) -> list[JobName]:
        said = texts.plain(done.err[: 1 << 16]) if done.status > 0 else ""
        fewer = _FEWER.search(said) is not None
        if fewer or _REFUSED.search(said):
            raise Refused(f"condor_submit: {_rejection(done, spec)}", fewer=fewer)
        text = read.whole(done, "condor_submit")
        found = [match for line in text.splitlines() if (match := _CLUSTER.fullmatch(line.strip()))]
        if len(found) != 1:
            raise SchedulerError(f"condor_submit: printed {texts.harmless(text, 80)!r}")
        first, one, last, other = map(int, found[0].groups())
        if first != last or other - one + 1 != spec.count:
            raise SchedulerError(f"condor_submit: made {found[0][0]}, not {spec.count} jobs")
        return [JobName(f"{first}.{number}") for number in range(one, other + 1)]

    def log_file(self, log: str, job: JobName) -> str:
        return f"{log}.{_numbers(job)[1]}"

    # What became of jobs.

    def listing(self) -> Command:
        """Only jobs with a tag are sent: others may be very many."""
        words = ["-json", "-attributes", read.LISTED, "-constraint", _OURS]
        return Command(self._argv("condor_q", *words))

    def listed(self, done: Completed) -> dict[JobName, Report]:
        # Where there is nothing to tell, it prints nothing; a schedd that does not answer makes it
        # fail, so that silence with status 0 comes from the schedd. If something else than ads is
        # there, such as the greeting of a wrapper, the number of jobs tells whether they lack.
        text = read.whole(done, "condor_q")
        if not text.strip() or read.no_jobs(text):
            return {}
        if read.no_ads(text):
            words = ["-totals", "-constraint", _OURS]
            raise OtherForm(
                f"condor_q: printed no jobs, but {texts.harmless(text, 80)!r}",
                Command(self._argv("condor_q", *words)),
            )
        return read.queued(read.ads(text, "condor_q"))

    def lookup(self, jobs: Sequence[JobName], tags: Sequence[str]) -> Sequence[Command]:
        """One search in the history, from its newest end, no further than HISTORY_JOBS_MAX jobs."""
        asked = jobs[:LOOKUP_JOBS_MAX]
        most = len(asked) or TAGGED_JOBS_MAX
        bounds = ["-match", str(most), "-scanlimit", str(HISTORY_JOBS_MAX)]
        words = ["-json", "-attributes", read.ENDED, *bounds, "-constraint", _which(asked, tags)]
        return [Command(self._argv("condor_history", *words))]

    def looked_up(
        self, number: int, done: Completed, jobs: Sequence[JobName]
    ) -> dict[JobName, Report]:
        ads = read.ads(read.whole(done, "condor_history"), "condor_history")
        found = read.ended(ads)
        return {job: found[job] for job in jobs or found if job in found}

    def cancel(self, jobs: Sequence[JobName]) -> Command:
        for job in jobs:
            _numbers(job)
        return Command(self._argv("condor_rm", *jobs))

    def cancelled(self, done: Completed) -> None:
        """It fails if all jobs are gone, and not if it was refused some: its lines tell."""
        lines = texts.told(done, "condor_rm")
        refused = [line for line in lines if not _GONE.fullmatch(line)]
        if done.status < 0 or (done.status and not lines):
            raise SchedulerError(f"condor_rm: {read.why(done)}")
        if refused and (done.status or refused[0].startswith("Permission denied")):
            raise SchedulerError(f"condor_rm: {texts.harmless(refused[0])}")

    def describe(self, job: JobName) -> Command:
        _numbers(job)
        return Command(self._argv("condor_q", "-better-analyze", job))

    def described(self, done: Completed) -> str:
        return read.sentence(read.whole(done, "condor_q -better-analyze"))

    # What the pool has.

    def limits(self) -> Command:
        """All slots but those cut from others."""
        facts = "TotalSlotCpus,TotalSlotMemory,TotalSlotGPUs"
        words = ["-json", "-attributes", facts, "-constraint", 'SlotType =!= "Dynamic"']
        return Command(self._commands.argv("condor_status", *self._pool, *words))

    def limits_of(self, done: Completed) -> list[Queue]:
        """One nameless queue, as large as the largest slots."""
        text = read.whole(done, "condor_status")
        ads = read.ads(text, "condor_status") if text.strip() else []
        if not ads:
            return [Queue("", default=True, open=False, words="the pool has no slots")]
        memory = read.largest(ads, "TotalSlotMemory")  # MiB
        return [
            Queue(
                "",
                cpu_max=read.largest(ads, "TotalSlotCpus"),
                memory_bytes_max=None if memory is None else memory << 20,
                gpu_max=read.largest(ads, "TotalSlotGPUs") or 0,
                default=True,
            )
        ]


def _numbers(job: JobName) -> tuple[int, int]:
    """Cluster and process. Raises SchedulerError for what is no job of HTCondor's."""
    match = _JOB.fullmatch(job)
    if match is None:
        raise SchedulerError(f"HTCondor has no job {texts.harmless(job, 40)!r}")
    return int(match[1]), int(match[2])


def _rejection(done: Completed, spec: PilotSpec) -> str:
    """Why a description is refused: its first complaint; of options it prints its usage alone."""
    text = texts.plain(done.err)
    if spec.options and text.startswith("Usage:"):
        shown = texts.harmless(" ".join(spec.options), 80)
        return f"does not take all of these options: {shown!r}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((at for at, line in enumerate(lines) if not line.startswith("WARNING")), None)
    return read.why(done) if first is None else texts.harmless(" ".join(lines[first : first + 2]))


def _which(jobs: Sequence[JobName], tags: Sequence[str]) -> str:
    """These jobs, or all of these tags, as an expression.

    Ids come again when a schedd loses its spool, tags do not.
    """
    clusters: dict[int, list[int]] = {}
    for job in jobs:
        cluster, number = _numbers(job)
        clusters.setdefault(cluster, []).append(number)
    parts = [
        f"(ClusterId == {cluster} && ({' || '.join(f'ProcId == {each}' for each in numbers)}))"
        for cluster, numbers in sorted(clusters.items())
    ]
    names = ",".join(sorted({tag for tag in tags if texts.tag_of(tag)}))
    ours = [f'stringListMember(JobBatchName, "{names}")'] if names else []
    return " && ".join([*ours, *([f"({' || '.join(parts)})"] if parts else [])]) or "false"
