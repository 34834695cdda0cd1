"""Several sites and a shard with a council of three: what each writes, and a naive reading of it.

Takes part in a story without knowing the fold: which records count is worked out here from what the
story itself knows of terms, bases and cuts, by copying logs instead of naming them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from federation.entry import Entry
from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.records import (
    Accept,
    Ack,
    Command,
    Dataset,
    FoundCouncil,
    Grant,
    Open,
    Record,
    Results,
    Vote,
)
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from tests.unit.node.fold.oracle import Oracle
from tests.unit.node.fold.world import ANA, Log, document, order, results

JOBS = 6
TASKS = (("a", ()), ("b", (0,)))
NAMES = "abcd"  # the first three sit in the council
SEATS = 3


@dataclass
class Told:
    """A record of a log and the entry that holds it."""

    at: EntryRef
    record: Record


@dataclass
class StoryTerm:
    """A term that holds. log: the whole log of it, its bases' included."""

    number: int
    leader: int
    began: EntryRef
    log: list[Told]
    own: list[EntryRef] = field(default_factory=list)  # entries of its own with log records
    base: StoryTerm | None = None
    cut: int = 0  # seq of the last entry of the base's own part


class Mesh:
    """Sites that write what a story has them write."""

    def __init__(self) -> None:
        self.sites = [Log(SiteKey(name.encode() * 32)) for name in NAMES]
        self.shard: ShardID = self.sites[0].shard
        self.terms: list[StoryTerm] = []
        self.leads: dict[int, StoryTerm | None] = {}  # by author: to which its log records belong
        # By author and in its order: ("ack", term, seq) and ("vote", term, 0).
        self.promises: list[list[tuple[str, int, int]]] = [[] for _ in self.sites]
        self.term = 0  # the highest that anybody voted for
        self.datasets: list[bytes] = []
        self.nonce = 0
        seats = [site.site for site in self.sites[:SEATS]]
        founding = self.sites[0].control(FoundCouncil(self.shard, bytes(16), seats, [1] * SEATS))
        self.terms.append(StoryTerm(0, 0, founding.ref, [], [founding.ref]))
        self.leads[0] = self.terms[0]
        self.promises[0].append(("ack", 0, founding.ref.seq))

    @property
    def entries(self) -> list[Entry]:
        return [entry for site in self.sites for entry in site.entries]

    @property
    def newest(self) -> StoryTerm:
        return max(self.terms, key=lambda term: term.number)

    def feed(self, site: int) -> FeedID:
        return FeedID(self.sites[site].site, 1, Lane.CONTROL)

    # What leaders write, the newest or one that does not know of later terms

    def lead(self, by: int, *records: Record) -> None:
        """Log records of one who opened a term at some time."""
        entry = self.sites[by].control(*records)
        term = self.leads.get(by)
        if term is not None:
            term.log += [Told(entry.ref, record) for record in records]
            term.own.append(entry.ref)
            self.promises[by].append(("ack", term.number, entry.ref.seq))

    def leaders(self) -> list[int]:
        return sorted(self.leads)

    def submit(self, by: int) -> None:
        text = document(f"d{len(self.datasets)}", TASKS, JOBS, retry_max=1)
        self.datasets.append(digest(Purpose.DATASET, text))
        self.lead(by, Dataset(self.shard, zlib.compress(text), ANA, ANA))

    def grant(self, by: int, dataset: bytes, to: int, tasks: list[int], lo: int, hi: int) -> None:
        site = self.sites[to].site
        self.lead(by, Grant(self.shard, DatasetID(dataset), tasks, [lo, hi], site))

    def order(self, by: int, dataset: bytes, verb: str, lo: int, hi: int) -> None:
        self.nonce += 1
        text = order(dataset, verb, self.nonce, select={"jobs": [lo, hi]})
        self.lead(by, Command(self.shard, text, ANA, ANA))

    def run(self, by: int, dataset: bytes, task: int, jobs: Sequence[int], outcome: int) -> None:
        self.sites[by].write(Lane.RESULTS, [results(dataset, task, jobs, outcome)])

    def accept(self, by: int, of: int, back: int) -> None:
        """Accept what a site has written, but for its last `back` entries."""
        held = [e for e in self.sites[of].entries if e.header.lane is Lane.RESULTS]
        if len(held) > back:
            ref = held[len(held) - 1 - back].ref
            self.lead(by, Accept(self.shard, ref.feed.site, 1, ref.seq, ref.id))

    def ack(self, by: int, term: int, own: int) -> None:
        """Ack some entry of a term's own."""
        known = self.terms[term % len(self.terms)]
        ref = known.own[own % len(known.own)]
        self.sites[by].control(
            Ack(self.shard, known.number, ref.feed.site, 1, ref.seq, EntryID(ref.id))
        )
        self.promises[by].append(("ack", known.number, ref.seq))

    # Terms

    def take_over(self, by: int, base: int, cut: int, lower: bool, honest: bool) -> None:
        """Two votes for a seat, and its open behind an entry of some term.

        lower: the second voter holds less. honest: else the open names a cut that does not follow.
        """
        below = self.terms[base % len(self.terms)]
        head = below.own[cut % len(below.own)]
        least = below.own[0] if lower else head
        self.term += 1
        refs = []
        for voter, at in ((by, head), ((by + 1) % SEATS, least)):
            vote = Vote(self.shard, self.term, self.sites[by].site, below.number, at.seq, at.id)
            ref = self.sites[voter].control(vote).ref
            refs.append([ref.feed.site, ref.feed.generation, ref.seq, ref.id])
            self.promises[voter].append(("vote", self.term, 0))
        named = head if honest else EntryRef(head.feed, head.seq, EntryID(b"?" * 32))
        entry = self.sites[by].control(
            Open(self.shard, self.term, refs, below.number, named.seq, named.id)
        )
        if not honest:
            self.leads[by] = None
            return
        # What lies in other feeds is of the bases, and so is what lies below in this one.
        inherited = [
            told for told in below.log if told.at.feed != head.feed or told.at.seq <= head.seq
        ]
        log = [*inherited, Told(entry.ref, entry.records()[0])]
        term = StoryTerm(self.term, by, entry.ref, log, [entry.ref], below, head.seq)
        self.terms.append(term)
        self.leads[by] = term
        self.promises[by].append(("ack", self.term, entry.ref.seq))

    # What it comes to

    def oracle(self) -> tuple[Oracle, list[bytes]]:
        """The units as the newest term's log has them, and the datasets in its order."""
        oracle, order_, granted = Oracle(), [], set()
        through: dict[bytes, int] = {}
        for told in self.newest.log:
            match told.record:
                case Dataset(doc=doc):
                    text = zlib.decompress(doc)
                    id_ = digest(Purpose.DATASET, text)
                    _, tasks, jobs, _, retry_max, _ = json.loads(text)
                    oracle.submit(id_, [waits for _, waits in tasks], jobs, retry_max)
                    order_.append(id_)
                case Grant() as grant:
                    if grant.dataset in oracle.sets:
                        lo, hi = grant.ranges
                        granted |= {
                            (bytes(grant.to), grant.dataset, task, job)
                            for task in grant.tasks
                            for job in range(lo, hi)
                        }
                case Command(doc=doc):
                    hex_, verb, args, _ = json.loads(doc)
                    if bytes.fromhex(hex_) in oracle.sets:
                        lo, hi = args["select"]["jobs"]
                        oracle.order(bytes.fromhex(hex_), verb, [0, 1], range(lo, hi))
                case Accept() as accept:
                    first = through.get(accept.site, 0)
                    self._accepted(oracle, granted, accept.site, first, accept.through)
                    through[accept.site] = max(first, accept.through)
                case _:
                    pass
        return oracle, order_

    def settled(self) -> tuple[int, int] | None:
        """(term, seq) through which the newest term's log is settled."""
        term: StoryTerm | None = self.newest
        cut = None
        while term is not None:
            acks = sorted((self._acked(seat, term) for seat in range(SEATS)), reverse=True)
            if acks[1] >= term.began.seq:  # two of three
                return term.number, acks[1] if cut is None else min(cut, acks[1])
            term, cut = term.base, term.cut
        return None

    def settled_pos(self) -> int:
        """How many records of the newest term's log are settled."""
        settled = self.settled()
        if settled is None:
            return 0
        term = next(term for term in self.terms if term.number == settled[0])
        feed = term.began.feed
        before = [
            id(each) for each in term.log if each.at.feed != feed or each.at.seq <= settled[1]
        ]
        return sum(1 for each in self.newest.log if id(each) in before)

    def _acked(self, seat: int, term: StoryTerm) -> int:
        found = 0
        for kind, number, seq in self.promises[seat]:
            if kind == "vote" and number > term.number:
                break
            if kind == "ack" and number == term.number:
                found = max(found, seq)
        return found

    def _accepted(
        self, oracle: Oracle, granted: set[Any], site: bytes, first: int, last: int
    ) -> None:
        author = next(log for log in self.sites if log.site == site)
        held = [entry for entry in author.entries if entry.header.lane is Lane.RESULTS]
        for entry in held[first:last]:
            for record in entry.records():
                assert isinstance(record, Results)
                units = [(bytes(site), record.dataset, record.task, job) for job in record.jobs]
                if record.dataset in oracle.sets and all(unit in granted for unit in units):
                    for _, id_, task, job in units:
                        oracle.attempt(id_, task, job, int(record.outcome), "a1")  # type: ignore[call-overload]


__all__ = ["JOBS", "NAMES", "SEATS", "Mesh", "SiteID"]
