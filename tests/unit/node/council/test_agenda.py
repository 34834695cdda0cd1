"""Which shards a council looks at."""

from __future__ import annotations

import pytest

from federation.entry import Entry, seal
from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.records import Grant, Record
from federation.shard import found
from keys.identity import SiteKey
from node.council.agenda import LOOK_S_MAX, Agenda
from tests.unit.federation.builders import DATASET, results

ONE, TWO, THREE = (ShardID(bytes([number]) * 32) for number in (1, 2, 3))
NEVER = float("inf")
KEY = SiteKey(b"k" * 32)


def entry(*records: Record, lane: Lane = Lane.CONTROL, seq: int = 2) -> Entry:
    prev = b"" if seq == 1 else bytes(32)
    return seal(KEY, FeedID(SiteID(KEY.site), 1, lane), seq, prev, 1, list(records))


def grant(shard: ShardID) -> Grant:
    return Grant(shard, DATASET, [0], [0, 1], SiteID(KEY.site))


class Desk:
    """An agenda, and what it knows."""

    def __init__(self) -> None:
        self.councils = [ONE, TWO]
        self.asked = 0
        self.agenda = Agenda(self._councils)

    def _councils(self) -> list[ShardID]:
        self.asked += 1
        return self.councils

    def look(self, now_s: float, again_s: float = NEVER, waits: tuple[ShardID, ...] = ()) -> object:
        due = self.agenda.due(now_s)
        for shard in due:
            self.agenda.looked(shard, again_s, waits=shard in waits)
        return due

    def come(self, entry: Entry) -> None:
        control = entry.header.lane is Lane.CONTROL
        self.agenda.arrived(entry, entry.records() if control else ())


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    assert desk.look(0.0) == [ONE, TWO]
    return desk


def test_only_shards_of_which_an_entry_speaks_are_looked_at(desk: Desk) -> None:
    desk.come(entry(grant(TWO), grant(THREE)))
    assert desk.look(1.0) == [TWO]
    assert desk.look(2.0) == []
    assert desk.asked == 1


def test_results_speak_of_no_shard(desk: Desk) -> None:
    desk.come(entry(results(), lane=Lane.RESULTS))
    assert desk.look(1.0) == []


def test_whatever_comes_is_news_for_a_log_that_lacks_something(desk: Desk) -> None:
    desk.come(entry(grant(ONE)))
    assert desk.look(1.0, waits=(ONE,)) == [ONE]
    assert desk.look(2.0) == []
    desk.come(entry(results(), lane=Lane.RESULTS))
    assert desk.look(3.0) == [ONE]
    desk.come(entry(results(), lane=Lane.RESULTS))
    assert desk.look(4.0) == []


def test_a_shard_whose_time_has_come_is_looked_at(desk: Desk) -> None:
    desk.agenda.news([ONE])
    assert desk.look(1.0, again_s=5.0) == [ONE]
    assert desk.agenda.next_s == 5.0
    assert desk.look(4.9) == []
    assert desk.look(5.0) == [ONE]


def test_every_shard_is_looked_at_once_in_a_while(desk: Desk) -> None:
    assert desk.agenda.next_s == LOOK_S_MAX
    assert desk.look(LOOK_S_MAX) == [ONE, TWO]


def test_a_shard_that_is_founded_is_looked_at_at_once(desk: Desk) -> None:
    seats = [FeedID(SiteID(bytes([number]) * 32), 1, Lane.CONTROL) for number in (1, 2)]
    record = found(FeedID(SiteID(KEY.site), 1, Lane.CONTROL), bytes(16), [
        FeedID(SiteID(KEY.site), 1, Lane.CONTROL), *seats,
    ])  # fmt: skip
    desk.councils = [ONE, TWO, record.shard]
    desk.come(entry(record))
    assert desk.look(1.0) == [record.shard]


def test_a_site_that_goes_on_in_another_generation_concerns_every_shard(desk: Desk) -> None:
    desk.come(entry(grant(THREE), seq=1))
    assert desk.look(1.0) == [ONE, TWO]


def test_news_is_kept_while_councils_cannot_be_read(desk: Desk) -> None:
    def broken() -> list[ShardID]:
        raise OSError("the disk is slow")

    read, desk.agenda._councils = desk.agenda._councils, broken
    desk.agenda.everything()
    with pytest.raises(OSError, match="slow"):
        desk.look(1.0)
    desk.agenda._councils = read
    assert desk.look(2.0) == [ONE, TWO]
