"""Starting and stopping a node, as far as no node is needed for it."""

from __future__ import annotations

import subprocess

from node.cli.lifecycle import PILOTS_LOOK_S, wait_gone


def test_down_waits_until_pilots_are_gone_and_names_those_that_stay() -> None:
    going, staying = (subprocess.Popen(["sleep", "600"]) for _ in range(2))
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        if len(paused) == 3:
            going.kill()
            going.wait()

    try:
        left = wait_gone([going.pid, staying.pid], 10 * PILOTS_LOOK_S, pause)
        assert left == [staying.pid]
        assert len(paused) == 10
        staying.kill()
        staying.wait()
        assert wait_gone([going.pid, staying.pid], sleep=pause) == []
        assert len(paused) == 10
    finally:
        for process in (going, staying):
            process.kill()
            process.wait()
