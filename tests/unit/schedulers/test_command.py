"""Commands of batch systems: their output is whole or bounded, their time is limited."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

PROGRAM = """
import json, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from schedulers.base import Command, SchedulerError
from schedulers.command import run

async def main():
    asked = json.loads(sys.argv[1])
    try:
        done = await run(reactor, Command(asked["argv"], asked["stdin"].encode()), **asked["more"])
        answer = [done.status, done.out.decode(), done.err.decode(), done.cut, done.why()]
    except SchedulerError as error:
        answer = str(error)
    print(json.dumps(answer))
    reactor.stop()

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()))
reactor.run()
"""


def ran(*argv: str, stdin: str = "", **more: Any) -> Any:
    """What `run` gives, in a process with a real reactor."""
    asked = json.dumps({"argv": argv, "stdin": stdin, "more": more})
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), asked],
        capture_output=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_output_status_and_stdin_pass_through() -> None:
    script = "cat; echo on stderr >&2; exit 3"
    assert ran("sh", "-c", script, stdin="given") == [
        3, "given", "on stderr\n", False, "on stderr",
    ]  # fmt: skip


def test_a_signal_shows_as_a_negative_status() -> None:
    assert ran("sh", "-c", "kill -9 $$")[0] == -9


def test_endless_output_is_cut_at_the_bound() -> None:
    status, out, _, cut, _ = ran("sh", "-c", "yes | head -c 1000000", output_bytes_max=1000)
    assert (status, len(out), cut) == (0, 1000, True)


def test_a_command_that_hangs_is_ended_and_named() -> None:
    assert ran("sleep", "1000", timeout_s=0.2) == "sleep did not end within 0.2 s"


def test_a_missing_program_is_named() -> None:
    assert ran("no-such-sbatch") == "no program no-such-sbatch in PATH"
