"""The server of the fake OpenPBS: its state in a folder, its scheduler, and who runs a job.

Every command takes the lock of the folder, reads the state, changes it, and writes it back. A job
is run by a process of its own, which enforces its wall time, obeys qdel, and starts what waited.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

SERVER = "pbshost"
ROOT = Path(__file__).parents[2]
QUEUES = {"workq": "", "short": "00:10:00"}  # with the longest wall time
TERM_S = 2.0  # between SIGTERM and SIGKILL
POLL_S = 0.05
WALLTIME_EXIT, DELETED_EXIT = -29, 271


@dataclass
class Settings:
    """flavour: "release" or "master", of the client. down, hung: the server. cpus, gpus: all."""

    flavour: str = "release"
    history: bool = True
    down: bool = False
    hung: bool = False
    cpus: int = 4
    gpus: int = 2


@dataclass
class Job:
    """A job, a subjob, or an array of subjobs. times in seconds since the epoch."""

    number: int
    name: str
    owner: str
    shell: str
    script: str
    output: str
    error: str
    ncpus: int = 1
    ngpus: int = 0
    mem: str = ""
    walltime_s: int = 0
    queue: str = "workq"
    index: int | None = None
    size: int = 0  # subjobs, of an array
    state: str = "Q"
    substate: int = 10
    hold: str = "n"
    exit: int | None = None
    comment: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    submitted: float = field(default_factory=time.time)
    changed: float = field(default_factory=time.time)

    @property
    def key(self) -> str:
        """Its id without the server."""
        inner = "" if self.index is None else str(self.index)
        return f"{self.number}[{inner}]" if self.size else str(self.number)

    @property
    def array(self) -> bool:
        return bool(self.size) and self.index is None

    @property
    def over(self) -> bool:
        return self.state in "FX"

    def end(self, substate: int, status: int | None, words: str) -> None:
        self.state, self.substate = "X" if self.size else "F", substate
        self.exit, self.changed = status, time.time()
        self.comment = f"{self.comment} and {words}"


class Server:
    """The state while the lock is held. Finished jobs are forgotten where no history is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(**json.loads((folder / "settings.json").read_text()))
        self.next, self.jobs = 0, dict[str, Job]()
        with contextlib.suppress(FileNotFoundError):
            state = json.loads((folder / "state.json").read_text())
            self.next = state["next"]
            self.jobs = {key: Job(**each) for key, each in state["jobs"].items()}

    def save(self) -> None:
        jobs = {key: asdict(job) for key, job in self.jobs.items()}
        fresh = self.folder / "state.new"
        fresh.write_text(json.dumps({"next": self.next, "jobs": jobs}))
        fresh.replace(self.folder / "state.json")

    def number(self) -> int:
        """Of the next job; a submission that fails uses one up as well."""
        self.next += 1
        return self.next - 1

    def subjobs(self, array: Job) -> list[Job]:
        every = (self.jobs.get(f"{array.number}[{index}]") for index in range(array.size))
        return [job for job in every if job is not None]

    def add(self, job: Job) -> None:
        self.jobs[job.key] = job
        if job.array:
            common = {**asdict(job)}
            for index in range(job.size):
                part = Job(**{**common, "index": index})
                part.output = job.output.replace("^array_index^", str(index))
                part.error = job.error.replace("^array_index^", str(index))
                self.jobs[part.key] = part

    def schedule(self) -> None:
        """Start what fits, the oldest first; say of the others why they wait."""
        free = self.settings.cpus - sum(j.ncpus for j in self.jobs.values() if j.state in "RE")
        gpus = self.settings.gpus - sum(j.ngpus for j in self.jobs.values() if j.state in "RE")
        for job in self.jobs.values():
            if job.state != "Q" or job.array:
                continue
            lack = self._lack(job, free, gpus)
            if lack:
                job.comment = lack
                continue
            free, gpus = free - job.ncpus, gpus - job.ngpus
            job.state, job.substate, job.changed = "R", 42, time.time()
            job.comment = f"Job run on ({SERVER}:ncpus={job.ncpus})"
            self._spawn(job)
        self._tend_arrays()

    def _lack(self, job: Job, free: int, gpus: int) -> str:
        wants = (("ncpus", job.ncpus, free, self.settings.cpus),
                 ("ngpus", job.ngpus, gpus, self.settings.gpus))  # fmt: skip
        for name, asked, left, total in wants:
            kind = "Can Never Run" if asked > total else "Not Running"
            if asked > left:
                return (
                    f"{kind}: Insufficient amount of resource: {name} "
                    f"(R: {asked} A: {max(left, 0)} T: {total})"
                )
        return ""

    def _tend_arrays(self) -> None:
        for array in [job for job in self.jobs.values() if job.array]:
            parts = self.subjobs(array)
            waiting = next((part.comment for part in parts if part.state == "Q"), "")
            if array.state == "Q" and all(part.state == "Q" for part in parts):
                array.comment = waiting
            elif array.state == "Q" and not all(part.state == "H" for part in parts):
                array.state, array.substate, array.exit = "B", 70, 0
                array.comment = "Job Array Began"
            if all(part.over for part in parts) and not array.over:
                array.state, array.substate = "F", max(part.substate for part in parts)
                for part in parts:
                    part.state = "F"
        if not self.settings.history:
            self.jobs = {key: job for key, job in self.jobs.items() if job.state != "F"}

    def _spawn(self, job: Job) -> None:
        argv = [sys.executable, "-m", "tests.fakes.openpbs", "run", str(self.folder), job.key]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.Popen(argv, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Server]:
    """The state of a folder, alone; saved unless something goes wrong."""
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        here = Server(folder)
        yield here
        here.save()


