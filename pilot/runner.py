"""One runner: a process that runs units one after another and watches each to its end.

It is process 1 of a pid namespace ("full") or the adopter of orphans ("group"); see isolate.py.
It speaks with the pilot over a socket pair (frames of messages.py) and holds no secret.

From the pilot: {"op": "spec", "id", "spec"}; {"op": "run", "chunk", "lease", "spec", "jobs",
"needs", "attempts", "inputs", "rows", "cpus", "gpus"}; {"op": "stop", "lease", "jobs" | null,
"error"}: end those running, forget those not begun; {"op": "recall"}: hand back what is not begun.
To the pilot: {"rows": [[lease, spec, row], ...], "blobs", "done": [chunk, ...]};
{"running": [lease, job, started_ms]}; {"returned": [[lease, [job, ...]], ...], "done"}.
"""

import base64
import os
import resource
import select
import signal
import socket
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Mapping, Optional, Tuple

from pilot import folders, spawn, staging
from pilot.expand import ExpandError, TaskTemplate, shell_values, written
from pilot.limits import FIRST_LOOK_S, Limits, Pace, over
from pilot.logfile import LogFile
from pilot.messages import OUTCOME_OF, PAYLOAD, Deframer, frame, harmless
from pilot.processes import Processes
from pilot.program import NotFound, Programs, gpu_variables, shown

GRACE_S = 5.0  # between SIGTERM and SIGKILL
FLUSH_S = 0.1  # rows are told to the pilot at least this often
_FILE_TOO_LARGE = (-signal.SIGXFSZ, 128 + signal.SIGXFSZ)  # also as a shell tells it
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # by the kernel, when memory is short
SPECS_MAX = 64  # compiled tasks that a runner remembers

Chunk = Dict[str, Any]


class PilotGone(Exception):
    """The pilot closed its end: end everything and leave."""


class Stopped(Exception):
    """This unit is to end before it is done; `error` is the class of its failure."""

    def __init__(self, error: str, what: str = "") -> None:
        super().__init__(what or error)
        self.error = error


