"""Datasets that stand still because their database was put back from a copy, and what moves them.

The site goes on in a new generation, so that nothing is forked; the shard of the old one has no
leader any more. An admin's signed word makes this generation lead it: docs/protocol.md, "Forced".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import apsw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from federation.hlc import to_ms
from federation.ids import FeedID, ShardID, UserKey
from federation.records import Force
from node.model.force import ForceOrder, read_force
from node.model.problems import Invalid
from node.services.people import Person
from node.services.refusal import Refusal
from node.services.signed import signer_of
from node.services.writing import Control, write
from node.store import openwork
from node.store.highwater import Lost
from node.store.openwork import ForcedShard, StillShard

log = Logger()

COMMAND = "floe mesh recover"
NAMES_SHOWN_MAX = 3
NOBODY_LEADS = "the database was put back from a copy, and nobody leads its log any more"


class Leader(Protocol):
    """The leader's pen."""

    def take_over(self, shard: ShardID) -> None: ...


class Recovery:
    """What stands still, and the order that ends it. All methods run in the reactor's thread."""

    def __init__(
        self,
        conn: apsw.Connection,
        leader: FeedID,
        journal: Control,
        lead: Leader,
        lost: Sequence[Lost],
    ) -> None:
        """leader: this generation's control feed; lost: what the high-water file knows."""
        self._conn = conn
        self._leader = leader
        self._journal = journal
        self._lead = lead
        self._lost = lost

    def still(self) -> list[StillShard]:
        """Shards of ours that nobody leads."""
        return openwork.still_shards(self._conn, self._leader.site, self._leader.generation)

    async def shown(self) -> dict[str, Any]:
        """What an admin signs, and why."""
        return {
            "site": self._leader.site.hex(),
            "generation": self._leader.generation,
            "still": [_still(shard, self._leader.generation) for shard in self.still()],
            "forced": [shown_force(each) for each in openwork.forced(self._conn)],
            "lost": [_lost(each) for each in self._lost],
        }

    async def force(self, document: bytes, signature: bytes, asking: Person) -> dict[str, Any]:
        """Lead a shard that nobody leads, by an admin's word. Raises Refusal."""
        signer = signer_of(document, signature, asking)
        if not asking.admin:
            raise Refusal("denied", f"{asking.name} is no admin of this site", "ask one to do it")
        order = self._read(document)
        found = self._found(order)
        record = Force(
            order.shard,
            order.term,
            order.cut.seq,
            order.cut.id,
            document,
            signature,
            UserKey(signer),
        )
        done = Deferred.fromCoroutine(write(self._journal, record))
        if not done.called:  # else it was refused at once
            self._lead.take_over(order.shard)  # in the same entry
        await done
        if any(shard.id == order.shard for shard in self.still()):
            raise Refusal("conflict", "the order was written but could not be taken", "floe doctor")
        log.warn(
            "{name} forced shard {shard} on: term {term}, behind entry {seq} of generation {old}",
            name=asking.name,
            shard=order.shard.hex()[:8],
            term=order.term,
            seq=order.cut.seq,
            old=order.cut.feed.generation,
        )
        return {
            "shard": order.shard.hex(),
            "term": order.term,
            "generation": self._leader.generation,
            "datasets": [{"id": id.hex(), "name": name} for id, name, _ in found.open],
        }

    def _read(self, document: bytes) -> ForceOrder:
        try:
            return read_force(document)
        except Invalid as invalid:
            problems = [problem.json() for problem in invalid.errors]
            raise Refusal("invalid", str(invalid), problems=problems) from None

    def _found(self, order: ForceOrder) -> StillShard:
        """The shard that is meant, as it stands. Raises Refusal."""
        for shard in self.still():
            if shard.id == order.shard:
                break
        else:
            raise Refusal("conflict", "no shard of that id stands still here", COMMAND)
        agrees = order.leader == self._leader and order.cut == shard.cut and order.term > shard.term
        if not agrees:
            raise Refusal(
                "conflict", "the site has changed since this was signed", f"again: {COMMAND}"
            )
        return shard


def standing_still(shards: Sequence[StillShard]) -> str:
    """What stands still and what to do, in a sentence; "" if nothing does."""
    names = [name for shard in shards for _id, name, _units in shard.open]
    if not names:
        return ""
    shown = ", ".join(names[:NAMES_SHOWN_MAX]) + (", …" if len(names) > NAMES_SHOWN_MAX else "")
    many = "1 dataset stands" if len(names) == 1 else f"{len(names):,} datasets stand"
    return f"{many} still ({shown}): {NOBODY_LEADS}; an admin ends that: {COMMAND}"


def shown_force(each: ForcedShard) -> dict[str, Any]:
    """A force, for people."""
    return {
        "shard": each.shard.hex(),
        "term": each.term,
        "generation": each.generation,
        "cut": {"generation": each.cut_generation, "seq": each.cut_seq},
        "by": each.by,
        "when_ms": to_ms(each.hlc),
    }


def next_term(shard_term: int, generation: int) -> int:
    """Above every term that is known, and other than one that a lost copy may have opened."""
    return max(shard_term + 1, generation)


def _still(shard: StillShard, generation: int) -> dict[str, Any]:
    return {
        "shard": shard.id.hex(),
        "term": next_term(shard.term, generation),
        "cut": {
            "site": shard.cut.feed.site.hex(),
            "generation": shard.cut.feed.generation,
            "seq": shard.cut.seq,
            "entry": shard.cut.id.hex(),
        },
        "datasets": shard.datasets,
        "open": [{"id": id.hex(), "name": name, "units": units} for id, name, units in shard.open],
    }


def _lost(lost: Lost) -> dict[str, Any]:
    return {
        "generation": lost.generation,
        "control": list(lost.control),
        "results": list(lost.results),
        "words": lost.words(),
    }
