"""What a site says that it could run."""

from federation import limits
from federation.shapes import Workers
from node.claims.capacity import Capacity
from node.dispatch import Room
from node.work.sessions import Session

GIB = 1 << 30


def session(no: int, room: Room, idle: int = 0) -> Session:
    made = Session(no, f"p{no}", b"", 0.0, whole=room)
    made.idle_slots = idle
    return made


class More:
    def __init__(self, room: Room, count: int) -> None:
        self.found = room, count

    def more(self) -> tuple[Room, int]:
        return self.found


ROOM = Room(8, 1, 16 * GIB, 100 * GIB)


def test_pilots_alike_are_one_kind_and_those_to_be_started_count() -> None:
    capacity = Capacity([session(1, ROOM, 3), session(2, ROOM)], lambda: [More(ROOM, 2)])
    assert capacity.workers() == (Workers(8, 1, 16 * 1024, 100 * 1024, 0, 4, 19),)


def test_what_is_lost_or_leaves_runs_nothing() -> None:
    lost, leaving, drained = (session(no, ROOM) for no in range(3))
    lost.lost, leaving.leaving, drained.draining = True, True, True
    assert Capacity([lost, leaving, drained], list).workers() == ()


def test_pilots_that_end_at_about_the_same_time_are_alike() -> None:
    one = session(1, Room(8, 0, GIB, GIB, 4000.0))
    other = session(2, Room(8, 0, GIB, GIB, 3700.0))
    (kind,) = Capacity([one, other], list).workers()
    assert (kind.time_s, kind.count) == (3600, 2)


def test_a_pilot_that_ends_soon_does_not_look_endless() -> None:
    (kind,) = Capacity([session(1, Room(8, 0, GIB, GIB, 10.0))], list).workers()
    assert kind.time_s == 1


def test_of_too_many_kinds_the_largest_are_told() -> None:
    sessions = [session(cpu, Room(cpu, 0, GIB, GIB)) for cpu in range(1, 20)]
    kinds = Capacity(sessions, list).workers()
    assert len(kinds) == limits.WORKER_KINDS_MAX
    assert [kind.cpu for kind in kinds] == list(range(19, 19 - limits.WORKER_KINDS_MAX, -1))


def test_busy_cores_are_those_without_idle_slots() -> None:
    assert Capacity([session(1, ROOM, 3), session(2, ROOM)], list).cores() == (16, 13)
