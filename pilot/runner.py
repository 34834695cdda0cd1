"""One runner: a process that runs units one after another and watches each to its end.

It is process 1 of a pid namespace ("full") or the adopter of orphans ("group"); see isolate.py.
It speaks with the pilot over a socket pair (frames of messages.py) and holds no secret.

From the pilot: {"op": "spec", "id", "spec"}; {"op": "run", "chunk", "lease", "spec", "jobs",
"needs", "attempts", "inputs", "read", "rows", "cpus", "gpus"}; {"op": "stop", "lease",
"jobs" | null, "error"}: end those running, forget those not begun; {"op": "recall"}: hand back what
is not begun; {"op": "tail", "lease", "job", "offset"}: say what the unit has printed, if it is the
one that runs.
To the pilot: {"rows": [[lease, spec, row], ...], "blobs", "done": [chunk, ...]};
{"running": [lease, job, started_ms]}; {"returned": [[lease, [job, ...]], ...]};
{"tail": [lease, job, offset, base64]}.
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

from pilot import gpus, spawn, staging
from pilot.expand import ExpandError, shell_values, written
from pilot.limits import Limits
from pilot.logfile import LogFile
from pilot.messages import OUTCOME_OF, PAYLOAD, Deframer, frame, harmless
from pilot.processes import Processes
from pilot.program import NotFound, Programs
from pilot.scratch import Scratch
from pilot.unit import Chunk, PilotGone, Stopped, Task, Unit
from pilot.watch import Watch

GRACE_S = 5.0  # between SIGTERM and SIGKILL
FLUSH_S = 0.1  # rows are told to the pilot at least this often
TICK_S = 0.05  # between looks at the pilot and the clock during long work
TAIL_BYTES = 48 << 10  # of a running log in one message
SPECS_MAX = 64  # compiled tasks that a runner remembers


class Runner:
    """Serves one slot until the pilot closes the socket."""

    def __init__(
        self,
        pilot: socket.socket,
        scratch: Scratch,
        cache_fd: int,
        alone: bool,
        grace_s: float = GRACE_S,
    ) -> None:
        self._pilot = pilot
        self._deframer = Deframer()
        self._scratch = scratch
        self._cache_fd = cache_fd
        self._processes = Processes(alone)
        self._log = LogFile(scratch.base, scratch.out)
        self._watch = Watch(self._processes, scratch, self._log, self._wait, self._tell, grace_s)
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
        self._spoiled = False  # a unit left what we cannot remove
        self._poll = select.poll()
        self._poll.register(pilot, select.POLLIN)
        self._wake = _wake_on_child()
        self._poll.register(self._wake, select.POLLIN)
        self._parent = os.getppid()
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
        """Meant for us only if the nursery died (see nursery.py); `serve` ends the unit then.

        Some batch systems signal each process of a job: the pilot tells us what that means.
        """
        if os.getppid() != self._parent:
            raise PilotGone()

    # --- talking to the pilot ------------------------------------------------------------------

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

        def meant(of: int, job: int) -> bool:
            return (lease is None or of == lease) and (jobs is None or job in jobs)

        self._hand_back(meant)
        unit = self._unit
        if unit and meant(unit.lease, unit.job):
            self._watch.ask_to_end(unit, message["error"])

    def _on_recall(self, message: Mapping[str, Any]) -> None:
        self._hand_back(lambda lease, job: True)

    def _on_tail(self, message: Mapping[str, Any]) -> None:
        unit, offset = self._unit, message["offset"]
        if unit and (unit.lease, unit.job) == (message["lease"], message["job"]):
            text = base64.b64encode(self._log.part(offset, TAIL_BYTES)).decode()
            self._send({"tail": [unit.lease, unit.job, offset, text]})

    def _hand_back(self, meant: Callable[[int, int], bool]) -> None:
        """Give back units that have not begun."""
        returned = []
        for chunk in self._chunks:
            lease, todo = chunk["lease"], chunk["todo"]
            gone = [job for job in todo if meant(lease, job)]
            if gone:
                returned.append([lease, gone])
                kept = [job for job in todo if not meant(lease, job)]
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

    def _tell(self, unit: Unit) -> None:
        """Say once that a unit lasts; what ended before it is said first."""
        if not unit.told:
            unit.told = True
            self._flush()
            self._send({"running": [unit.lease, unit.job, unit.began_ms]})

    def _tick(self) -> None:
        """Between pieces of long work: hear the pilot, mind the clock. May raise Stopped."""
        now_s = time.monotonic()
        if now_s - self._ticked_s < TICK_S:
            return
        self._ticked_s = now_s
        self._wait(0.0)
        unit = self._unit
        if unit is None:
            return
        self._tell(unit)
        if now_s - unit.began_s > unit.limits.time_s:
            unit.fail("time", "over its %gs" % unit.limits.time_s)
        if unit.error:
            raise Stopped(unit.error, unit.say)

    def _wait(self, timeout_s: Optional[float]) -> None:
        """Wait for the pilot or for a child's end."""
        for fd, _ in self._poll.poll(None if timeout_s is None else timeout_s * 1000):
            if fd == self._wake:
                os.read(self._wake, 4096)
            else:
                self._receive()

    # --- one unit ------------------------------------------------------------------------------

    def _run_chunk(self, chunk: Chunk) -> None:
        todo = chunk["todo"]
        while todo:
            unit = self._unit = Unit(chunk, todo.popleft())
            try:
                row = self._run(unit)
            finally:
                self._unit = None
            self._rows.append([unit.lease, chunk["spec"], row])
            if self._spoiled:
                self._give_way()
            if time.monotonic() - self._flushed_s > FLUSH_S:
                self._flush()
        self._done.append(chunk["chunk"])
        self._chunks.popleft()

    def _give_way(self) -> None:
        """Make place for a new runner, which gets new folders. Raises PilotGone."""
        self._flush()
        self._hand_back(lambda lease, job: True)
        raise PilotGone()

    def _run(self, unit: Unit) -> List[Any]:
        outputs = ""
        collector = staging.Outputs(self._scratch, self._tick)
        try:
            self._apply_limits(unit)
            task = self._tasks[unit.chunk["spec"]]
            inputs = unit.for_job("inputs") or []
            expanded = task.template.unit(unit.job, unit.for_job("rows"))
            if task.files or inputs or expanded["inputs"]:
                self._bring_inputs(task, expanded["inputs"], inputs)
            if self._run_modules(unit, task, expanded):
                outputs = collector.collect(expanded["outputs"])
        except PilotGone:
            raise
        except ExpandError as fault:
            unit.fail("expand", str(fault))
        except (staging.Failed, Stopped) as fault:
            unit.fail(fault.error, str(fault))
        except Exception as fault:
            unit.fail("worker", "%s: %s" % (type(fault).__name__, fault))
        return self._finish(unit, outputs, unit.for_job("read") or "", collector)

    def _apply_limits(self, unit: Unit) -> None:
        if unit.limits.file_bytes != self._file_bytes:
            self._file_bytes = soft = unit.limits.file_bytes
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            if hard != resource.RLIM_INFINITY:
                soft = min(soft, hard)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        cpus = unit.chunk.get("cpus")
        if cpus and cpus != self._cpus:
            os.sched_setaffinity(0, cpus)
            self._cpus = cpus

    def _bring_inputs(
        self, task: Task, declared: List[Dict[str, Any]], resolved: List[List[Any]]
    ) -> None:
        for file in task.files:
            path = staging.inside(self._scratch.work, file["to"])
            staging.place(self._cache_fd, file["digest"], path, file["mode"], self._tick)
        for local, digest, _, mode in resolved:
            path = staging.inside(self._scratch.work, local)
            staging.place(self._cache_fd, digest, path, mode, self._tick)
        for entry in declared:
            if "://" not in entry["from"]:
                continue
            path = staging.inside(self._scratch.work, entry["local"])
            try:
                staging.fetch(entry["from"], path, self._tick)
            except staging.Failed as fault:
                if not (entry.get("optional") and fault.error == "input"):
                    raise

    def _run_modules(self, unit: Unit, task: Task, expanded: Mapping[str, Any]) -> bool:
        own = shell_values(expanded["names"])
        own.update(task.fixed)
        own["FLOE_ATTEMPT"] = str(unit.for_job("attempts") or 1)
        own["TMPDIR"] = self._scratch.tmp
        devices = gpus.of_unit(unit.chunk.get("gpus"), os.environ)
        return all(self._run_module(unit, module, own, devices) for module in expanded["modules"])

    def _run_module(
        self, unit: Unit, module: Mapping[str, Any], own: Dict[str, str], devices: Dict[str, str]
    ) -> bool:
        """Run one module to its end; True if the next may follow."""
        for name, value in (module.get("write") or {}).items():
            self._write(name, written(value))
        staging.enter(self._scratch.work, module.get("cwd") or ".")
        opened: List[int] = []
        try:
            redirects = self._redirects(module, opened)
            env = self._programs.environment(module["env"], own, devices)
            program = self._programs.program(module, env)
            pid = spawn.start(program, redirects)
        except NotFound as fault:
            unit.exit = fault.status
            unit.fail("spawn", str(fault))
            return False
        finally:
            for fd in opened:
                os.close(fd)
        unit.started = True
        status = self._watch.until_end(unit, pid)
        if not unit.error:
            self._watch.judge(unit, module.get("exit") or {}, status, program.argv)
        return not unit.error

    def _write(self, name: str, text: str) -> None:
        path = staging.inside(self._scratch.work, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)  # never write through what an earlier module left there
        fd = staging.opened(self._scratch.work, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
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
                fd = staging.opened(self._scratch.work, name, flags)
            except OSError as fault:
                what = "%s %s: %s" % (key, name, fault.strerror)
                raise staging.Failed("input" if number == 0 else "output", what) from fault
            opened.append(fd)
            ours[number] = fd
        return [(fd, number) for number, fd in enumerate(ours)]

    # --- afterwards ----------------------------------------------------------------------------

    def _finish(
        self, unit: Unit, outputs: str, inputs: str, collector: staging.Outputs
    ) -> List[Any]:
        wall_ms = int((time.monotonic() - unit.began_s) * 1000)
        if unit.started and not self._processes.reap() and not self._processes.end():
            # Stuck in the kernel. Leaving ends the namespace, and the pilot starts a new runner.
            raise PilotGone()
        os.chdir("/")
        if unit.error:
            outputs = ""
            collector.forget()
        blobs = collector.blobs
        tail, log = self._take_log(unit, blobs)
        unit.disk_kib = max(unit.disk_kib, self._clean())
        for digest, size, data, file in blobs:
            text = None if data is None else base64.b64encode(data).decode()
            self._blobs.append([digest, size, text, file])
        return [
            unit.job, OUTCOME_OF.get(unit.error, PAYLOAD), unit.began_ms, wall_ms,
            int(unit.cpu_s * 1000), unit.memory_kib, unit.disk_kib, wall_ms * unit.limits.gpu,
            unit.exit, unit.error, outputs, inputs, log, tail,
        ]  # fmt: skip

    def _take_log(self, unit: Unit, blobs: List[staging.Blob]) -> Tuple[str, str]:
        tail = ""
        if unit.error:
            text = self._log.tail(4096)
            if unit.say:
                text += b"\n" + unit.say.encode("utf-8", "replace")
                self._log.write(unit.say)
            tail = harmless(text)
        try:
            blob = self._log.take()
        except OSError:
            blob = None
        if blob is None:
            return tail, ""
        blobs.append(blob)
        return tail, blob[0]

    def _clean(self) -> int:
        try:
            return self._scratch.clean()
        except OSError:
            self._spoiled = True
            return 0


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
