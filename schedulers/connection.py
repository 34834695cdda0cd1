"""The one connection to a submit host: an ssh process of ours, through whose socket sessions go.

It holds a session of its own whose remote end waits for our stdin to end. So it ends with us, even
if we are killed, and leaves no tunnel behind that would keep its port from the next one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from schedulers import remote
from schedulers.child import GRACE_S, Reactor, in_session
from schedulers.ssh_faults import Fault, explain, shut_tunnel
from schedulers.ssh_options import SshSettings, connection

OPEN_FACTOR = 4  # a shell has to obey within so many times what the connection may take
SAID_BYTES_MAX = 64 << 10  # of what ssh and the remote start-up files say, the last ones


class Connection(ProcessProtocol):
    """Calls `opened` when sessions can begin, and `lost` once, when it ended or never began."""

    def __init__(
        self,
        reactor: Reactor,
        settings: SshSettings,
        opened: Callable[[], None],
        lost: Callable[[Fault], None],
    ) -> None:
        self.dead: Deferred[None] = Deferred()  # the process is gone, or nothing ends it
        self.socket = ""
        self.ready = False
        self._opened = opened
        self._reactor = reactor
        self._settings = settings
        self._lost = lost
        self._mark = f"floe-{secrets.token_hex(8)}"
        self._out = bytearray()
        self._err = bytearray()
        self._process: IProcessTransport | None = None
        self._pid: int | None = None
        self._timer: IDelayedCall | None = None
        self._over = False
        self._was_ready = False

    def start(self, socket: str, pinned: str, config: str, env: Mapping[str, str]) -> None:
        """Connect. Raises NotRun if there is no ssh here."""
        self.socket = socket
        words = connection(self._settings, socket, pinned, remote.BOOTSTRAP, config)
        argv = in_session(words, env)
        time_s = OPEN_FACTOR * self._settings.connect_s
        self._timer = self._reactor.callLater(time_s, self._too_long)
        self._process = self._reactor.spawnProcess(self, argv[0], argv, dict(env))
        self._pid = self._process.pid

    def close(self, fault: Fault) -> None:
        """End it, for this reason."""
        if not self._over:
            self._signal(signal.SIGTERM)
            if self._process is not None:
                self._process.closeStdin()  # wakes an ssh that was about to sleep
            self._finish(fault)
            self._timer = self._reactor.callLater(GRACE_S, self._kill)

    # From Twisted.

    def connectionMade(self) -> None:
        assert self.transport is not None
        tunnel = self._settings.tunnel
        self.transport.write(remote.ready(self._mark, tunnel.port if tunnel else None))

    def outReceived(self, data: bytes) -> None:
        if self.ready or self._over:
            return
        self._out += data
        del self._out[:-SAID_BYTES_MAX]
        if remote.is_ready(bytes(self._out), self._mark):
            if shut := shut_tunnel(bytes(self._out), self._settings):
                self.close(shut)
                return
            self.ready = self._was_ready = True
            self._stop_timer()
            self._out.clear()
            self._err.clear()
            self._opened()

    def errReceived(self, data: bytes) -> None:
        self._err += data
        del self._err[:-SAID_BYTES_MAX]

    def processExited(self, reason: Failure) -> None:
        status = getattr(reason.value, "exitCode", 0)
        self._finish(self._why(255 if self._was_ready else status))

    def processEnded(self, reason: Failure) -> None:
        self.processExited(reason)
        self._stop_timer()
        self._bury()

    # Ends.

    def _why(self, status: int | None) -> Fault:
        return explain(bytes(self._err), bytes(self._out), status, self._settings)

    def _too_long(self) -> None:
        self.close(self._why(None))

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.loseConnection()
        self._bury()

    def _finish(self, fault: Fault) -> None:
        if not self._over:
            self._stop_timer()
            self._over = True
            self.ready = False
            self._lost(fault)

    def _bury(self) -> None:
        if not self.dead.called:
            self.dead.callback(None)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _signal(self, number: int) -> None:
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # gone already
                os.killpg(self._pid, number)
