"""Run a batch system's commands on a submit host, through the system's OpenSSH.

All commands share one connection. When it cannot be made, or breaks, later commands fail at once
and with the reason, until it may be tried again: each failure waits longer than the one before. One
through which workers reach the node is made again without being asked for, unless somebody has to
do something first.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall

from schedulers import remote, texts
from schedulers.backoff import Backoff
from schedulers.base import Command, Completed
from schedulers.child import Bounds, Ended, Reactor, execute
from schedulers.command import plain_environment
from schedulers.connection import Connection
from schedulers.runner import (
    OUTPUT_BYTES_MAX,
    TIMEOUT_S,
    Away,
    ByCommands,
    Lost,
    NotReached,
    NotRun,
    check,
)
from schedulers.ssh_faults import Fault
from schedulers.ssh_options import (
    NO_SOCKET,
    PINNED,
    SOCKET_CHARS_MAX,
    SshSettings,
    config_text,
    session,
)

WAITING_MAX = 1000  # commands that wait for a session
SLACK_S = 10.0  # for the way there and back, beyond the time of a command
STEADY_S = 60.0  # a connection that lived so long was a good one
_SAFE = re.compile(r"/[A-Za-z0-9_./+@=,-]*")  # ssh expands %, ~ and ${} in the socket's path
_NO_SESSION = re.compile(rb"open failed|open refused|refused by peer", re.I)
_MAYBE_SENT = b"from master failed"  # the connection's process died while it was asked


class SshRunner(ByCommands):
    """See Runner. folder: for the connection's socket, ours alone; made when it is not there."""

    def __init__(
        self,
        reactor: Reactor,
        settings: SshSettings,
        folder: Path,
        *,
        rng: Random | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.name = settings.host
        self.fault: Fault | None = None  # why there is no connection; None before the first try
        self._reactor = reactor
        self._settings = settings
        self._folder = folder
        self._environ = plain_environment(os.environ if environ is None else environ)
        self._environ.pop("SSH_ASKPASS", None)
        self._backoff = Backoff(rng or Random(secrets.randbits(64)))
        self._slots = DeferredSemaphore(settings.sessions)
        self._connection: Connection | None = None
        self._since_s = 0.0
        self._waiting: list[Deferred[None]] = []
        self._sockets: Path | None = None
        self._closed = False
        self._again: IDelayedCall | None = None  # our own next try

    async def run(self, command: Command, *, timeout_s: float = TIMEOUT_S) -> Completed:
        """See Runner.run. The time begins when a connection is there."""
        check(command)
        if len(self._slots.waiting) >= WAITING_MAX:
            raise NotRun(f"{self.name}: {WAITING_MAX} commands wait already")
        await self._slots.acquire()
        try:
            return await self._run(await self._connected(), command, timeout_s)
        finally:
            self._slots.release()

    def away(self) -> Away | None:
        """See Runner."""
        left_s = self._backoff.left_s(self._reactor.seconds())
        if self._connection is not None or self.fault is None or left_s <= 0:
            return None
        return Away(f"{self.name}: {self.fault.words}", left_s)

    def retry(self) -> None:
        """Somebody has done something about it: the next command tries at once."""
        self._backoff.at_once()

    async def close(self) -> None:
        """End the connection, and with it all that runs through it."""
        self._closed = True
        self._stop_again()
        if self._connection is not None:
            link = self._connection
            link.close(Fault("closed", False))
            await link.dead
        if self._sockets is not None and self._sockets != self._folder:
            shutil.rmtree(self._sockets, ignore_errors=True)

    # One command.

    async def _run(self, link: Connection, command: Command, timeout_s: float) -> Completed:
        mark = f"floe-{secrets.token_hex(8)}"
        orders = remote.orders(command.argv, mark, timeout_s, profile=self._settings.profile)
        bytes_max = OUTPUT_BYTES_MAX + remote.NOISE_BYTES_MAX
        start_s = self._reactor.seconds()
        ended = await execute(
            self._reactor,
            session(self._settings, link.socket, remote.BOOTSTRAP),
            self._environ,
            Bounds(timeout_s + SLACK_S, bytes_max),
            stdin=orders + command.stdin,
            last_word=remote.last_word(mark),
        )
        answer = remote.answer(ended.done, mark, OUTPUT_BYTES_MAX)
        if not answer.begun:
            raise self._not_begun(link, ended, command.argv[0])
        if answer.missing:
            raise NotRun(f"{self.name}: no program {command.argv[0]} in PATH", lasting=True)
        late = self._reactor.seconds() - start_s >= timeout_s
        status = None if answer.done is None else answer.done.status
        if ended.overdue or (late and status in (remote.OVERDUE, -9)):
            raise Lost(f"{self.name}: {command.argv[0]} did not end within {timeout_s:g} s")
        if answer.done is None:
            raise Lost(f"{self.name}: the connection broke while {command.argv[0]} ran")
        return answer.done

    def _not_begun(self, link: Connection, ended: Ended, program: str) -> NotRun | Lost:
        """No mark came: was the command run?"""
        words = texts.complaint(ended.done)
        if ended.overdue:
            link.close(Fault("it did not answer a command", False))
            return Lost(f"{self.name}: it did not answer; nobody knows whether {program} ran")
        if _NO_SESSION.search(ended.done.err):
            more = "it refuses one more session (MaxSessions of its sshd): set sessions lower"
            return NotRun(f"{self.name}: {program} was not run: {more} ({words})")
        if NO_SOCKET.encode() in ended.done.err and _MAYBE_SENT not in ended.done.err:
            link.close(Fault("the connection's socket is gone", False))
            return NotReached(f"{self.name}: {program} was not run: the connection broke")
        if ended.done.status != 255:
            return NotRun(
                f"{self.name}: {program} was not run: the shell's start-up files ended it "
                f"({words}); profile = false leaves out /etc/profile and ~/.profile",
                lasting=True,
            )
        return Lost(f"{self.name}: the connection broke before {program} answered: {words}")

    # The connection.

    async def _connected(self) -> Connection:
        """The connection, made if need be by the first who asks. Raises NotRun."""
        while True:
            if self._closed:
                raise NotRun(f"{self.name}: closed")
            link = self._connection
            if link is not None and link.ready:
                return link
            if link is None:
                self._connect()
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn

    def _connect(self) -> None:
        if (away := self.away()) is not None:
            assert self.fault is not None
            raise NotReached(away.words, lasting=self.fault.lasting)
        key = self._settings.key
        if key and not os.access(key, os.R_OK):
            raise NotReached(f"{self.name}: no private key {key} that we can read", lasting=True)
        link = Connection(self._reactor, self._settings, self._opened, self._gone)
        link.start(*self._files(), self._environ)
        self._connection = link

    def _opened(self) -> None:
        self.fault = None
        self._since_s = self._reactor.seconds()
        self._wake()

    def _gone(self, fault: Fault) -> None:
        """A connection is no more, or never came to be."""
        now_s = self._reactor.seconds()
        if self.fault is None and now_s - self._since_s >= STEADY_S:
            self._backoff.worked()
        self._backoff.failed(now_s, lasting=fault.lasting)
        self.fault = fault
        self._connection = None
        if self._settings.tunnel is not None and not (fault.lasting or self._closed):
            self._stop_again()
            left_s = self._backoff.left_s(now_s)
            self._again = self._reactor.callLater(left_s, self._connect_again)
        self._wake()

    def _stop_again(self) -> None:
        if self._again is not None and self._again.active():
            self._again.cancel()

    def _connect_again(self) -> None:
        """Unless a command has done so."""
        if self._connection is None and not self._closed:
            with contextlib.suppress(NotRun):  # the next command is told why
                self._connect()

    def _wake(self) -> None:
        """All who wait for a connection look again."""
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.callback(None)

    def _files(self) -> tuple[str, str, str]:
        """A name for a new socket, the files with the pinned key and ssh_config; no leftovers."""
        if self._sockets is None:
            self._sockets = _socket_folder(self._folder)
        for old in self._sockets.glob("*.ssh*"):
            old.unlink(missing_ok=True)
        pinned = self._sockets / "known_hosts"
        pinned.write_text(f"{PINNED} {self._settings.host_key}\n")
        config = self._sockets / "config"
        config.write_text(config_text(self._settings, pwd.getpwuid(os.geteuid()).pw_dir))
        return str(self._sockets / f"{secrets.token_hex(4)}.ssh"), str(pinned), str(config)


def _socket_folder(folder: Path) -> Path:
    """`folder`, ours alone, or one below /tmp if its path is too long for a socket.

    Raises NotRun if others could write there.
    """
    if len(str(folder)) + 13 > SOCKET_CHARS_MAX or not _SAFE.fullmatch(str(folder)):
        return Path(tempfile.mkdtemp(prefix="floe-ssh-", dir="/tmp"))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise NotReached(f"{folder}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise NotReached(
            f"{folder}: has to be a folder of ours alone (mode 0700): it leads to the host"
        )
    return folder
