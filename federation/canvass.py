"""What candidates ask before they write anything, and what leaders say of themselves. Pure.

A canvass is a request between two sites; who asks and who answers is known by the link. A lead is
a flood, signed by the leader's site key: without one for long enough voters agree to another
leader. Neither is logged, and neither proves anything to a third site.

Source: docs/protocol.md, "Votes".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from federation import codec, limits
from federation.errors import PeerError
from federation.fields import BadField, exact, integer
from federation.ids import EntryID, FeedID, Lane, ShardID, SiteID
from federation.voting import Reply
from keys.signing import KEY_BYTES

CANVASS: Final = "canvass"  # the kind of the request

_DIGEST: Final = exact(32)
_SITE: Final = exact(KEY_BYTES)
_GENERATION: Final = integer(limits.GENERATION_MIN, limits.GENERATION_MAX)
_COUNT: Final = integer(0, limits.BOOT_MAX)
_TERM: Final = integer(0, limits.TERM_MAX)
_SEQ: Final = integer(1, limits.SEQ_MAX)

_QUESTION: Final = (_DIGEST, _GENERATION)
_ANSWER: Final = (integer(0, max(Reply)), _TERM, _GENERATION)
_LEAD: Final = (_SITE, _GENERATION, _COUNT, _COUNT, _DIGEST, _TERM, _SEQ, _DIGEST)


@dataclass(frozen=True, slots=True)
class Question:
    """Would you vote for me, the asking site under this generation, in this shard?"""

    shard: ShardID
    generation: int

    def pack(self) -> bytes:
        return codec.pack([self.shard, self.generation])


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the seat would vote, in a term above which, and under which generation it votes."""

    reply: Reply
    above: int
    generation: int

    def pack(self) -> bytes:
        return codec.pack([int(self.reply), self.above, self.generation])


@dataclass(frozen=True, slots=True)
class Lead:
    """A leader's word that it leads and that its disk still commits.

    boot, counter: what makes one newer than another. seq, entry: its newest entry of this log.
    """

    leader: FeedID
    boot: int
    counter: int
    shard: ShardID
    term: int
    seq: int
    entry: EntryID

    def pack(self) -> bytes:
        """The document that is signed for LEAD and flooded."""
        feed = self.leader
        return codec.pack(
            [
                feed.site,
                feed.generation,
                self.boot,
                self.counter,
                self.shard,
                self.term,
                self.seq,
                self.entry,
            ]
        )


def read_question(body: bytes) -> Question:
    """Raises PeerError."""
    shard, generation = _read("a canvass", body, _QUESTION)
    return Question(ShardID(shard), generation)


def read_answer(body: bytes) -> Answer:
    """Raises PeerError."""
    said, above, generation = _read("an answer to a canvass", body, _ANSWER)
    return Answer(Reply(said), above, generation)


def read_lead(document: bytes) -> Lead:
    """What a flooded document says, whose signature was checked. Raises PeerError."""
    site, generation, boot, counter, shard, term, seq, entry = _read("a lead", document, _LEAD)
    leader = FeedID(SiteID(site), generation, Lane.CONTROL)
    return Lead(leader, boot, counter, ShardID(shard), term, seq, EntryID(entry))


def _read(what: str, body: bytes, checks: tuple[Any, ...]) -> list[Any]:
    fields = codec.unpack(body, bytes_max=limits.FLOOD_BYTES_MAX, depth_max=1)
    if type(fields) is not list or len(fields) != len(checks):
        raise PeerError(f"{what} of other than {len(checks)} fields")
    try:
        for value, check in zip(fields, checks, strict=True):
            check(value)
    except BadField as error:
        raise PeerError(f"{what} with a field that is {error}") from None
    return fields
