"""The process that makes runners: forked before the pilot has threads or secrets.

    pilot ── nursery ─┬─ runner of slot 0   (process 1 of its own pid namespace, or a subreaper)
                      └─ runner of slot 1

The pilot sends a slot's number with one end of a socket pair; the runner speaks over it. The
nursery adopts orphans: when a runner dies, what it leaves is killed here. When the pilot dies,
its sockets close: the nursery kills every runner and all below, empties their folders, and goes.
"""

import array
import json
import os
import resource
import select
import signal
import socket
import sys
from typing import Dict, List, Optional, Set, Tuple

from pilot import eviction, folders, isolate, limits
from pilot.processes import Processes, children_of
from pilot.runner import Runner
from pilot.scratch import Scratch

_MESSAGE_BYTES_MAX = 64 << 10


class Nursery:
    """The pilot's handle on the nursery process."""

    def __init__(self, pipe: socket.socket, pid: int) -> None:
        self._pipe = pipe
        self.pid = pid
        self.isolation = "group"
        self.why = ""  # why not "full"

    def settle(self, work_dir: str, hide: List[str], wanted: str, grace_s: float) -> None:
        """Tell the nursery where to work; learn how well it can isolate.

        wanted: "auto", "full" or "group". Raises isolate.Denied if "full" was demanded in vain.
        """
        message = {"work_dir": work_dir, "hide": hide, "wanted": wanted, "grace_s": grace_s}
        self._pipe.sendall(json.dumps(message).encode())
        answer = json.loads(self._pipe.recv(_MESSAGE_BYTES_MAX).decode() or "{}")
        if not answer:
            raise isolate.Denied("the nursery died")
        self.isolation, self.why = answer["isolation"], answer["why"]
        if wanted == "full" and self.isolation != "full":
            raise isolate.Denied(self.why)

    def start_runner(self, slot: int) -> socket.socket:
        """A new runner for a slot; closing the socket ends it. Raises OSError if nobody is there.

        The runner's death shows as the end of the stream.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            fds = array.array("i", [theirs.fileno()])
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, fds.tobytes())
            self._pipe.sendmsg([json.dumps({"slot": slot}).encode()], [rights])
        return ours

    def close(self) -> None:
        """End all runners and the nursery; returns when it is gone."""
        self._pipe.close()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass


def start() -> Nursery:
    """Fork the nursery. To be called first of all: before threads, before the token is read."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        return Nursery(ours, pid)
    status = 1
    try:
        ours.close()
        _Process(theirs).serve()
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
    raise AssertionError("not reached")


