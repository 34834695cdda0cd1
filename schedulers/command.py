"""Run a batch system's commands on this machine, without blocking: bounded in time and output."""

from __future__ import annotations

import os
from collections.abc import Mapping

from schedulers.base import Command, Completed
from schedulers.child import Bounds, Reactor, execute
from schedulers.runner import TIMEOUT_S, ByCommands, Lost, check

# Words in English, as the parsers know them; TZ stays what it is, as times are printed in it.
PLAIN = {"LC_ALL": "C", "NO_COLOR": "1", "TERM": "dumb"}
COLOURS = ("CLICOLOR_FORCE", "FORCE_COLOR", "LANGUAGE")


class LocalRunner(ByCommands):
    """Runs commands here. environ: of them all; without it, this process's own."""

    name = "here"

    def __init__(self, reactor: Reactor, environ: Mapping[str, str] | None = None) -> None:
        self._reactor = reactor
        self._environ = plain_environment(os.environ if environ is None else environ)
        self._home = self._environ.get("HOME") or os.path.expanduser("~")

    async def run(
        self, command: Command, *, timeout_s: float = TIMEOUT_S, bounds: Bounds | None = None
    ) -> Completed:
        """See Runner.run. bounds: other ones than usual."""
        check(command)
        bounds = bounds or Bounds(timeout_s)
        ended = await execute(
            self._reactor,
            command.argv,
            self._environ,
            bounds,
            stdin=command.stdin,
            folder=self._home if os.path.isdir(self._home) else "/",
        )
        if ended.overdue:
            raise Lost(f"{command.argv[0]} did not end within {bounds.time_s:g} s")
        return ended.done

    def away(self) -> None:
        """Nothing does."""

    def retry(self) -> None:
        """It always does."""

    async def close(self) -> None:
        """Nothing is held."""


def plain_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with output in English and without colours."""
    return {name: word for name, word in environ.items() if name not in COLOURS} | PLAIN
