"""A virtual network: connections like TCP's between machines, under virtual time.

A connection carries bytes in order and sends again what was lost; a way that is cut holds them back
until it is whole or the sender gives up. A process that ends closes its connections, a machine that
loses its power tells nobody. Who is at the other end is known as TLS would prove it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random

from federation.ids import SiteID
from tests.simulation.clock import VirtualClock
from tests.simulation.ways import Accept, Machine, Way, Ways

SYN_S_MAX = 20.0  # a dial that is not answered fails after this
WINDOW_BYTES = 256 * 1024  # written and not yet acknowledged
PACKET_BYTES = 1400
RECEIVE_BYTES = 128 * 1024  # that a system takes for a process that does not read
RESEND_S_MIN = 0.2
RESEND_S_MAX = 60.0
GIVE_UP_S = 900.0  # without an acknowledgement

Dialled = Callable[["Wire | None", str], None]
"""Gets this end of a new connection, or None and why there is none."""


class Wire:
    """One end of a connection. Its owner sets `received`, `lost` and `has_room`."""

    def __init__(self, network: Network, here: Machine, there: Machine) -> None:
        self.here = here
        self.there = there
        self.received: Callable[[bytes], None] = lambda data: None
        self.lost: Callable[[str], None] = lambda why: None
        self.has_room: Callable[[], None] = lambda: None  # after there was none
        self.open = True
        self.bytes_out = 0  # as written: what is sent again does not count
        self.other: Wire = self
        self.delay_s = network.ways.draw_delay_s(here, there)
        self._network = network
        self._unacked = 0  # bytes
        self._acks: deque[tuple[float, int]] = deque()  # when they come, for how much
        self._waits = False  # for room
        self._free_s = 0.0  # when the line has taken the latest segment
        self._arrives_s = 0.0  # when the latest segment arrives
        self._unread: list[tuple[bytes | None, bool]] = []  # None: the end; and whether acked
        self._held: deque[bytes | None] = deque()  # by a cut; None: the end
        self._held_s: float | None = None  # since when

    @property
    def peer(self) -> SiteID:
        """Whose key the other end has shown."""
        return self.there.site

    @property
    def room(self) -> int:
        """How many bytes may be written before it is better to wait for `has_room`."""
        now_s = self._network.clock.seconds()
        while self._acks and self._acks[0][0] <= now_s:
            self._unacked -= self._acks.popleft()[1]
        return WINDOW_BYTES - self._unacked

    def write(self, data: bytes) -> None:
        if self.open and data:
            self.bytes_out += len(data)
            self._unacked += len(data)
            self._waits = self.room <= 0
            self._send(data)

    def close(self) -> None:
        """No more will be written; the other end hears of it after all that was."""
        if self.open:
            self._end()
            self._send(None)

    def abort(self, why: str = "aborted") -> None:
        """The connection ends for this end, now, and its owner is told."""
        if self.open:
            lost = self.lost
            self._end()
            lost(why)

    def die(self, *, quietly: bool) -> None:
        """The process at this end is gone. quietly: nobody is there to close it."""
        self._end()
        if not quietly:
            self._send(None)

    def _end(self) -> None:
        self.open = False
        self.received = lambda data: None
        self.lost = lambda why: None
        self.has_room = lambda: None
        self._network.ended(self)

    # Segments

    def _send(self, data: bytes | None) -> None:
        if not self._held and self._network.ways.passes(self.here, self.there):
            self._carry(data)
            return
        self._held.append(data)
        if self._held_s is None:
            self._held_s = self._network.clock.seconds()
            self._network.clock.callLater(RESEND_S_MIN, self._send_again, RESEND_S_MIN)

    def _send_again(self, waited_s: float) -> None:
        assert self._held_s is not None
        clock = self._network.clock
        if self._network.ways.passes(self.here, self.there):
            self._held_s = None
            while self._held:
                self._carry(self._held.popleft())
        elif clock.seconds() - self._held_s >= GIVE_UP_S:
            self._held.clear()
            self.abort("timed out")
        else:
            wait_s = min(RESEND_S_MAX, 2 * waited_s)
            clock.callLater(wait_s, self._send_again, wait_s)

    def _carry(self, data: bytes | None) -> None:
        clock = self._network.clock
        now_s = clock.seconds()
        way = self._network.ways.way(self.here, self.there)
        size = len(data) if data else 0
        self._free_s = max(self._free_s, now_s) + size / way.bytes_per_s
        late_s = self._network.resent_s(way, size, self.delay_s) if way.loss else 0.0
        # Never before what was sent before.
        self._arrives_s = max(self._arrives_s, self._free_s + self.delay_s + late_s)
        clock.callLater(self._arrives_s - now_s, self._arrive, data)

    def _arrive(self, data: bytes | None) -> None:
        far = self.other
        if not far.open:
            # Nobody has this connection any more; the sender is told so, if it can be.
            if self._network.ways.passes(self.there, self.here):
                self.abort("reset")
            return
        if self.there.paused:
            self._keep_unread(data)
        else:
            far._read(data)
            self._acknowledge(len(data or b""), RESEND_S_MIN)

    def _keep_unread(self, data: bytes | None) -> None:
        """The system at the other end takes some bytes for a process that does not read."""
        held = self.other._unread
        known = sum(len(each) for each, acked in held if acked and each)
        acked = known + len(data or b"") <= RECEIVE_BYTES
        held.append((data, acked))
        if acked:
            self._acknowledge(len(data or b""), RESEND_S_MIN)

    def read_all(self) -> None:
        """The process at this end reads again."""
        unread, self._unread = self._unread, []
        for data, acked in unread:
            self._read(data)
            if not acked:
                self.other._acknowledge(len(data or b""), RESEND_S_MIN)

    def _read(self, data: bytes | None) -> None:
        if data is None:
            self.abort("closed")
        else:
            self.received(data)

    def _acknowledge(self, size: int, wait_s: float) -> None:
        """Tell this end that bytes have arrived, as soon as a packet comes back."""
        clock = self._network.clock
        if self._network.ways.passes(self.there, self.here):
            self._acks.append((clock.seconds() + self.other.delay_s, size))
            if self._waits:
                clock.callLater(self.other.delay_s, self._acknowledged)
        elif wait_s < GIVE_UP_S:
            clock.callLater(wait_s, self._acknowledge, size, 2 * wait_s)
        else:
            self.abort("timed out")

    def _acknowledged(self) -> None:
        if self._waits and self.room > 0:
            self._waits = False
            self.has_room()


class Network:
    """Every machine and connection."""

    def __init__(self, clock: VirtualClock, random: Random, usual: Way | None = None) -> None:
        self.clock = clock
        self.ways = Ways(random, usual or Way())
        self.machines: dict[str, Machine] = {}
        self._random = random
        self._wires: dict[Machine, dict[Wire, None]] = {}

    def machine(self, name: str, site: SiteID) -> Machine:
        """A new machine that holds a site's key."""
        found = self.machines[name] = Machine(name, site)
        self._wires[found] = {}
        return found

    def listen(self, machine: Machine, address: str, accept: Accept | None) -> None:
        """Let others connect to `host:port`, whose host is the machine's name; None: no more."""
        machine.address, machine.accept = address, accept

    def dial(
        self, machine: Machine, address: str, dialled: Dialled, *, round_trips: int = 2
    ) -> None:
        """Connect a machine to whoever has an address.

        round_trips: two, where TLS is left out and only its time is taken; one for TCP alone.
        """
        target = self.machines.get(address.rpartition(":")[0])
        if target is None or not self._both_pass(machine, target):
            self._later(machine, SYN_S_MAX, lambda: dialled(None, "no answer"))
            return
        trip_s = self.ways.draw_delay_s(machine, target) + self.ways.draw_delay_s(target, machine)
        wait_s = round_trips * trip_s
        self._later(machine, wait_s, lambda: self._connect(machine, target, address, dialled))

    def _connect(self, machine: Machine, target: Machine, address: str, dialled: Dialled) -> None:
        if not self._both_pass(machine, target):
            self._later(machine, SYN_S_MAX, lambda: dialled(None, "no answer"))
        elif target.accept is None or target.address != address:
            dialled(None, "refused")
        elif target.paused:
            self._later(machine, SYN_S_MAX, lambda: dialled(None, "no answer"))
        else:
            near, far = Wire(self, machine, target), Wire(self, target, machine)
            near.other, far.other = far, near
            self._wires[machine][near] = self._wires[target][far] = None
            target.accept(far)
            dialled(near, "")

    def _later(self, machine: Machine, delay_s: float, act: Callable[[], None]) -> None:
        """Do something for the process that runs at a machine now, unless it ends before."""
        life = machine.life

        def check() -> None:
            if machine.life == life:
                act()

        self.clock.callLater(delay_s, check)

    def _both_pass(self, one: Machine, other: Machine) -> bool:
        return self.ways.passes(one, other) and self.ways.passes(other, one)

    @property
    def whole(self) -> bool:
        """Whether nothing is cut and nobody is paused."""
        return self.ways.whole and not any(each.paused for each in self.machines.values())

    def wires(self, machine: Machine) -> list[Wire]:
        """The machine's ends of its connections."""
        return list(self._wires[machine])

    def ended(self, wire: Wire) -> None:
        self._wires[wire.here].pop(wire, None)

    def resent_s(self, way: Way, size: int, delay_s: float) -> float:
        """How much later a segment arrives because packets of it were lost."""
        late_s, packets = 0.0, size // PACKET_BYTES + 1
        resend_s = max(RESEND_S_MIN, 4 * delay_s)
        while self._random.random() < 1 - (1 - way.loss) ** packets:
            late_s += resend_s
            resend_s, packets = 2 * resend_s, 1
        return late_s

    # What happens to machines

    def process_died(self, machine: Machine) -> None:
        """Its system closes all connections."""
        self._die(machine, quietly=False)

    def power_died(self, machine: Machine) -> None:
        """Who speaks to it learns that its connections are gone when it is up again."""
        self._die(machine, quietly=True)
        machine.powered = False

    def power_back(self, machine: Machine) -> None:
        machine.powered = True

    def pause(self, machine: Machine) -> None:
        """SIGSTOP: its process reads nothing, its system goes on."""
        machine.paused = True

    def resume(self, machine: Machine) -> None:
        machine.paused = False
        for wire in self.wires(machine):
            wire.read_all()

    def _die(self, machine: Machine, *, quietly: bool) -> None:
        machine.life += 1
        machine.accept = None
        machine.paused = False
        for wire in self.wires(machine):
            wire.die(quietly=quietly)

    def reset(self, one: Machine, other: Machine | None = None) -> None:
        """Connections of a machine, or those to one other, break at both ends."""
        for wire in self.wires(one):
            if other in (None, wire.there):
                wire.other.abort("reset")
                wire.abort("reset")
