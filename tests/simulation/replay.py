"""Runs of seeds: one after the other, each by its command line; a failure is shrunk and told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Protocol

from tests.simulation.schedule import Schedule, shown, shrink

TRIES = 80  # runs to spend on shrinking a schedule


class Run(Protocol):
    """What makes a run what it is."""

    @property
    def seed(self) -> int: ...
    @property
    def schedule(self) -> Schedule: ...
    @property
    def command(self) -> str:
        """The command line that does it again."""

    def fails(self, schedule: Schedule | None = None, *, trace: bool = False) -> str:
        """The error of the run, or "" when everything held. schedule: events, if not its own."""


def replay(
    run_of: Callable[[int], Run],
    seed: int,
    *,
    minutes: float = 0.0,
    tries: int = TRIES,
    trace: bool = False,
) -> int:
    """Run a seed, and the next ones for so long. 0 if everything held, 1 if a seed fails."""
    until = time.monotonic() + minutes * 60
    while True:
        run = run_of(seed)
        begun = time.monotonic()
        error = run.fails(trace=trace)
        if error:
            report(run, error, tries)
            return 1
        print(f"seed {seed} holds ({time.monotonic() - begun:.1f} s)", flush=True)
        seed += 1
        if time.monotonic() > until:
            return 0


def report(run: Run, error: str, tries: int) -> None:
    """Say what failed, how to see it again, and which events it needs."""
    print(f"\nseed {run.seed} fails: {run.command}\n{error}\n", flush=True)
    needed = shrink(run.schedule, lambda part: bool(run.fails(part)), tries)
    print(f"the {len(needed)} of {len(run.schedule)} events that it needs:\n{shown(needed)}")
    if needed != run.schedule:
        print(f"\nwith these alone:\n{run.fails(needed)}")


def command_of(module: str, run: Any) -> str:
    """The command line of a run whose options are the fields of a dataclass."""
    command = f"python -m {module}"
    for each in fields(run):
        value = getattr(run, each.name)
        if value != each.default:
            command += f" --{each.name} {value}"
    return command
