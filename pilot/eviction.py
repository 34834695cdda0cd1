"""The signals by which batch systems tell a pilot to go: caught, kept, and taken from here."""

import signal
import time
from typing import Any, List, NamedTuple

from pilot import batchsystem

Caught = NamedTuple("Caught", [("number", int), ("at_ms", int)])


class Evictions:
    """Catches the signals that end a pilot. To be made early, in the main thread.

    SIGCONT ends nothing, but a handler lets a pilot that was stopped look at its clock at once.
    """

    def __init__(self) -> None:
        self._caught: List[Caught] = []
        for number in batchsystem.ENDING:
            signal.signal(number, self._catch)
        signal.signal(signal.SIGCONT, ignore)

    def _catch(self, number: int, frame: Any) -> None:
        self._caught.append(Caught(number, int(time.time() * 1000)))

    def take(self) -> List[Caught]:
        """What came since the last call, in order."""
        caught, self._caught = self._caught, []
        return caught


def ignore(number: int, frame: Any) -> None:
    """A handler that does nothing. Unlike SIG_IGN it is not inherited by programs that we start."""


def be_deaf() -> None:
    """In a process below the pilot: the pilot decides what its signals mean, we wait for it."""
    for number in (*batchsystem.ENDING, signal.SIGCONT):
        signal.signal(number, ignore)