def run_job(folder: Path, key: str) -> None:
    """A job from its start to its end, by the process that was started for it."""
    with server(folder) as here:
        job = here.jobs[key]
    if job.state != "R":
        return
    spool = folder / f"out-{key}"
    with spool.open("wb") as out:
        spool.chmod(0o600)
        child = subprocess.Popen(
            [job.shell, job.script], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env=_environ(job), cwd=job.variables["PBS_O_HOME"], start_new_session=True,
        )  # fmt: skip
        substate, status, words = _wait(folder, job, child)
    staged = _stage_out(spool, Path(job.output))
    with server(folder) as here:
        ended = here.jobs[key]
        ended.end(substate, status, words)
        if not staged:
            ended.comment += ", and its output could not be kept"
        here.schedule()


def _environ(job: Job) -> dict[str, str]:
    mine = {"PBS_JOBID": f"{job.key}.{SERVER}", "PBS_JOBNAME": job.name, "PBS_QUEUE": job.queue,
            "PBS_ENVIRONMENT": "PBS_BATCH", "NCPUS": str(job.ncpus)}  # fmt: skip
    if job.index is not None:
        mine |= {"PBS_ARRAY_ID": f"{job.number}[].{SERVER}", "PBS_ARRAY_INDEX": str(job.index)}
    home = {"HOME": job.variables["PBS_O_HOME"], "PATH": "/usr/local/bin:/usr/bin:/bin"}
    marks = {key: value for key, value in os.environ.items() if key.startswith("FLOE_TEST_")}
    return {**home, **marks, **job.variables, **mine}


def _wait(folder: Path, job: Job, child: subprocess.Popen[bytes]) -> tuple[int, int, str]:
    """Substate, exit status and words of a job when it has ended."""
    deleted = folder / f"deleted-{job.key}"
    start, told, over = time.monotonic(), 0.0, 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = child.wait(POLL_S)
            break
        now = time.monotonic()
        if not told and (deleted.exists() or 0 < job.walltime_s < now - start):
            told, over = now, DELETED_EXIT if deleted.exists() else WALLTIME_EXIT
            _signal(child.pid, signal.SIGTERM)
        elif told and now - told > TERM_S:
            _signal(child.pid, signal.SIGKILL)
    if over == DELETED_EXIT:
        return 91, over, f"terminated by {job.owner}"
    if over == WALLTIME_EXIT:
        return 93, over, "exceeded resource walltime"
    shown = 128 - status if status < 0 else status
    return (93, shown, "failed") if shown else (92, 0, "finished")


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _stage_out(spool: Path, target: Path) -> bool:
    try:
        target.unlink(missing_ok=True)
        target.touch(mode=0o600)
        target.write_bytes(spool.read_bytes())
    except OSError:
        return False
    spool.unlink()
    return True
