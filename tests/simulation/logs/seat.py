"""One site's seat in one shard: acks, votes, stands, opens and leads as the real delegate says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall

from federation.canvass import CANVASS, Answer, Lead, Question, read_answer, read_question
from federation.delegate import Delegate
from federation.election import enough, next_term
from federation.entry import Entry
from federation.errors import Unreachable
from federation.events import Answered, Asked, FloodKind, Outcome
from federation.holding import Holding
from federation.ids import EntryRef, FeedID, Lane, ShardID, SiteID
from federation.ledger import Ledger
from federation.records import Accept, Dataset, Record, Refused
from federation.session import Session
from federation.settle import settled_through
from federation.shard import Term
from federation.voting import Reply, View, above

if TYPE_CHECKING:
    from tests.simulation.logs.site import LogSite

ACK_WAITS_S = 0.5  # for more to ack
CANVASS_S_MAX = 5.0


class LogSeat:
    """From the start of a site's process to its end. `took` hears of every control entry."""

    def __init__(self, site: LogSite, shard: ShardID) -> None:
        self.site = site
        self.shard = shard
        self.me = FeedID(site.site, site.generation, Lane.CONTROL)
        self.ledger = Ledger(shard, self._holds)
        self._holding = Holding(shard, self._read, self._holds, lambda shard, ref: True)
        self._delegate = Delegate(site.world.pace, site.random.random, self._now_s())
        self._read_through: dict[FeedID, int] = {}
        self._timer: IDelayedCall | None = None
        self._ack_waits = False
        self._leading = False  # whether its heartbeat goes on
        self._counter = 0
        self._canvass: dict[FeedID, Answer] | None = None
        self._canvass_behind: Term | None = None  # the newest term when the others were asked
        self._asked: dict[tuple[Session, int], FeedID] = {}

    # What the site hears

    def took(self, entry: Entry, records: Sequence[Record | Refused]) -> None:
        """A control entry, own or another's, is durable."""
        feed, seq = entry.header.feed, entry.header.seq
        if seq > self._read_through.get(feed, 0):
            self._read_through[feed] = seq
            self.ledger.take(entry.ref, records)

    def hear(self, lead: Lead) -> None:
        view = self.view()
        if view is not None:
            self._delegate.hear(view, lead, self._now_s())

    def view(self) -> View | None:
        shard = self.ledger.shard
        if shard is None:
            return None
        return View(
            shard, self.me, self.ledger.seats, self.ledger.votes_above(-1),
            partial(self._holding.whole, shard), self.site.generations(),
            self.site.world.revoked,
        )  # fmt: skip

    @property
    def leads(self) -> bool:
        view = self.view()
        return view is not None and view.leads and not view.shard.stopped

    def own_log(self) -> tuple[int, int] | None:
        """What this seat wrote as the newest leader: from which entry, settled through which."""
        shard = self.ledger.shard
        if shard is None or not shard.leads(self.me):
            return None
        return shard.newest.began.seq, settled_through(shard, self.ledger.seats, shard.newest)

    # What it does

    def look(self) -> None:
        """Do what is to be done as things are."""
        view = self.view()
        if view is None:
            return
        plan = self._delegate.plan(view, self._now_s())
        if plan.write:
            self.site.write(self._records)
        elif plan.ack and not self._ack_waits:
            self._ack_waits = True
            self._later(ACK_WAITS_S, self._ack)
        if plan.stand and self._canvass is None:
            self._ask_others(view)
        self._look_again(plan.again_s)
        if view.leads and not self._leading:
            self._leading = True
            self._lead()

    def _look_again(self, at_s: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if at_s != float("inf"):
            self._timer = self._later(max(0.01, at_s - self._now_s()), self.look)

    def _ack(self) -> None:
        self._ack_waits = False
        self.site.write(self._records)

    def _records(self) -> list[Record]:
        """Asked when the entry is sealed."""
        view = self.view()
        return [] if view is None else self._delegate.records(view, self.site.tip, self._now_s())

    # Leading

    def _lead(self) -> None:
        """Say so, once the disk has shown that it still commits."""
        if not self.leads:
            self._leading = False
            return
        self.site.commit(self._flood)
        self._later(self.site.world.pace.lead_every_s, self._lead)

    def _flood(self) -> None:
        view = self.view()
        if view is None or not view.leads:
            return
        self._counter += 1
        term = view.shard.newest
        newest = self.site.tip(self.me) or term.began
        boot = self.site.exchange.gossip.boot
        lead = Lead(self.me, boot, self._counter, self.shard, term.number, newest.seq, newest.id)
        self.site.exchange.flood(FloodKind.LEAD, lead.pack(), self._now_s())
        self.site.linking.pump()

    def log_record(self, number: int) -> list[Record]:
        """Something for the log; nothing if this site leads no more when it is sealed."""
        if not self.leads:
            return []
        record = Dataset(self.shard, number.to_bytes(8, "big"), b"s", self.site.site)  # type: ignore[arg-type]
        return [record, *self._accepts()]

    def _accepts(self) -> list[Record]:
        """The newest results of everybody that are here."""
        return [
            Accept(self.shard, tip.feed.site, tip.feed.generation, tip.seq, tip.id)  # type: ignore[arg-type]
            for tip in self.site.feeds.tips()
            if tip.feed.lane is Lane.RESULTS
        ]

    # Asking before standing

    def _ask_others(self, view: View) -> None:
        self._canvass, self._asked = {}, {}
        self._canvass_behind = view.shard.newest
        question = Question(self.shard, self.me.generation).pack()
        voters = view.shard.voters(view.shard.newest)
        for seat in voters:
            session = self.site.exchange.hub.sessions.get(seat.site)
            if seat == self.me or session is None:
                continue
            try:
                number = self.site.exchange.calls.ask(
                    session, CANVASS, question, self._now_s(), CANVASS_S_MAX
                )
            except Unreachable:
                continue
            self._asked[session, number] = seat
            self.site.asked[session, number] = self
        self.site.linking.pump()
        self._later(CANVASS_S_MAX + 1.0, self._asked_enough, self._canvass)

    def answered(self, event: Answered) -> None:
        """What another seat says to our question."""
        seat = self._asked.pop((event.session, event.number), None)
        if seat is None or self._canvass is None:
            return
        if event.outcome is Outcome.ANSWERED:
            answer = read_answer(event.body)
            if answer.reply is Reply.AGREED and answer.generation == seat.generation:
                self._canvass[seat] = answer
        if not self._asked:
            self._asked_enough(self._canvass)

    def _asked_enough(self, canvass: dict[FeedID, Answer]) -> None:
        view = self.view()
        if canvass is not self._canvass or view is None:
            return
        self._canvass = None
        if view.shard.newest != self._canvass_behind:
            return  # somebody has opened a term meanwhile
        term = None
        if enough(view, canvass):
            term = next_term(view, [answer.above for answer in canvass.values()])
        self._delegate.stood(view, term, self._now_s())
        self.look()

    def answer(self, asked: Asked) -> bytes:
        """What this seat says to the question of another."""
        read_question(asked.body)
        view = self.view()
        if view is None:
            return Answer(Reply.UNKNOWN_SHARD, 0, self.me.generation).pack()
        reply = self._delegate.answer(view, SiteID(asked.session.peer), self._now_s())
        return Answer(reply, above(view), self.me.generation).pack()

    # Pieces

    def _holds(self, ref: EntryRef) -> bool:
        """Whether an entry is here; one of a control feed, whether the ledger has read it."""
        read = ref.feed.lane is Lane.RESULTS or ref.seq <= self._read_through.get(ref.feed, 0)
        return read and self.site.holds(ref)

    def _read(
        self, feed: FeedID, after: int, limit: int
    ) -> list[tuple[EntryRef, Sequence[Record | Refused]]]:
        entries = self.site.feeds.entries(feed, after, limit)
        return [(entry.ref, self.site.records(entry)) for entry in entries]

    def _now_s(self) -> float:
        return self.site.world.clock.seconds()

    def _later(self, delay_s: float, fn: object, *args: object) -> IDelayedCall:
        assert self.site.process is not None
        return self.site.process.callLater(delay_s, fn, *args)  # type: ignore[arg-type]
