"""Start one program in a process group of its own; vfork-like where Python can (3.8 and later)."""

import errno
import os
import signal
import subprocess
from typing import Dict, List, Optional, Sequence, Tuple

from pilot.program import SHELL, NotFound, Program

# Python ignores these two; the programs that we start shall not.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
LINE_BYTES_MAX = 256  # of a first line: the kernel reads no more
Redirect = Tuple[int, int]  # our file descriptor, theirs
_HOST_SHORT = (errno.EAGAIN, errno.ENOMEM, errno.ENFILE, errno.EMFILE)


def start(program: Program, redirects: Sequence[Redirect]) -> int:
    """The process id. Raises NotFound, or OSError when the worker itself is short of something."""
    try:
        return _start(program.path, program.argv, program.env, redirects)
    except OSError as fault:
        if fault.errno in _HOST_SHORT:
            raise
        if fault.errno == errno.ENOEXEC:  # a script without "#!": shells run it, so do we
            argv = [SHELL, program.path, *program.argv[1:]]
            return _start(SHELL, argv, program.env, redirects)
        raise _not_found(program, fault) from fault
    except ValueError as fault:  # a NUL byte in an argument
        raise NotFound("%s: %s" % (program.argv[0], fault), 126) from fault


def _not_found(program: Program, fault: OSError) -> NotFound:
    name = program.argv[0]
    if not os.path.exists(program.path):
        return NotFound("no such program: %s" % name, 127)
    if fault.errno == errno.ENOENT:
        return NotFound(_no_interpreter(name, program.path), 127)
    if fault.errno == errno.EACCES:
        return NotFound("not executable: %s" % name, 126)
    return NotFound("%s: %s" % (name, fault.strerror), 126)


def _no_interpreter(name: str, path: str) -> str:
    """What is wrong with the program that a script names in its first line."""
    try:
        with open(path, "rb") as file:
            line = file.readline(LINE_BYTES_MAX)
    except OSError:
        line = b""
    if not line.startswith(b"#!"):
        return "%s: its interpreter or loader is not here" % name
    words = line[2:].strip().decode("utf-8", "replace").split(None, 1)
    wanted = ascii(words[0] if words else "")[1:-1]
    if line.endswith(b"\r\n"):
        end = "its lines end as on Windows (CRLF): convert it with dos2unix"
        return "%s: %s; so its interpreter %s is not found" % (name, end, wanted)
    return "%s: its interpreter %s, named after #!, is not here" % (name, wanted)


def _start_by_spawn(
    path: str, argv: List[str], env: Dict[str, str], redirects: Sequence[Redirect]
) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in redirects]  # novm
    spawn = os.posix_spawn  # novm
    return spawn(path, argv, env, file_actions=actions, setpgroup=0, setsigdef=_RESTORED)


def _start_by_fork(
    path: str, argv: List[str], env: Dict[str, str], redirects: Sequence[Redirect]
) -> int:
    ours: Dict[int, Optional[int]] = {theirs: ours for ours, theirs in redirects}
    process = subprocess.Popen(
        argv,
        executable=path,
        env=env,
        stdin=ours.get(0),
        stdout=ours.get(1),
        stderr=ours.get(2),
        preexec_fn=os.setpgrp,
    )
    process.returncode = 0  # we wait for it ourselves; keeps its destructor quiet
    return process.pid


_start = _start_by_spawn if hasattr(os, "posix_spawn") else _start_by_fork