class _Process:
    """The nursery itself."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe
        self._runners: Dict[int, int] = {}  # pid -> slot
        self._isolation = "group"
        self._work_dir = ""
        self._hide: List[str] = []
        self._grace_s = 5.0

    def serve(self) -> None:
        try:
            os.setsid()
        except OSError:
            pass
        eviction.be_deaf()  # the pilot decides; its end is ours
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        isolate.adopt_orphans()
        try:
            if self._settle():
                self._loop()
        finally:
            self._end()

    def _settle(self) -> bool:
        data = self._pipe.recv(_MESSAGE_BYTES_MAX)
        if not data:
            return False
        settings = json.loads(data.decode())
        self._work_dir, self._hide = settings["work_dir"], settings["hide"]
        self._grace_s = settings["grace_s"]
        why = "not wanted" if settings["wanted"] == "group" else self._probe()
        self._isolation = "group" if why else "full"
        self._pipe.sendall(json.dumps({"isolation": self._isolation, "why": why}).encode())
        return True

    def _probe(self) -> str:
        """Why full isolation does not work here; "" if it does. Tried by a child."""
        read, write = os.pipe()
        folder = os.path.join(self._work_dir, "probe")
        Scratch.make(folder)
        pid = os.fork()
        if pid == 0:
            os.close(read)
            os._exit(_probe_child(write, folder, [self._work_dir, *self._hide]))
        os.close(write)
        why = b""
        while True:
            data = os.read(read, 4096)
            if not data:
                break
            why += data
        os.close(read)
        _, status = os.waitpid(pid, 0)
        folders.remove(folder)
        if status == 0 and not why:
            return ""
        return why.decode("utf-8", "replace") or "the trial ended with status %d" % status

    def _loop(self) -> None:
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.register(read, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == read:
                    os.read(read, 4096)
                    self._reap()
                elif not self._serve_one():
                    return

    def _serve_one(self) -> bool:
        data, rights, _, _ = self._pipe.recvmsg(4096, socket.CMSG_SPACE(4))
        if not data:
            return False
        fds = array.array("i")
        for level, kind, content in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        pilot = socket.socket(fileno=fds[0])
        pilot.set_inheritable(False)  # came by message: every payload would hold it, and speak
        try:
            pid = self._fork_runner(int(json.loads(data.decode())["slot"]), pilot)
        except OSError:
            return True  # the closed socket tells the pilot
        finally:
            pilot.close()
        if pid is not None:
            self._runners[pid] = 0
        return True

    def _fork_runner(self, slot: int, pilot: socket.socket) -> Optional[int]:
        folder = os.path.join(self._work_dir, "slots", str(slot))
        Scratch.make(folder)
        if self._isolation == "group":
            pid = os.fork()
            if pid == 0:
                self._become_runner(pilot, folder, alone=False)
            return pid
        return self._fork_walled(folder, pilot)

    def _fork_walled(self, folder: str, pilot: socket.socket) -> Optional[int]:
        """A runner as process 1 of new namespaces, our own child.

        A pid namespace begins with the next child of the process that asked for it, so there is
        a process between, which ends at once; we adopt its child, and only then let it go on.
        """
        number_read, number_write = os.pipe()
        go_read, go_write = os.pipe()
        between = os.fork()
        if between == 0:
            try:
                os.close(go_write)
                isolate.unshare()
                pid = os.fork()
                if pid == 0:
                    os.close(number_read)
                    os.close(number_write)
                    if os.read(go_read, 1) != b"g":
                        os._exit(0)
                    os.close(go_read)
                    self._become_runner(pilot, folder, alone=True)
                os.write(number_write, b"%d" % pid)
            finally:
                os._exit(0)
        os.close(number_write)
        os.close(go_read)
        try:
            text = os.read(number_read, 32)
            _wait_for(between)
            if not text:
                return None
            os.write(go_write, b"g")
            return int(text)
        finally:
            os.close(number_read)
            os.close(go_write)

    def _become_runner(self, pilot: socket.socket, folder: str, alone: bool) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until the runner listens for it
            self._pipe.close()
            base_fd, cache_fd = _enter(folder, self._work_dir, self._hide, alone)
            base = "/proc/self/fd/%d" % base_fd if alone else folder
            scratch = Scratch(folder, base, own_shared_memory=alone)
            Runner(pilot, scratch, cache_fd, alone, self._grace_s).serve()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _reap(self) -> None:
        """Bury dead runners, and end what they left to us."""
        orphans = False
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                break
            if pid in self._runners:
                del self._runners[pid]
                orphans = True
        if orphans:
            self._kill_strangers()

    def _kill_strangers(self) -> None:
        """Kill every descendant that is neither a runner nor below one."""
        for _ in range(100):
            strangers = self._strangers()
            if not strangers:
                return
            for pid in strangers:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            select.select([], [], [], 0.01)
            while True:
                try:
                    pid, _ = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    return
                if pid == 0:
                    break
                self._runners.pop(pid, None)

    def _strangers(self) -> Set[int]:
        found: Set[int] = set()
        todo = [pid for pid in children_of(os.getpid()) if pid not in self._runners]
        while todo:
            pid = todo.pop()
            found.add(pid)
            todo.extend(children_of(pid))
        return found

    def _end(self) -> None:
        for pid in self._runners:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        Processes(alone=False).end()
        if self._work_dir:
            folders.remove(os.path.join(self._work_dir, "slots"))


def _enter(folder: str, work_dir: str, hide: List[str], alone: bool) -> Tuple[int, int]:
    """Become what a runner has to be; gives what payloads cannot reach: slot and blob cache."""
    cache = os.path.join(work_dir, "cache")
    os.makedirs(cache, exist_ok=True)
    cache_fd = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    base_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    isolate.set_oom_first()
    isolate.be_prompt()
    if alone:
        isolate.build_walls(_visible(folder), [work_dir, *hide])
        isolate.no_new_privileges()
    else:
        isolate.adopt_orphans()
    isolate.limit_tasks(limits.tasks_max(os.cpu_count() or 1), alone)
    isolate.drop_capabilities()
    # Process 1 of a namespace takes everything with it. Otherwise the runner has to see to that.
    isolate.die_with_parent(signal.SIGKILL if alone else signal.SIGTERM)
    isolate.undumpable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o022)
    return base_fd, cache_fd


def _visible(folder: str) -> List[str]:
    """What payloads see of a slot's folder."""
    return [os.path.join(folder, "work"), os.path.join(folder, "tmp")]


def _probe_child(write: int, folder: str, hide: List[str]) -> int:
    """Try everything once; the reason of a failure goes through the pipe."""
    try:
        isolate.unshare()
        pid = os.fork()
        if pid == 0:
            try:
                isolate.build_walls(_visible(folder), hide)
                isolate.no_new_privileges()
                isolate.drop_capabilities()
                os.listdir("/proc/1")
                os._exit(0)
            except BaseException as fault:
                os.write(write, str(fault).encode())
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        return 1 if status else 0
    except BaseException as fault:
        os.write(write, str(fault).encode())
        return 1


def _wait_for(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
