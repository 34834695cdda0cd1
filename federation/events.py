"""What a hub of links tells its owner. Pure values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from federation.entry import Entry
from federation.feed import ForkProof
from federation.ids import FeedID, Lane, SiteID

if TYPE_CHECKING:
    from federation.session import Session
    from federation.tunnels import TunnelEnd


class Reason(IntEnum):
    """Why a link ended. Travels in `bye`; unknown numbers are kept as they are."""

    LOST = 0  # the transport went away without a word; never sent
    CLOSING = 1  # the site stops
    PROTOCOL = 2  # the other end broke the protocol
    VERSION = 3  # no protocol that both speak
    DUPLICATE = 4  # another link between the two is used
    STRANGER = 5  # the other end's key is no member's
    SILENT = 6  # nothing was heard, or nothing taken, for too long
    REVOKED = 7
    TROUBLE = 8  # of the end that says it
    TWIN = 9  # another process with the same site key, started later, is linked


class FloodKind(IntEnum):
    """What a flooded document is; its number in the message."""

    BEACON = 1
    LEAD = 2


@dataclass(frozen=True, slots=True)
class LinkUp:
    """Both ends said hello, and this is the one link between them."""

    session: Session


@dataclass(frozen=True, slots=True)
class LinkDown:
    """A link that ended. theirs: the other end's doing, by its own word or fault."""

    session: Session
    reason: int
    words: str
    theirs: bool
    was_up: bool = True


@dataclass(frozen=True, slots=True)
class TakeIn:
    """Entries to store: checked, each following its feed. Answer with `taken` or `refused`."""

    session: Session
    entries: Sequence[Entry]
    lane: Lane
    size: int  # of the message that brought them, in bytes


@dataclass(frozen=True, slots=True)
class ForkSeen:
    """A fork's proof, checked, seen for the first time since the start."""

    feed: FeedID
    seq: int
    proof: ForkProof


@dataclass(frozen=True, slots=True)
class OwnAhead:
    """A peer shows entries of the feed that this site is writing, which are not here.

    The store was put back from a copy, or the site runs twice. See docs/protocol.md, "Restored
    copies".
    """

    peer: SiteID
    feed: FeedID
    seq: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """The store gave bytes for an entry that are not it, and they were not sent."""

    feed: FeedID
    seq: int


@dataclass(frozen=True, slots=True)
class TwinSeen:
    """A process with a site's key was turned away: another one, started later, is linked."""

    site: SiteID


@dataclass(frozen=True, slots=True)
class FloodHeard:
    """A newer document of another site, its signature checked."""

    kind: FloodKind
    origin: SiteID
    document: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """A whole question. Give the answer to `Calls.answer` or `Calls.refuse` with these."""

    session: Session
    number: int
    what: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """The end of a question that was asked here. body: the answer, or why there is none."""

    session: Session
    number: int
    outcome: Outcome
    body: bytes


@dataclass(frozen=True, slots=True)
class TunnelOpened:
    """A site, as a relay says, opened a tunnel to this one."""

    end: TunnelEnd


@dataclass(frozen=True, slots=True)
class TunnelData:
    """Bytes came through a tunnel. Tell `Tunnels.consumed` when they are done with."""

    end: TunnelEnd
    data: bytes


@dataclass(frozen=True, slots=True)
class TunnelRoom:
    """More can be sent through a tunnel."""

    end: TunnelEnd


@dataclass(frozen=True, slots=True)
class TunnelShut:
    """A tunnel has ended; words say why."""

    end: TunnelEnd
    words: str


class Outcome(IntEnum):
    ANSWERED = 0
    REFUSED = 1
    LOST = 2  # the link ended, or time was over


Event = (
    LinkUp | LinkDown | TakeIn | ForkSeen | OwnAhead | Damaged | TwinSeen | FloodHeard | Asked
    | Answered | TunnelOpened | TunnelData | TunnelRoom | TunnelShut
)  # fmt: skip
