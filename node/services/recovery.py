"""Datasets that stand still, and the admin's signed word that moves them.

A site whose database was put back from a copy goes on in a new generation, so that nothing is
forked; a shard that the old one led alone has no leader any more. A council may have lost its
majority. An admin's word makes this site lead on: docs/protocol.md, "Forced".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import apsw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from federation.hlc import to_ms
from federation.ids import FeedID, Lane, ShardID, UserKey
from federation.records import Force
from node.council.standstills import Standstill
from node.model.force import ForceOrder, read_force
from node.model.problems import Invalid
from node.ports import Control
from node.services.people import Person
from node.services.refusal import Refusal
from node.services.signed import signer_of
from node.services.writing import write
from node.store import openwork
from node.store.feeds import Feeds
from node.store.highwater import Lost
from node.store.openwork import ForcedShard, StillShard

log = Logger()

COMMAND = "floe mesh recover"
NAMES_SHOWN_MAX = 3
ENDED_BY = f"an admin ends that: {COMMAND}"
BY_ITSELF = "it goes on by itself when they are back"
NOBODY_LEADS = "the database was put back from a copy, and nobody leads its log any more"


class Councils(Protocol):
    """Finds councils without a majority: `node.council.standstills.Standstills`."""

    def ours(self) -> list[Standstill]: ...
    def words(self, each: Standstill) -> str: ...


class Inquiry(Protocol):
    """Under way while the node writes nothing: `node.meshing.inquiry.Inquiry`."""

    @property
    def pending(self) -> bool: ...
    def words(self) -> str: ...
    def go_on(self, by: str) -> bool: ...
    def leave(self, by: str) -> None: ...


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
        councils: Councils | None = None,
        inquiry: Inquiry | None = None,
    ) -> None:
        """leader: this generation's control feed; lost: what the high-water file knows.

        inquiry: whether the database is the newest copy, while that is not known.
        """
        self._conn = conn
        self._leader = leader
        self._journal = journal
        self._lead = lead
        self._lost = lost
        self._councils = councils
        self._inquiry = inquiry

    def still(self) -> list[StillShard]:
        """Shards that this site led alone and nobody leads now; councils without a majority."""
        own = openwork.still_shards(self._conn, self._leader.site, self._leader.generation)
        return own + self._still_councils()

    def waiting(self) -> list[str]:
        """What to say of councils without a majority that have unfinished datasets."""
        return [
            f"{_datasets(each)}: {each.why}; {ENDED_BY if each.for_good else BY_ITSELF}"
            for each in self._still_councils()
            if each.open
        ]

    def _still_councils(self) -> list[StillShard]:
        found = []
        for each in self._councils.ours() if self._councils is not None else ():
            datasets, left = openwork.shard_work(self._conn, each.shard)
            if datasets:
                why = self._councils.words(each) if self._councils else ""
                found.append(
                    StillShard(
                        each.shard, each.highest, each.cut, datasets, left, why, each.for_good
                    )
                )
        return found

    def _missing(self) -> list[Lost]:
        """What was lost and has not come back from other sites."""
        feeds = Feeds(self._conn)
        left = []
        for lost in self._lost:
            lanes = ((Lane.CONTROL, lost.control), (Lane.RESULTS, lost.results))
            ranges = [
                (
                    max(first, feeds.tip(FeedID(self._leader.site, lost.generation, lane)).seq + 1),
                    last,
                )
                for lane, (first, last) in lanes
            ]
            if any(first <= last for first, last in ranges):
                left.append(Lost(lost.generation, *ranges))
        return left

    async def shown(self) -> dict[str, Any]:
        """What an admin signs, and why."""
        return {
            "site": self._leader.site.hex(),
            "generation": self._leader.generation,
            "held": "" if self._inquiry is None else self._inquiry.words(),
            "still": [_still(shard, self._leader.generation) for shard in self.still()],
            "forced": [shown_force(each) for each in openwork.forced(self._conn)],
            "lost": [_lost(each) for each in self._missing()],
        }

    async def decide(self, newest: bool, asking: Person) -> dict[str, Any]:
        """An admin says whether the database is the newest copy. Raises Refusal."""
        inquiry = self._inquiry
        if not asking.admin:
            raise Refusal("denied", f"{asking.name} is no admin of this site", "ask one to do it")
        if inquiry is None or not inquiry.pending:
            raise Refusal("conflict", "that is decided: the node does not wait", "floe status")
        if not newest:
            inquiry.leave(f"{asking.name} says")
        elif not inquiry.go_on(f"{asking.name} says"):
            raise Refusal("disk-full", "the high-water file is not written", "see the node's log")
        return {"newest": newest, "generation": self._leader.generation}

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


def _datasets(shard: StillShard) -> str:
    """1 dataset waits (long); 12 datasets wait (a, b, c, …)"""
    names = [name for _, name, _ in shard.open]
    shown = ", ".join(names[:NAMES_SHOWN_MAX]) + (", …" if len(names) > NAMES_SHOWN_MAX else "")
    many = "1 dataset waits" if len(names) == 1 else f"{len(names):,} datasets wait"
    return f"{many} ({shown})"


def standing_still(shards: Sequence[StillShard]) -> str:
    """What stands still and what to do, in a sentence; "" if nothing does."""
    names = [name for shard in shards for _id, name, _units in shard.open]
    if not names:
        return ""
    shown = ", ".join(names[:NAMES_SHOWN_MAX]) + (", …" if len(names) > NAMES_SHOWN_MAX else "")
    many = "1 dataset stands" if len(names) == 1 else f"{len(names):,} datasets stand"
    return f"{many} still ({shown}): {NOBODY_LEADS}; {ENDED_BY}"


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
        "why": shard.why or NOBODY_LEADS,
        "council": bool(shard.why),
        "for_good": shard.for_good,
    }


def _lost(lost: Lost) -> dict[str, Any]:
    return {
        "generation": lost.generation,
        "control": list(lost.control),
        "results": list(lost.results),
        "words": lost.words(),
    }
