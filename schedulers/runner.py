"""Where commands of batch systems run: here (command.py) or on a submit host (ssh.py).

Both run the same command lines and keep files by the same few programs of sh and coreutils, so that
whoever uses a runner need not know which of them it is.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schedulers import shipping
from schedulers.base import Command, Completed, SchedulerError

TIMEOUT_S = 60.0
OUTPUT_BYTES_MAX = 32 << 20  # of stdout; who prints more is ended
ERROR_BYTES_MAX = 1 << 20  # the last ones of stderr are kept
WORD_BYTES_MAX = (128 << 10) - 1  # of one word: MAX_ARG_STRLEN, execve(2)
ARGV_BYTES_MAX = 1 << 20  # below every ARG_MAX of Linux, with room for the environment


class NotRun(SchedulerError):
    """The command did not start, for certain: nothing was changed by it.

    lasting: it will not start either before somebody does something.
    """

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class NotReached(NotRun):
    """There is no connection to the machine: nothing at all can be run there."""


@dataclass(frozen=True, slots=True)
class Away:
    """Why there is no connection, and in how many seconds one may be tried again."""

    words: str
    again_s: float


class Lost(SchedulerError):
    """The command started, or may have, and nobody saw its end: what it did is not known."""


class Runner(Protocol):
    """Runs commands on one machine and keeps files there, all of it bounded in time and size.

    A path is absolute, or relative to the account's home folder on that machine.
    """

    name: str  # for messages

    async def run(self, command: Command, *, timeout_s: float = TIMEOUT_S) -> Completed:
        """Run a command to its end, in the home folder. A status other than 0 is no error here.

        When `timeout_s` is over, the command and its children are ended. What it left running when
        it ended is ended soon after it, unless it made itself a daemon. Raises NotRun or Lost.
        """

    async def home(self) -> str:
        """The home folder, absolute."""

    async def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Write a file as a whole or not at all, with the folders above it (0700).

        Raises SchedulerError with the reason; then an older file of this name is as it was.
        """

    async def get(self, path: str, bytes_max: int) -> bytes | None:
        """The last `bytes_max` bytes of a file; None if there is none. Raises SchedulerError."""

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files and folders with all that is in them; what is gone already is no error."""

    def away(self) -> Away | None:
        """What keeps commands from being run there for now; None if nothing is known to."""

    def retry(self) -> None:
        """Somebody has done something about what was wrong: the next command tries at once."""

    async def close(self) -> None:
        """Let go of all that is held. Nothing runs afterwards."""


class ByCommands(abc.ABC):
    """Files of a machine, kept by commands that `run` executes there."""

    name: str

    @abc.abstractmethod
    async def run(self, command: Command, *, timeout_s: float = TIMEOUT_S) -> Completed:
        """As `Runner.run`."""

    async def home(self) -> str:
        return shipping.home_of(await self.run(shipping.home()), self.name)

    async def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        done = await self.run(shipping.put(path, content, mode))
        shipping.done(done, f"{self.name}: cannot write {path}")

    async def get(self, path: str, bytes_max: int) -> bytes | None:
        done = await self.run(shipping.get(path, bytes_max))
        return shipping.got(done, bytes_max, f"{self.name}: cannot read {path}")

    async def remove(self, paths: Sequence[str]) -> None:
        for start in range(0, len(paths), shipping.PATHS_MAX):
            some = paths[start : start + shipping.PATHS_MAX]
            done = await self.run(shipping.remove(some))
            shipping.done(done, f"{self.name}: cannot remove {some[0]}")


def check(command: Command) -> None:
    """Raises NotRun for a command line that no system could start."""
    words = [word.encode("utf-8", "surrogateescape") for word in command.argv]
    if not words or not words[0]:
        raise NotRun("the command is empty")
    if any(b"\0" in word for word in words):
        raise NotRun(f"{command.argv[0]!r}: a word holds a zero byte")
    longest, total = max(map(len, words)), sum(map(len, words))
    if longest > WORD_BYTES_MAX or total > ARGV_BYTES_MAX:
        raise NotRun(
            f"{command.argv[0]}: {total} bytes of words, one of {longest}; "
            f"{ARGV_BYTES_MAX} are allowed, and {WORD_BYTES_MAX} in one"
        )
