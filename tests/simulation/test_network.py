"""The virtual network does to bytes what networks do."""

from __future__ import annotations

from random import Random

import pytest

from federation.ids import SiteID
from tests.simulation.clock import VirtualClock
from tests.simulation.network import GIVE_UP_S, SYN_S_MAX, WINDOW_BYTES, Network
from tests.simulation.ways import Way

DELAY_S = 0.1


class Ends:
    """Two machines, and a connection from the first to the second once `connect` was called."""

    def __init__(self, way: Way) -> None:
        self.clock = VirtualClock()
        self.network = Network(self.clock, Random(1), way)
        self.one = self.network.machine("one", SiteID(b"1" * 32))
        self.two = self.network.machine("two", SiteID(b"2" * 32))
        self.network.listen(self.two, "two:1", self.accept)
        self.heard: list[tuple[float, bytes]] = []
        self.lost: list[tuple[float, str]] = []
        self.dialled: list[str] = []

    def accept(self, wire):
        self.far = wire
        wire.received = lambda data: self.heard.append((round(self.clock.seconds(), 3), data))
        wire.lost = lambda why: self.lost.append((round(self.clock.seconds(), 3), "far " + why))

    def connect(self, address="two:1"):
        def dialled(wire, why):
            self.near = wire
            self.dialled.append(why)
            if wire is not None:
                wire.lost = lambda why: self.lost.append(
                    (round(self.clock.seconds(), 3), "near " + why)
                )

        self.network.dial(self.one, address, dialled)
        self.run()

    def run(self, seconds=None):
        end_s = self.clock.seconds() + seconds if seconds else float("inf")
        if seconds:
            self.clock.callLater(seconds, lambda: None)
        while self.clock.seconds() < end_s and self.clock.turn():
            pass

    @property
    def text(self):
        return b"".join(data for _, data in self.heard)


@pytest.fixture
def ends():
    return Ends(Way((DELAY_S, DELAY_S)))


def test_a_connection_takes_two_round_trips_and_names_both_ends(ends):
    ends.connect()
    assert ends.dialled == [""]
    assert ends.clock.seconds() == pytest.approx(4 * DELAY_S)
    assert (ends.near.peer, ends.far.peer) == (ends.two.site, ends.one.site)


def test_bytes_take_the_delay_of_their_way(ends):
    ends.connect()
    ends.near.write(b"hello")
    ends.run()
    assert ends.heard == [(pytest.approx(5 * DELAY_S), b"hello")]


def test_nobody_answers_at_an_unknown_address_and_who_does_not_listen_refuses(ends):
    ends.connect("three:1")
    assert (ends.dialled, ends.clock.seconds()) == (["no answer"], SYN_S_MAX)
    ends.two.accept = None
    ends.connect()
    assert ends.dialled == ["no answer", "refused"]


def test_loss_delays_and_never_reorders():
    ends = Ends(Way((DELAY_S, DELAY_S), loss=0.2))
    ends.connect()
    sent = [bytes([number]) * 100 for number in range(100)]
    for data in sent:
        ends.near.write(data)
    ends.run()
    assert ends.text == b"".join(sent)
    assert ends.heard[-1][0] > 4 * DELAY_S + 2 * DELAY_S


def test_a_slow_line_takes_its_time():
    ends = Ends(Way((DELAY_S, DELAY_S), bytes_per_s=1024))
    ends.connect()
    begun_s = ends.clock.seconds()
    ends.near.write(bytes(10 * 1024))
    ends.run()
    assert ends.heard[0][0] - begun_s == pytest.approx(10 + DELAY_S)


def test_a_full_window_has_room_again_after_a_round_trip(ends):
    ends.connect()
    begun_s, again = ends.clock.seconds(), []
    ends.near.has_room = lambda: again.append(round(ends.clock.seconds() - begun_s, 2))
    ends.near.write(bytes(WINDOW_BYTES))
    assert ends.near.room == 0
    ends.run()
    assert again == [pytest.approx(2 * DELAY_S, abs=0.03)]
    assert ends.near.room == WINDOW_BYTES


def test_what_a_cut_holds_back_arrives_when_it_is_mended(ends):
    ends.connect()
    ends.near.write(b"on its way, ")
    ends.network.ways.cut("one", "two")
    ends.near.write(b"held")
    ends.run(60)
    assert ends.text == b"on its way, "
    ends.network.ways.mend("one", "two")
    ends.near.write(b" and in order")
    ends.run()
    assert ends.text == b"on its way, held and in order"
    assert ends.lost == []


def test_a_sender_gives_up_after_a_while(ends):
    ends.connect()
    ends.network.ways.cut("one", "two")
    ends.near.write(b"held")
    ends.run()
    assert ends.clock.seconds() >= GIVE_UP_S
    assert [what for _, what in ends.lost] == ["near timed out"]


def test_an_asymmetric_cut_lets_bytes_through_and_no_connection(ends):
    ends.connect()
    ends.network.ways.cut("two", "one")
    ends.near.write(b"one way")
    ends.run(5)
    assert ends.text == b"one way"
    assert ends.near.room < WINDOW_BYTES  # the acknowledgement does not come back
    ends.connect()
    assert ends.dialled == ["", "no answer"]


def test_a_close_comes_after_what_was_written(ends):
    ends.connect()
    ends.near.write(b"last words")
    ends.near.close()
    ends.near.write(b"too late")
    ends.run()
    assert ends.text == b"last words"
    assert [what for _, what in ends.lost] == ["far closed"]


def test_a_process_that_dies_closes_its_connections_and_hears_nothing_more(ends):
    ends.connect()
    ends.near.write(b"to a dead one")
    ends.network.process_died(ends.two)
    ends.run()
    assert ends.text == b""
    assert [what for _, what in ends.lost] == ["near closed"]


def test_a_power_cut_is_noticed_when_the_machine_is_back(ends):
    ends.connect()
    ends.network.power_died(ends.two)
    ends.run(30)
    assert ends.lost == []
    ends.near.write(b"are you there?")
    ends.run(100)
    assert ends.lost == []
    ends.network.power_back(ends.two)
    ends.run()
    assert [what for _, what in ends.lost] == ["near reset"]


def test_a_paused_process_reads_later_and_lets_no_more_come_than_its_system_holds(ends):
    ends.connect()
    ends.network.pause(ends.two)
    for _ in range(24):
        ends.near.write(bytes(16 * 1024))
    ends.run(60)
    assert ends.text == b""
    assert ends.near.room <= 0
    ends.network.resume(ends.two)
    ends.run()
    assert len(ends.text) == 24 * 16 * 1024
    assert ends.near.room == WINDOW_BYTES
    assert ends.lost == []


def test_a_dial_of_a_dead_process_is_never_answered(ends):
    answers = []
    ends.network.dial(ends.one, "two:1", lambda wire, why: answers.append(why))
    ends.network.process_died(ends.one)
    ends.run()
    assert answers == []


def test_a_split_keeps_groups_apart_in_all_directions():
    ways = Ends(Way()).network.ways
    machines = {
        name: Network(VirtualClock(), Random(1)).machine(name, SiteID(b"x" * 32)) for name in "abcd"
    }
    ways.split(["a", "b"], ["c"], ["d"])
    passing = {
        one + two for one in "abcd" for two in "abcd"
        if one < two and ways.passes(machines[one], machines[two])
        and ways.passes(machines[two], machines[one])
    }  # fmt: skip
    assert passing == {"ab"}
    ways.mend_all()
    assert ways.passes(machines["a"], machines["d"])
