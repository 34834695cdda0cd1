"""Commands of batch systems: their output is whole or bounded, their time is limited."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedulers.base import Command, Completed
from schedulers.child import Bounds
from schedulers.command import LocalRunner
from schedulers.runner import TIMEOUT_S, Lost
from tests.fakes.spawning import Spawning


@pytest.fixture
def loop() -> Iterator[Spawning]:
    loop = Spawning()
    yield loop
    loop.close()


def sh(loop: Spawning, script: str, bounds: Bounds, **environ: str) -> Completed:
    runner = LocalRunner(loop.reactor, os.environ | environ)
    done = loop.result(runner.run(Command(["sh", "-c", script]), bounds=bounds))
    assert isinstance(done, Completed)
    return done


def test_output_is_cut_at_the_bound_and_its_writer_ended(loop: Spawning) -> None:
    done = sh(loop, "yes", Bounds(60, out_bytes=1000))
    assert (len(done.out), done.cut, done.status) == (1000, True, -9)


def test_of_stderr_the_end_is_kept(loop: Spawning) -> None:
    done = sh(loop, "yes | head -c 100000 >&2; echo why >&2; echo data", Bounds(60, err_bytes=1000))
    assert (done.out, len(done.err), done.why(), done.cut) == (b"data\n", 1000, "why", False)


def test_endless_complaints_are_cut_too(loop: Spawning) -> None:
    assert sh(loop, "yes >&2", Bounds(60, out_bytes=100_000, err_bytes=1000)).cut


def test_rubbish_costs_neither_memory_nor_time(loop: Spawning) -> None:
    before_s = time.process_time()
    program = "import sys\nwhile True: sys.stdout.buffer.write(bytes(1 << 20))"
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runner = LocalRunner(loop.reactor)
    done = loop.result(runner.run(Command([sys.executable, "-c", program])))
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert done.cut
    assert time.process_time() - before_s < 2
    assert grown_kb < 150_000


def test_nothing_that_a_late_command_started_stays(loop: Spawning, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 1000 & echo $! $$ >{pids}; sleep 1000"
    begun = loop.begin(LocalRunner(loop.reactor).run(Command(["sh", "-c", script])))
    loop.until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    loop.skip(TIMEOUT_S)
    with pytest.raises(Lost, match=rf"^sh did not end within {TIMEOUT_S:g} s$"):
        loop.result(begun)
    loop.until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_words_are_english_and_without_colours(loop: Spawning) -> None:
    script = 'echo "$LC_ALL $NO_COLOR $TERM $TZ ${FORCE_COLOR-no}"'
    done = sh(loop, script, Bounds(60), LC_ALL="de_DE.UTF-8", FORCE_COLOR="1", TZ="Asia/Tokyo")
    assert done.out == b"C 1 dumb Asia/Tokyo no\n"
