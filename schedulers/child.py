"""A child process and its group: bounded in time and output, gone with its children when we end it.

The child leads a session of its own, so that a signal to its group reaches what it started, and
none of ours.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from schedulers.base import Completed
from schedulers.runner import ERROR_BYTES_MAX, OUTPUT_BYTES_MAX, NotRun

GRACE_S = 2.0  # from a gentle signal to SIGKILL, and from that to not caring any more
LINGER_S = 1.0  # after its end, for what its children still print


class Reactor(Protocol):
    """What we need of a reactor."""

    def spawnProcess(self, *args: object, **more: object) -> IProcessTransport: ...

    def callLater(self, delay: float, call: object, *args: object) -> IDelayedCall: ...

    def seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one child."""

    time_s: float
    out_bytes: int = OUTPUT_BYTES_MAX
    err_bytes: int = ERROR_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. overdue: we ended it, because its time was over."""

    done: Completed
    overdue: bool


async def execute(
    reactor: Reactor,
    argv: Sequence[str],
    env: Mapping[str, str],
    bounds: Bounds,
    *,
    stdin: bytes = b"",
    folder: str | None = None,
    last_word: bytes = b"",
) -> Ended:
    """Run a program to its end.

    last_word: once this is near the end of stderr the child is over, whoever keeps its pipes open.
    Raises NotRun if there is no such program.
    """
    words = in_session(argv, env)
    child = Child(reactor, stdin, bounds, last_word)
    child.start(words, env, folder)
    return await child.ended


def in_session(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """The command line that runs `argv` as the leader of a session. Raises NotRun."""
    program = shutil.which(argv[0], path=env.get("PATH", os.defpath))
    if program is None:
        raise NotRun(f"no program {argv[0]} in PATH", lasting=True)
    setsid = shutil.which("setsid", path=f"{env.get('PATH', '')}:{os.defpath}")
    if setsid is None:
        raise NotRun("no program setsid in PATH; it comes with util-linux")
    return [setsid, program, *argv[1:]]


class Child(ProcessProtocol):
    """Feeds stdin, keeps what is printed up to a bound, and fires when all is over."""

    def __init__(
        self, reactor: Reactor, stdin: bytes, bounds: Bounds, last_word: bytes = b""
    ) -> None:
        self.ended: Deferred[Ended] = Deferred(lambda _: self.kill())
        self._reactor = reactor
        self._stdin = stdin
        self._bounds = bounds
        self._last_word = last_word
        self._out = bytearray()
        self._err = bytearray()
        self._err_seen = 0
        self._cut = False
        self._overdue = False
        self._status: int | None = None
        self._process: IProcessTransport | None = None
        self._pid: int | None = None
        self._timer: IDelayedCall | None = None
        self._lingers = False

    def start(self, argv: Sequence[str], env: Mapping[str, str], folder: str | None) -> None:
        """Spawn it, and give it its time."""
        self._after(self._bounds.time_s, self._too_long)
        self._process = self._reactor.spawnProcess(self, argv[0], list(argv), dict(env), folder)
        self._pid = self._process.pid

    def stop(self) -> None:
        """End it: gently, then not."""
        self._signal(signal.SIGTERM)
        self._after(GRACE_S, self.kill)

    def kill(self) -> None:
        """End it and its children at once."""
        self._signal(signal.SIGKILL)
        self._after(GRACE_S, self._let_go)

    # From Twisted.

    def connectionMade(self) -> None:
        assert self.transport is not None
        if self._stdin:
            self.transport.write(self._stdin)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        room = self._bounds.out_bytes - len(self._out)
        self._out += data[:room]
        if len(data) > room:
            self._too_much()

    def errReceived(self, data: bytes) -> None:
        self._err += data
        self._err_seen += len(data)
        if self._last_word and self._last_word in self._err[-len(data) - len(self._last_word) :]:
            self._linger()
        if len(self._err) > 2 * self._bounds.err_bytes:
            del self._err[: -self._bounds.err_bytes]
        if self._err_seen > self._bounds.out_bytes:
            self._too_much()

    def processExited(self, reason: Failure) -> None:
        self._status = _status(reason)
        self._linger()

    def processEnded(self, reason: Failure) -> None:
        self._status = _status(reason)
        self._finish()

    # Ends.

    def _too_long(self) -> None:
        self._overdue = True
        self.stop()

    def _too_much(self) -> None:
        if not self._cut:
            self._cut = True
            self.kill()

    def _linger(self) -> None:
        if not self._lingers and not self.ended.called:
            self._lingers = True
            self._after(LINGER_S, self._let_go)

    def _let_go(self) -> None:
        """Others hold its pipes, or not even SIGKILL ends it."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.loseConnection()
        self._finish()

    def _finish(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self.ended.called:
            return
        status = -signal.SIGKILL if self._status is None else self._status
        err = bytes(self._err[-self._bounds.err_bytes :])
        done = Completed(status, bytes(self._out), err, self._cut)
        self.ended.callback(Ended(done, self._overdue))

    def _after(self, seconds: float, call: object) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(seconds, call)

    def _signal(self, number: int) -> None:
        if self._pid is None:
            return
        try:
            os.killpg(self._pid, number)
        except ProcessLookupError:
            if self._status is None:  # just started, and not yet the leader of its group
                os.kill(self._pid, number)
        except PermissionError:
            pass  # it made itself somebody else's


def _status(reason: Failure) -> int:
    value = reason.value
    if not isinstance(value, ProcessTerminated):
        return 0
    return int(value.exitCode) if value.signal is None else -int(value.signal)
