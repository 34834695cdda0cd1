"""Run a batch system's command on this machine, without blocking: bounded in time and output."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from schedulers.base import Command, Completed, SchedulerError

TIMEOUT_S = 60.0
OUTPUT_BYTES_MAX = 16 << 20


class Reactor(Protocol):
    """What we need of a reactor."""

    def spawnProcess(self, *args: object, **more: object) -> IProcessTransport: ...

    def callLater(self, delay: float, call: object, *args: object) -> IDelayedCall: ...


async def run(
    reactor: Reactor,
    command: Command,
    *,
    timeout_s: float = TIMEOUT_S,
    output_bytes_max: int = OUTPUT_BYTES_MAX,
    environ: Mapping[str, str] | None = None,
) -> Completed:
    """Run a command to its end. A status other than 0 is no error here.

    Raises SchedulerError if there is no such program, or it took longer than `timeout_s` (it is
    then killed).
    """
    env = dict(os.environ if environ is None else environ)
    program = shutil.which(command.argv[0], path=env.get("PATH"))
    if program is None:
        raise SchedulerError(f"no program {command.argv[0]} in PATH")
    protocol = _Collect(command.stdin, output_bytes_max)
    process = reactor.spawnProcess(protocol, program, list(command.argv), env)
    timer = reactor.callLater(timeout_s, protocol.give_up, process)
    try:
        done = await protocol.ended
    finally:
        if timer.active():
            timer.cancel()
    if protocol.gave_up:
        raise SchedulerError(f"{command.argv[0]} did not end within {timeout_s:g} s")
    return done


class _Collect(ProcessProtocol):
    """Feeds stdin, keeps what is printed up to a bound, and fires when the process has ended."""

    def __init__(self, stdin: bytes, bytes_max: int) -> None:
        self.ended: Deferred[Completed] = Deferred()
        self.gave_up = False
        self._stdin = stdin
        self._left = bytes_max
        self._cut = False
        self._parts: dict[int, list[bytes]] = {1: [], 2: []}

    def connectionMade(self) -> None:
        assert self.transport is not None
        if self._stdin:
            self.transport.write(self._stdin)
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        kept = data[: self._left]
        self._left -= len(kept)
        self._cut = self._cut or len(kept) < len(data)
        if kept:
            self._parts[childFD].append(kept)

    def give_up(self, process: IProcessTransport) -> None:
        """Its time is over."""
        self.gave_up = True
        process.signalProcess("KILL")

    def processEnded(self, reason: Failure) -> None:
        value = reason.value
        status = 0
        if isinstance(value, ProcessTerminated):
            status = value.exitCode if value.signal is None else -value.signal
        out, err = b"".join(self._parts[1]), b"".join(self._parts[2])
        self.ended.callback(Completed(status, out, err, self._cut))
