"""A pilot from announcing to leaving: units run, results and blobs arrive, nothing stays."""

from __future__ import annotations

from tests.fakes.pilot_server import PilotServer, task
from tests.unit.pilot.conftest import Launch


def test_a_unit_runs_and_its_result_arrives(
    server: PilotServer, launch: Launch, isolation: str
) -> None:
    pilot = launch(isolation=isolation)
    server.add(task(["sh", "-c", "echo job $FLOE_JOB of $FLOE_DATASET; pwd"]), jobs=[7])
    row = server.result(7)
    assert (row["outcome"], row["error"], row["exit"]) == (0, "", 0)
    assert server.log(row).startswith(b"job 7 of stub\n")
    assert server.state.announced[0]["isolation"] == isolation
    assert pilot.end() == 0
    assert server.state.left
    assert list(pilot.work.iterdir()) == []
