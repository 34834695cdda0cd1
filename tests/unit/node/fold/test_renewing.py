"""Outputs that were made again and differ: an order lets them count, and who read the lost ones
runs again."""

from __future__ import annotations

from typing import Any

import pytest

from federation.ids import DatasetID
from federation.records import Outcome, Reproduce
from node.changes import READ_AGAIN, DatasetChanged, OutputsChanged
from node.model.inputs import read_digest
from tests.unit.node.fold.test_fold import Site
from tests.unit.node.fold.world import results

A, B, C, D = (letter * 32 for letter in (b"A", b"B", b"C", b"D"))
# `end` reads what `use` makes of the outputs of `make`; `late` reads those, too.
TASKS = (("make", ()), ("use", (0,)), ("end", (1,)), ("late", (0,)))
LOST = (int(Outcome.INFRASTRUCTURE), "inputs-changed")


class Story:
    """Two jobs. `use` of the first has read what was lost then; it came out otherwise since."""

    def __init__(self, *remade: bytes) -> None:
        self.site = Site()
        self.id = self.site.submit(tasks=TASKS, jobs=2)
        self.run(0, [0, 1], outputs=[A, B])
        self.run(1, [0], outputs=C, inputs=read_digest([A]))
        self.run(2, [0], inputs=read_digest([C]))
        for outputs in remade:
            self.lose()
            self.run(0, [0], outputs=outputs)

    def run(self, task: int, jobs: list[int], **columns: Any) -> list[Any]:
        return self.site.results(results(self.id, task, jobs, **columns))

    def lose(self) -> None:
        record = Reproduce(self.site.log.shard, DatasetID(self.id), [0], [0, 1])
        self.site.log.control(record)
        self.site.fold()

    def renew(self, nonce: int = 0, **select: Any) -> list[Any]:
        self.site.log.order(self.id, "renew", nonce, **({"select": select} if select else {}))
        return self.site.fold()

    def read(self, task: int, outputs: bytes) -> None:
        self.run(task, [0], inputs=read_digest([outputs]))

    def settled(self) -> list[int]:
        """How many units of each task are settled."""
        return [self.site.counts(64 + index).get("settled", 0) for index in range(4)]

    def counted(self) -> int:
        """The results entry that settles the unit which was lost."""
        sql = "SELECT e.seq FROM settled s JOIN entry e ON e.no = s.entry WHERE task = 64 AND job=0"
        return int(self.site.conn.execute(sql).get)

    def surplus(self) -> list[str]:
        sql = "SELECT why FROM surplus WHERE task = 64 ORDER BY entry"
        return [why for (why,) in self.site.conn.execute(sql)]


def test_until_somebody_says_so_the_first_outputs_count() -> None:
    story = Story(D)
    assert story.surplus() == ["differs"]
    story.read(3, D)
    assert story.settled() == [2, 1, 1, 0]


def test_the_outputs_that_were_made_again_count_by_order_and_their_readers_run_again() -> None:
    story = Story(D)
    changes = story.renew()
    assert (story.counted(), story.surplus()) == (4, ["superseded"])
    assert story.site.counts(65) == {"ready": 2}
    assert story.site.counts(66) == {"settled": 1, "early": 1}
    faults = story.site.conn.execute("SELECT task, job, outcome, error FROM fault").fetchall()
    assert faults == [(65, 0, *LOST)]
    assert DatasetChanged(1, "renew") in changes
    assert "renew" in READ_AGAIN
    told = [each for each in changes if isinstance(each, OutputsChanged)]
    assert told == [OutputsChanged(64, [0]), OutputsChanged(65, [0])]
    story.read(3, D)
    assert story.settled() == [2, 0, 1, 1]


def test_what_comes_out_as_before_saves_what_stands_behind_it() -> None:
    story = Story(D)
    story.renew()
    story.run(1, [0], outputs=C, inputs=read_digest([D]))
    assert story.settled() == [2, 1, 1, 0]


def test_what_comes_out_otherwise_has_what_stands_behind_it_run_again() -> None:
    story = Story(D)
    story.renew()
    story.run(1, [0], outputs=B, inputs=read_digest([D]))
    assert story.settled() == [2, 1, 0, 0]
    story.read(2, B)
    assert story.settled() == [2, 1, 1, 0]


def test_the_last_of_several_attempts_counts_and_the_others_never_will() -> None:
    story = Story(B, D)
    story.renew(1)
    assert (story.counted(), story.surplus()) == (5, ["superseded", "superseded"])
    story.renew(2)
    assert story.counted() == 5


def test_attempts_of_before_a_unit_was_restored_do_not_take_its_place() -> None:
    story = Story(D, A)
    story.renew()
    assert story.counted() == 1
    assert story.settled() == [2, 1, 1, 0]


def test_a_unit_that_runs_once_more_is_not_waited_for_any_longer() -> None:
    story = Story(D)
    story.lose()
    story.renew()
    assert story.site.conn.execute("SELECT count(*) FROM reproducing").get == 0
    story.run(0, [0], outputs=B)
    assert story.counted() == 4
    assert story.site.counts(64) == {"settled": 2, "duplicates": 1}


@pytest.mark.parametrize("select", [{"jobs": [1, 2]}, {"tasks": ["use", "late"]}])
def test_what_was_not_chosen_stays_as_it_is(select: dict[str, Any]) -> None:
    story = Story(D)
    story.renew(**select)
    assert story.counted() == 1
    assert story.settled() == [2, 1, 1, 0]


def test_an_order_that_names_no_task_of_the_dataset_is_refused() -> None:
    story = Story(D)
    story.renew(tasks=["nope"])
    assert story.site.refused() == ["the dataset has no task 'nope'"]
    assert story.counted() == 1


def test_what_is_lost_again_runs_again_and_is_compared_with_what_counts_now() -> None:
    story = Story(D)
    story.renew()
    story.run(1, [0], outputs=C, inputs=read_digest([D]))
    story.lose()
    story.run(0, [0], outputs=D)
    assert story.surplus() == ["superseded", "reproduced"]
    story.lose()
    story.run(0, [0], outputs=A)
    assert story.surplus() == ["superseded", "reproduced", "differs"]
