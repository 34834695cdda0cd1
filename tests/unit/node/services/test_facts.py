"""What the site says of its workers."""

from pathlib import Path
from typing import Any

from node.config import Config
from node.services.facts import SiteFacts


class Work:
    def __init__(self, *pilots: tuple[str, int, int]) -> None:
        self._pilots = pilots

    def running(self, task: int) -> int:
        return 0

    def pilots(self) -> list[dict[str, Any]]:
        return [
            {"state": state, "resources": {"cpu": slots}, "idle_slots": idle}
            for state, slots, idle in self._pilots
        ]


def test_lost_pilots_are_no_workers(tmp_path: Path) -> None:
    work = Work(("running", 4, 1), ("lost", 2**40, 0), ("expected", 2, 0))
    facts = SiteFacts(Config("here"), tmp_path, work, lambda: 0, lambda: "", list)
    workers = facts.workers()
    assert (workers.pilots, workers.slots, workers.busy) == (2, 6, 5)
