"""What the site says of itself at a glance."""

from __future__ import annotations

import pytest

from node.services.status import settled_note
from node.store.openwork import council_sizes
from tests.unit.node.fold.world import database

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


@pytest.mark.parametrize(
    ("councils", "sizes", "words"),
    [
        ([], (0, 0), "settled means: on this site's disk"),
        ([(A, A)], (1, 1), "settled means: on this site's disk"),
        ([(A, A), (A, A + B + C)], (3, 3), "the disks of 2 of the 3 sites of its council"),
        ([(B, A + B + C)], (0, 3), "of most sites of a dataset's council"),
        ([(B, A + B + C), (A, A)], (1, 3), "of the newest here: on this site's disk"),
    ],
)
def test_what_settled_means_follows_from_the_councils(
    councils: list[tuple[bytes, bytes]], sizes: tuple[int, int], words: str
) -> None:
    conn = database()
    for no, (leader, council) in enumerate(councils, 1):
        conn.execute(
            "INSERT INTO shard (no, id, founder, council, term, leader, generation, voters,"
            " stopped, at_term, at_feed, at_seq, own_root, results_root, version)"
            " VALUES (?, ?, ?, ?, 0, ?, 1, 1, 0, 0, 1, 1, x'', x'', 1)",
            (no, bytes([no]) * 32, leader, council, leader),
        )
    assert council_sizes(conn, A) == sizes
    assert words in settled_note(*sizes)
