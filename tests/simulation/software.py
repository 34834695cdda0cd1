"""Versions of the software: an older one that lacks kinds of records, a newer one with a protocol
and a kind of message of its own.

Sites of several versions live in one Python. So while a process of another version is at work, the
tables of kinds are that version's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from federation import codec, limits, records, wire
from federation.hub import Hub
from federation.session import Session, Source, Urgency
from federation.wire import Hello

NEWER_PROTOCOL = limits.PROTOCOL_MAX + 1


@dataclass(frozen=True, slots=True)
class News:
    """A message that came with the newer protocol."""

    kind: ClassVar[int] = 77
    number: int


@dataclass(frozen=True, slots=True)
class Software:
    """One version. lacks: the kinds of records that it does not know; protocol: its newest."""

    version: str = "0"
    lacks: frozenset[int] = frozenset()
    protocol: int = limits.PROTOCOL_MAX

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While a process of this version is; what it does may set another one to work."""
        before = dict(records._BY_KIND), dict(wire.KINDS)
        known = {kind: cls for kind, cls in _RECORDS.items() if kind not in self.lacks}
        _become(known, _NEWER_MESSAGES if self.protocol == NEWER_PROTOCOL else _MESSAGES)
        try:
            yield
        finally:
            _become(*before)

    def install(self, hub: Hub) -> None:
        """Say on links what this version says."""
        mine = hub.hello
        hub.hello = Hello(mine.protocol_min, self.protocol, mine.boot, self.version)
        if self.protocol == NEWER_PROTOCOL:
            hub.add(Bulletin())


TODAY = Software()
_RECORDS = dict(records._BY_KIND)
_MESSAGES = dict(wire.KINDS)
_NEWER_MESSAGES = {**_MESSAGES, News.kind: News}
wire._SHAPES[News] = (wire._Shape(wire._number),)
wire._NAMES[News] = ("number",)


def _become(known: dict[int, type[Any]], messages: dict[int, type[Any]]) -> None:
    for table, wanted in ((records._BY_KIND, known), (wire.KINDS, messages)):
        table.clear()
        table.update(wanted)


@dataclass(slots=True)
class Bulletin:
    """Tells every peer something newer, older ones as well: they pass over it."""

    takes: frozenset[type[Any]] = frozenset({News})
    heard: list[int] = field(default_factory=list)
    _told: set[Session] = field(default_factory=set)

    def opened(self, session: Session, now_s: float) -> Sequence[tuple[Urgency, Source]]:
        return [(Urgency.SMALL, partial(self._tell, session))]

    def _tell(self, session: Session, now_s: float) -> bytes | None:
        if session in self._told:
            return None
        self._told.add(session)
        return wire.frame(codec.pack([News.kind, len(self._told)]))

    def lost(self, session: Session, now_s: float) -> None:
        self._told.discard(session)

    def take(self, session: Session, message: News, size: int, now_s: float) -> None:
        self.heard.append(message.number)
