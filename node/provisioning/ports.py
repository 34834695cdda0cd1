"""What provisioning needs of the rest of the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import apsw

from node.work import Work
from schedulers.base import Scheduler
from schedulers.runner import Runner


class Reactor(Protocol):
    """What we need of a reactor."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, call: Any, *args: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """How one batch system is spoken to. url: of the node for its workers, "": as for all."""

    scheduler: Scheduler
    runner: Runner
    url: str = ""


@dataclass(frozen=True, slots=True)
class House:
    """The node around provisioning.

    program: the pilot, as a file. urls, fingerprint: where pilots find the node, and how they know
    it. folder: for pilots' files on this machine, where a section names none. hide: what payloads
    must not see. token: makes a secret; name: the random part of a tag.
    """

    reactor: Reactor
    work: Work
    conn: apsw.Connection
    program: bytes
    urls: Sequence[str]
    fingerprint: str
    folder: str
    hide: Sequence[str]
    token: Callable[[], str]
    name: Callable[[], str]
    wall_ms: Callable[[], int]