class Task:
    """A spec, compiled."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.template = TaskTemplate(spec)
        self.spec = spec
        self.files = spec.get("files") or []
        self.fixed = {"FLOE_ID": str(spec["dataset"]), "FLOE_DATASET": str(spec["name"])}


class Unit:
    """One attempt under way: what it may use, what it used, why it ends."""

    def __init__(self, chunk: Chunk, job: int) -> None:
        self.chunk = chunk
        self.job = job
        self.lease = int(chunk["lease"])
        self.limits: Limits = chunk["limits"]
        self.began_ms = int(time.time() * 1000)
        self.began_s = time.monotonic()
        self.cpu_s = 0.0
        self.memory_kib = 0
        self.disk_kib = 0
        self.exit = 0
        self.error = ""
        self.say = ""  # one line that explains the error
        self.final = False
        self.started_processes = False
        self.kill_at_s: Optional[float] = None
        self.told = False

    def fail(self, error: str, say: str = "") -> None:
        """Note why this unit ends; the first reason stays."""
        if not self.error:
            self.error, self.say = error, say


class Runner:
    """Serves one slot until the pilot closes the socket."""

    def __init__(
        self,
        pilot: socket.socket,
        folder: str,
        cache_fd: int,
        alone: bool,
        grace_s: float = GRACE_S,
    ) -> None:
        self._pilot = pilot
        self._deframer = Deframer()
        self._scratch = os.path.join(folder, "work")
        self._tmp = os.path.join(folder, "tmp")
        self._out = os.path.join(folder, "out")
        os.makedirs(self._out, exist_ok=True)
        self._cache_fd = cache_fd
        self._processes = Processes(alone)
        self._alone = alone
        self._grace_s = grace_s
        self._log = LogFile(folder, self._out)
        self._null = os.open("/dev/null", os.O_RDONLY)
        self._programs = Programs(os.environ)
        self._tasks: Dict[str, Task] = {}
        self._chunks: Deque[Chunk] = deque()
        self._unit: Optional[Unit] = None
        self._rows: List[Any] = []
        self._blobs: List[Any] = []
        self._done: List[int] = []
        self._flushed_s = time.monotonic()
        self._file_bytes = -1
        self._cpus: Any = None
        self._ticked_s = 0.0
        self._poll = select.poll()
        self._poll.register(pilot, select.POLLIN)
        self._wake = _wake_on_child()
        self._poll.register(self._wake, select.POLLIN)
        if not alone:  # as process 1 we are deaf to signals from inside, unless we listen
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def serve(self) -> None:
        """Run chunks until the pilot is gone. Whatever happens, nothing of a unit stays alive."""
        try:
            while True:
                while self._chunks:
                    self._run_chunk(self._chunks[0])
                self._flush()
                self._wait(None)
        except PilotGone:
            pass
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._processes.end()

    def _on_sigterm(self, number: int, frame: Any) -> None:
        raise PilotGone()  # the nursery died (see nursery.py); `serve` ends the unit

    # --- talking to the pilot -----------------------------------------------------------------

    def _receive(self) -> None:
        try:
            data = self._pilot.recv(1 << 18)
        except InterruptedError:
            return
        except OSError:
            data = b""
        if not data:
            raise PilotGone()
        for message in self._deframer.feed(data):
            getattr(self, "_on_" + message["op"])(message)

    def _on_spec(self, message: Mapping[str, Any]) -> None:
        if len(self._tasks) >= SPECS_MAX:
            waiting = {chunk["spec"] for chunk in self._chunks}
            for spec in [spec for spec in self._tasks if spec not in waiting]:
                del self._tasks[spec]
        self._tasks[message["id"]] = Task(message["spec"])

    def _on_run(self, message: Chunk) -> None:
        message["limits"] = Limits(message["needs"])
        message["todo"] = deque(message["jobs"])
        self._chunks.append(message)

    def _on_stop(self, message: Mapping[str, Any]) -> None:
        lease, jobs = message["lease"], message["jobs"]
        self._hand_back(lambda chunk, job: (lease is None or chunk["lease"] == lease) and (
            jobs is None or job in jobs
        ))  # fmt: skip
        unit = self._unit
        if unit and (lease is None or unit.lease == lease) and (jobs is None or unit.job in jobs):
            self._ask_to_end(unit, message["error"])

    def _on_recall(self, message: Mapping[str, Any]) -> None:
        self._hand_back(lambda chunk, job: True)

    def _hand_back(self, chosen: Callable[[Chunk, int], bool]) -> None:
        """Give back units that have not begun."""
        returned = []
        for chunk in self._chunks:
            todo = chunk["todo"]
            gone = [job for job in todo if chosen(chunk, job)]
            if gone:
                returned.append([chunk["lease"], gone])
                kept = [job for job in todo if not chosen(chunk, job)]
                todo.clear()
                todo.extend(kept)
        if returned:
            self._send({"returned": returned})

    def _send(self, message: Any) -> None:
        try:
            self._pilot.sendall(frame(message))
        except OSError as fault:
            raise PilotGone() from fault

    def _flush(self) -> None:
        if self._rows or self._done:
            self._send({"rows": self._rows, "blobs": self._blobs, "done": self._done})
            self._rows, self._blobs, self._done = [], [], []
        self._flushed_s = time.monotonic()

    def _tick(self) -> None:
        """Between pieces of long work: hear the pilot, mind the clock. May raise Stopped."""
        now_s = time.monotonic()
        if now_s - self._ticked_s < 0.05:
            return
        self._ticked_s = now_s
        self._wait(0.0)
        unit = self._unit
        if unit and not unit.told:
            self._tell(unit)
        if unit and not unit.error and now_s - unit.began_s > unit.limits.time_s:
            unit.fail("time", "over its %gs" % unit.limits.time_s)
        if unit and unit.error:
            raise Stopped(unit.error, unit.say)

    def _wait(self, timeout_s: Optional[float]) -> None:
        """Wait for the pilot or for a child's end."""
        timeout = None if timeout_s is None else timeout_s * 1000
        for fd, _ in self._poll.poll(timeout):
            if fd == self._wake:
                try:
                    os.read(self._wake, 4096)
                except BlockingIOError:
                    pass
            else:
                self._receive()

    # --- one unit -----------------------------------------------------------------------------

    def _run_chunk(self, chunk: Chunk) -> None:
        todo = chunk["todo"]
        while todo:
            unit = self._unit = Unit(chunk, todo.popleft())
            try:
                row = self._run(unit)
            finally:
                self._unit = None
            self._rows.append([unit.lease, chunk["spec"], row])
            if time.monotonic() - self._flushed_s > FLUSH_S:
                self._flush()
        self._done.append(chunk["chunk"])
        self._chunks.popleft()

    def _run(self, unit: Unit) -> List[Any]:
        outputs = ""
        blobs: List[staging.Blob] = []
        inputs = unit.chunk.get("inputs", {}).get(str(unit.job)) or []
        try:
            self._prepare(unit)
            task = self._tasks[unit.chunk["spec"]]
            rows = unit.chunk.get("rows") or {}
            expanded = task.template.unit(unit.job, rows.get(str(unit.job)))
            self._bring_inputs(unit, task, expanded["inputs"], inputs)
            if self._run_modules(unit, task, expanded):
                collector = staging.Outputs(self._scratch, self._out, self._tick)
                outputs = collector.collect(expanded["outputs"])
                blobs = collector.blobs
        except ExpandError as fault:
            unit.fail("expand", str(fault))
        except staging.Failed as fault:
            unit.fail(fault.error, str(fault))
        except Stopped as fault:
            unit.fail(fault.error, str(fault))
        except OSError as fault:
            unit.fail("worker", str(fault))
        return self._finish(unit, outputs, staging.inputs_digest(inputs) if inputs else "", blobs)

    def _prepare(self, unit: Unit) -> None:
        os.mkdir(self._scratch, 0o700)
        os.mkdir(self._tmp, 0o700)
        if unit.limits.file_bytes != self._file_bytes:
            self._file_bytes = unit.limits.file_bytes
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            soft = unit.limits.file_bytes
            if hard != resource.RLIM_INFINITY:
                soft = min(soft, hard)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        cpus = unit.chunk.get("cpus")
        if cpus and cpus != self._cpus:
            os.sched_setaffinity(0, cpus)
            self._cpus = cpus

    def _bring_inputs(
        self, unit: Unit, task: Task, declared: List[Dict[str, Any]], resolved: List[List[Any]]
    ) -> None:
        for file in task.files:
            path = staging.inside(self._scratch, file["to"])
            staging.place(self._cache_fd, file["digest"], path, file["mode"], self._tick)
        for local, digest, _, mode in resolved:
            path = staging.inside(self._scratch, local)
            staging.place(self._cache_fd, digest, path, mode, self._tick)
        for entry in declared:
            url = str(entry["from"])
            if "://" in url:
                path = staging.inside(self._scratch, entry["local"])
                try:
                    staging.fetch(url, path, self._tick)
                except staging.Failed as fault:
                    if not (entry.get("optional") and fault.error == "input"):
                        raise

    def _run_modules(self, unit: Unit, task: Task, expanded: Mapping[str, Any]) -> bool:
        own = shell_values(expanded["names"])
        own.update(task.fixed)
        own["FLOE_ATTEMPT"] = str((unit.chunk.get("attempts") or {}).get(str(unit.job), 1))
        own["TMPDIR"] = self._tmp
        gpus = unit.chunk.get("gpus")
        devices = gpu_variables(gpus if gpus is not None or unit.limits.gpu else None)
        return all(self._run_module(unit, module, own, devices) for module in expanded["modules"])

    def _run_module(
        self, unit: Unit, module: Mapping[str, Any], own: Dict[str, str], devices: Dict[str, str]
    ) -> bool:
        """Run one module to its end; True if the next may follow."""
        cwd = os.path.normpath(os.path.join(self._scratch, module.get("cwd") or "."))
        if cwd != self._scratch:
            os.makedirs(cwd, exist_ok=True)
        for name, value in (module.get("write") or {}).items():
            self._write(name, written(value))
        os.chdir(cwd)
        opened: List[int] = []
        try:
            redirects = self._redirects(module, opened)
            env = self._programs.environment(module["env"], own, devices)
            program = self._programs.program(module, env, cwd)
            pid = spawn.start(program, redirects)
        except NotFound as fault:
            unit.exit = fault.status
            unit.fail("spawn", str(fault))
            return False
        finally:
            for fd in opened:
                os.close(fd)
        unit.started_processes = True
        status = self._watch(unit, pid)
        if not unit.error:
            self._judge(unit, module, status, shown(program.argv))
        return not unit.error

    def _write(self, name: str, text: str) -> None:
        path = staging.inside(self._scratch, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)  # never write through what an earlier module left there
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(fd, "wb") as file:
            file.write(text.encode())

    def _redirects(self, module: Mapping[str, Any], opened: List[int]) -> List[Tuple[int, int]]:
        ours = [self._null, self._log.fd, self._log.fd]
        for number, key in enumerate(("stdin", "stdout", "stderr")):
            name = module.get(key)
            if not name:
                continue
            if key == "stderr" and name == module.get("stdout"):
                ours[2] = ours[1]
                continue
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            try:
                # Never wait for the other end of a pipe that an earlier module left there.
                fd = os.open(staging.inside(self._scratch, name), flags | os.O_NONBLOCK, 0o644)
            except OSError as fault:
                what = "%s %s: %s" % (key, name, fault.strerror)
                raise staging.Failed("input" if number == 0 else "output", what) from fault
            os.set_blocking(fd, True)
            opened.append(fd)
            ours[number] = fd
        return [(fd, number) for number, fd in enumerate(ours)]

    # --- watching -----------------------------------------------------------------------------

    def _watch(self, unit: Unit, pid: int) -> int:
        """Until the process ends: measure, enforce, obey. Returns its exit, or -signal."""
        pace = Pace()
        look_s = time.monotonic() + FIRST_LOOK_S
        while True:
            now_s = time.monotonic()
            self._wait(self._next_event_s(unit, look_s) - now_s)
            status = self._reap(unit, pid)
            if status is not None:
                return status
            now_s = time.monotonic()
            if unit.kill_at_s is not None and now_s >= unit.kill_at_s:
                self._processes.signal(signal.SIGKILL)
                unit.kill_at_s = now_s + 1.0
            if not unit.error and now_s - unit.began_s >= unit.limits.time_s:
                self._ask_to_end(unit, "time", "over its %gs" % unit.limits.time_s)
            if now_s >= look_s:
                if not unit.told:
                    self._tell(unit)
                shares = self._look(unit)
                done_s = time.monotonic()
                look_s = done_s + pace.next_s(done_s - unit.began_s, shares, done_s - now_s)

    def _next_event_s(self, unit: Unit, look_s: float) -> float:
        times_s = [look_s]
        if unit.kill_at_s is not None:
            times_s.append(unit.kill_at_s)
        if not unit.error:
            times_s.append(unit.began_s + unit.limits.time_s)
        return max(time.monotonic(), min(times_s))

    def _tell(self, unit: Unit) -> None:
        unit.told = True
        self._flush()
        self._send({"running": [unit.lease, unit.job, unit.began_ms]})

    def _reap(self, unit: Unit, pid: int) -> Optional[int]:
        """Collect the dead; the status of `pid` once it is among them."""
        status = None
        while True:
            try:
                dead, wait_status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                if status is None:
                    raise OSError("process %d is gone" % pid) from None
                return status
            if dead == 0:
                return status
            unit.cpu_s += usage.ru_utime + usage.ru_stime
            unit.memory_kib = max(unit.memory_kib, usage.ru_maxrss)
            if dead == pid:
                status = _status(wait_status)

    def _look(self, unit: Unit) -> List[float]:
        """Measure; end the unit if it is over a limit. Gives its shares of memory and disk."""
        limits = unit.limits
        memory_kib = self._processes.memory_kib(limits.memory_kib)
        if self._alone:
            memory_kib += _shared_memory_kib()
        self._log.trim()
        disk_kib = self._disk_kib()
        unit.memory_kib = max(unit.memory_kib, memory_kib)
        unit.disk_kib = max(unit.disk_kib, disk_kib)
        count = len(self._processes.all())
        error = over(limits, memory_kib, disk_kib, self._log.size(), count)
        if error is not None:
            unit.fail(error, _over_text(error, limits, memory_kib, disk_kib, count))
            self._processes.signal(signal.SIGKILL)
            unit.kill_at_s = time.monotonic() + 0.2
        return [memory_kib / max(1, limits.memory_kib), disk_kib / max(1, limits.disk_kib)]

    def _disk_kib(self) -> int:
        return folders.usage_kib(self._scratch) + folders.usage_kib(self._tmp)

    def _ask_to_end(self, unit: Unit, error: str, say: str = "") -> None:
        """SIGTERM now, SIGKILL after the grace time."""
        unit.fail(error, say)
        if unit.started_processes:
            self._processes.signal(signal.SIGTERM)
        if unit.kill_at_s is None:
            unit.kill_at_s = time.monotonic() + self._grace_s

    def _judge(self, unit: Unit, module: Mapping[str, Any], status: int, argv: str) -> None:
        """What a module's end means."""
        rules = module.get("exit") or {}
        unit.exit = status
        if status in (rules.get("ok") or [0]):
            unit.exit = 0
            return
        error = self._limit_behind(unit, status)
        if error is not None:
            unit.fail(error, _over_text(error, unit.limits, unit.memory_kib, unit.disk_kib, 0))
        elif status < 0:
            unit.fail("signal", "%s: killed by signal %d" % (argv, -status))
        elif status in (rules.get("retry") or []):
            unit.fail("exit-retry")
        elif status in (rules.get("fail") or []):
            unit.fail("exit-final")
        else:
            unit.fail("exit")

    def _limit_behind(self, unit: Unit, status: int) -> Optional[str]:
        """The limit that a module failed of by itself, between two looks; None if none."""
        limits = unit.limits
        unit.disk_kib = max(unit.disk_kib, self._disk_kib())
        if self._log.size() >= limits.log_bytes:
            return "log"
        if unit.disk_kib > limits.disk_kib or status in _FILE_TOO_LARGE:
            return "disk"
        if unit.memory_kib > limits.memory_kib and status in _KILLED:
            return "memory"
        return None

    # --- afterwards ---------------------------------------------------------------------------

    def _finish(
        self, unit: Unit, outputs: str, inputs: str, blobs: List[staging.Blob]
    ) -> List[Any]:
        wall_ms = int((time.monotonic() - unit.began_s) * 1000)
        self._end_leftovers(unit)
        if unit.error:
            outputs, blobs = "", []
        os.chdir("/")
        tail, log = self._take_log(unit, blobs)
        unit.disk_kib = max(unit.disk_kib, self._clean())
        for digest, size, data, file in blobs:
            text = None if data is None else base64.b64encode(data).decode()
            self._blobs.append([digest, size, text, file])
        gpu_ms = wall_ms * unit.limits.gpu
        return [
            unit.job, OUTCOME_OF.get(unit.error, PAYLOAD), unit.began_ms, wall_ms,
            int(unit.cpu_s * 1000), unit.memory_kib, unit.disk_kib, gpu_ms, unit.exit,
            unit.error, outputs, inputs, log, tail,
        ]  # fmt: skip

    def _end_leftovers(self, unit: Unit) -> None:
        if unit.started_processes and not self._processes.reap() and not self._processes.end():
            # Stuck in the kernel. Leaving ends the namespace, and the pilot starts a new runner.
            raise PilotGone()

    def _take_log(self, unit: Unit, blobs: List[staging.Blob]) -> Tuple[str, str]:
        tail = ""
        if unit.error:
            text = self._log.tail(4096)
            if unit.say:
                text += b"\n" + unit.say.encode("utf-8", "replace")
                self._log.write(unit.say)
            tail = harmless(text)
        try:
            blob = self._log.take(folders._nothing)
        except OSError:
            blob = None
        if blob is None:
            return tail, ""
        blobs.append(blob)
        return tail, blob[0]

    def _clean(self) -> int:
        """Empty the scratch folder; the KiB that were in it."""
        disk_kib = 0
        for folder in (self._tmp, self._scratch):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                disk_kib += folders.usage_kib(folder)
                if not folders.remove(folder):
                    os.rename(folder, "%s.stuck-%d" % (folder, time.time()))
        if self._alone:
            _clear_shared_memory()
        return disk_kib


