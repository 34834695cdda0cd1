"""A member that speaks the protocol only as far as it likes, on a connection of its own."""

from __future__ import annotations

from federation.entry import Entry, seal_encoded
from federation.events import Event, LinkDown
from federation.ids import FeedID, Lane, SiteID
from federation.wire import Frames, Hello, Message, decode, encode
from keys.identity import SiteKey
from tests.simulation.logs.site import LogSite
from tests.simulation.logs.world import LogWorld
from tests.simulation.network import Wire


class Intruder:
    """Has a member's key and no scruples. `heard` is what it was told, in order."""

    def __init__(self, world: LogWorld) -> None:
        self.key = SiteKey(b"an intruder".ljust(32, b"-"))
        self.site = SiteID(self.key.site)
        self.heard: list[Message] = []
        self.lost = ""
        self.thrown_out: int | None = None  # the victim's reason to end the link
        self.wire: Wire | None = None
        self._world = world
        self._machine = world.network.machine("intruder", self.site)
        self._frames = Frames(1 << 20)
        world.members.add(self.site)
        world.listeners.append(self._watch)

    def dial(self, victim: LogSite) -> None:
        """Connect and say hello."""
        self._world.network.dial(self._machine, victim.address, self._dialled)
        self._world.pass_s(2)

    def _dialled(self, wire: Wire | None, why: str) -> None:
        assert wire is not None, why
        self.wire = wire
        wire.received = self._received
        wire.lost = self._lost
        self.say(Hello(1, 1, 1, "0"))

    def _watch(self, site: LogSite, event: Event) -> None:
        if isinstance(event, LinkDown) and event.session.peer == self.site:
            self.thrown_out = event.reason

    def _received(self, data: bytes) -> None:
        self._frames.add(data)
        while (content := self._frames.next()) is not None:
            message = decode(content)
            if message is not None:
                self.heard.append(message)

    def _lost(self, why: str) -> None:
        self.lost = why

    def say(self, *messages: Message) -> None:
        """Send messages that are well-formed."""
        self.send(b"".join(encode(message) for message in messages))

    def send(self, data: bytes) -> None:
        """Send any bytes at all."""
        assert self.wire is not None
        self.wire.write(data)

    def entry(self, *encoded: bytes) -> Entry:
        """The first entry of its feed. encoded: records, of whatever kinds."""
        return seal_encoded(self.key, FeedID(self.site, 1, Lane.CONTROL), 1, b"", 1, encoded)