def _wake_on_child() -> int:
    """A file descriptor that can be read whenever a child ended."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    signal.signal(signal.SIGCHLD, _ignore)
    return read


def _ignore(number: int, frame: Any) -> None:
    pass


def _status(wait_status: int) -> int:
    if os.WIFSIGNALED(wait_status):
        return -os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)


def _shared_memory_kib() -> int:
    try:
        status = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return (status.f_blocks - status.f_bfree) * status.f_frsize // 1024


def _clear_shared_memory() -> None:
    try:
        names = os.listdir("/dev/shm")
    except OSError:
        return
    for name in names:
        path = "/dev/shm/" + name
        try:
            os.unlink(path)
        except OSError:
            folders.remove(path)


def _over_text(error: str, limits: Limits, memory_kib: int, disk_kib: int, processes: int) -> str:
    if error == "disk":
        return "used %d MB of disk, %d MB allowed" % (_mb(disk_kib), _mb(limits.disk_kib))
    if error == "log":
        return "printed more than %d MB" % (limits.log_bytes // 1000000)
    if memory_kib > limits.memory_kib:
        return "used %d MB of memory, %d MB allowed" % (_mb(memory_kib), _mb(limits.memory_kib))
    return "ran %d processes at once" % processes


def _mb(kib: int) -> int:
    return kib * 1024 // 10**6
