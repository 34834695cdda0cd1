"""The council's service: acks, votes, opens and leads of this site, in time.

It hears of every durable entry, looks at the shards of which it speaks and in which this site has a
seat, and writes what `federation.delegate` says. Acks gather for up to a second, so that one covers
many records; where people wait (a submission, an order), and for votes and terms, it looks at once.
Where this site alone votes nothing is ever done: its own commit settles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import apsw
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from federation.canvass import CANVASS, Answer, Lead, read_lead, read_question
from federation.delegate import Delegate
from federation.election import Pace
from federation.entry import Entry
from federation.errors import PeerError, RemoteRefused
from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.records import (
    Adopt,
    Command,
    Dataset,
    Force,
    FoundCouncil,
    Move,
    Open,
    Record,
    SeatClose,
    Vote,
)
from federation.shard import Shard
from federation.voting import Reply, View, above, seat_for
from node.council.agenda import LOOK_S_MAX, Agenda
from node.council.asking import Asking
from node.council.ports import Facts, Pen, Revocations, Voice
from node.council.views import Views

_log = Logger()

ACK_GATHER_S: Final = 1.0
URGENT: Final = (
    Vote, Open, Force, FoundCouncil, SeatClose, Dataset, Command, Move, Adopt
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Standing:
    """What is under way in a shard, for people.

    voted: who voted for the highest term above the open ones, `vote_term`; 0 for none.
    silent_s: since the leader was heard; None where this site leads.
    """

    vote_term: int
    voted: Sequence[SiteID]
    silent_s: float | None


class Council:
    """See the module. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        me: FeedID,
        facts: Facts,
        pen: Pen,
        voice: Voice,
        members: Revocations,
        pace: Pace,
        random: Random,
    ) -> None:
        """me: this site's control feed, in the generation in which it writes."""
        self._reactor = reactor
        self._me = me
        self._facts = facts
        self._pen = pen
        self._voice = voice
        self._members = members
        self._pace = pace
        self._random = random
        self._views = Views(me, facts, members)
        self._asking = Asking(reactor, me, voice, pace)
        self._agenda = Agenda(facts.councils)
        self._delegates: dict[ShardID, Delegate] = {}
        self._composing: set[ShardID] = set()
        self._look_call: IDelayedCall | None = None
        self._lead_call: IDelayedCall | None = None
        self._counter = 0
        self._stopped = False

    # Life

    def start(self) -> None:
        """Answer others, say what is led here, and go on with whatever is under way."""
        self._voice.serve(CANVASS, self._canvassed)
        self._voice.on_flood("lead", self._heard)
        self._members.subscribe(self._members_changed)
        self._look()
        self._say()

    def stop(self) -> None:
        self._stopped = True
        for call in (self._look_call, self._lead_call):
            if call is not None and call.active():
                call.cancel()
        self._asking.stop()

    # What comes in

    def arrived(self, entries: Iterable[Entry]) -> None:
        """The journal's subscriber: entries, own or taken in, that are durable and folded."""
        urgent = False
        if not self._delegates:  # whoever sits nowhere need not read what others write
            self._agenda.everything()
            entries = ()
        for entry in entries:
            told = entry.header.lane is Lane.CONTROL and entry.body is not None
            records = entry.records() if told else ()
            self._agenda.arrived(entry, records)
            urgent = urgent or any(isinstance(record, URGENT) for record in records)
        self._look_in(0.0 if urgent else ACK_GATHER_S)

    def _members_changed(self) -> None:
        self._agenda.everything()
        self._look_in(0.0)

    def _heard(self, origin: SiteID, document: bytes) -> None:
        """A leader's word came."""
        try:
            lead = read_lead(document)
        except PeerError as error:
            _log.warn("council: a lead that is none: {why}", why=str(error))
            return
        view = self._views.view(lead.shard) if lead.shard in self._delegates else None
        if view is not None and lead.leader.site == origin:
            self._delegates[lead.shard].hear(view, lead, self._reactor.seconds())

    async def _canvassed(self, site: SiteID, body: bytes) -> bytes:
        """A candidate asks."""
        try:
            question = read_question(body)
        except PeerError as error:
            raise RemoteRefused(str(error)) from None
        delegate = self._delegate(question.shard)
        view = self._views.view(question.shard)
        generation = self._me.generation
        if view is None or delegate is None:
            return Answer(Reply.UNKNOWN_SHARD, 0, generation).pack()
        said = delegate.answer(view, site, self._reactor.seconds())
        seat = seat_for(view, site)
        if said is Reply.AGREED and (seat is None or seat.generation != question.generation):
            said = Reply.CANNOT_LEAD
        return Answer(said, above(view), generation).pack()

    # Looking

    def _look_in(self, seconds: float) -> None:
        """Look after so long, or earlier if that was planned."""
        if self._stopped:
            return
        if self._look_call is not None and self._look_call.active():
            if self._look_call.getTime() <= self._reactor.seconds() + seconds:
                return
            self._look_call.cancel()
        self._look_call = self._reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        """Look at the shards with news, and at those whose time has come."""
        if self._look_call is not None and self._look_call.active():
            self._look_call.cancel()  # entries arrived before the start
        self._look_call = None
        self._look_in(LOOK_S_MAX)  # whatever happens now
        now_s = self._reactor.seconds()
        for shard in self._agenda.due(now_s):
            again_s, waits = now_s + LOOK_S_MAX, True
            try:
                again_s, waits = self._look_at(shard, now_s)
            except Exception:
                _log.failure("council: looking at shard {shard} failed", shard=shard.hex()[:8])
            self._agenda.looked(shard, again_s, waits=waits)
        self._look_in(max(0.0, self._agenda.next_s - now_s))

    def _look_at(self, shard: ShardID, now_s: float) -> tuple[float, bool]:
        """Do what is due in one shard; when to look again, and whether whatever comes is news."""
        view, delegate = self._views.view(shard), self._delegate(shard)
        if view is None or delegate is None:
            return now_s + LOOK_S_MAX, False
        plan = delegate.plan(view, now_s)
        if (plan.ack or plan.write) and shard not in self._composing:
            self._compose(shard)
        if plan.stand:
            self._stand(shard, view)
        again_s = now_s if self._views.behind(shard) else max(now_s, plan.again_s)
        return again_s, plan.waits or self._views.waits(view.shard)

    def _delegate(self, shard: ShardID) -> Delegate | None:
        """This site's part in a shard; None where it has none."""
        found = self._delegates.get(shard)
        if found is None and shard in self._facts.councils():
            found = Delegate(self._pace, self._random.random, self._reactor.seconds())
            self._delegates[shard] = found
        return found

    # Writing

    def _compose(self, shard: ShardID) -> None:
        self._composing.add(shard)

        def written(_: None) -> None:
            self._composing.discard(shard)
            self._agenda.news([shard])
            self._look_in(0.0)

        def failed(failure: Failure) -> None:
            self._composing.discard(shard)
            if not self._stopped:
                _log.warn("council: nothing was written: {why}", why=str(failure.value))
                self._agenda.news([shard])
                self._look_in(self._pace.round_s)

        self._pen.compose(lambda: self._records(shard)).addCallbacks(written, failed)

    def _records(self, shard: ShardID) -> list[Record]:
        """What to write in the entry that is sealed now."""
        view, delegate = self._views.view(shard), self._delegates.get(shard)
        if view is None or delegate is None or self._stopped:
            return []
        records = delegate.records(view, self._views.tip, self._reactor.seconds())
        for record in records:
            _tell(record)
        return records

    # Standing

    def _stand(self, shard: ShardID, view: View) -> None:
        """Ask the others, unless that is under way."""
        asked = self._asking.ask(shard, view)
        if asked is not None:
            asked.addCallback(lambda replies: self._asked(shard, replies))
            asked.addErrback(lambda failure: _log.failure("council: a canvass failed", failure))

    def _asked(self, shard: ShardID, replies: Sequence[tuple[FeedID, Answer]]) -> None:
        """The others answered, or will not: stand if a majority agreed, in a term above theirs."""
        view, delegate = self._views.view(shard), self._delegates.get(shard)
        if view is None or delegate is None or self._stopped:
            return
        term = delegate.agreed(view, replies, self._reactor.seconds())
        _log.info(
            "council: shard {shard}: {count} of {voters} others agree; {what}",
            shard=shard.hex()[:8],
            count=sum(answer.reply is Reply.AGREED for _, answer in replies),
            voters=len(view.shard.voters(view.shard.newest)) - 1,
            what=f"standing in term {term}" if term else "not standing",
        )
        self._agenda.news([shard])
        self._look_in(0.0)

    # Leading

    def _say(self) -> None:
        """After a commit of our own, tell all that this site leads what it leads."""
        self._lead_call = self._reactor.callLater(self._pace.lead_every_s, self._say)
        if not self._led():
            return
        done = self._pen.local(_pulse)
        done.addCallback(lambda _: self._flood())
        done.addErrback(
            lambda failure: _log.warn("council: no lead: {why}", why=str(failure.value))
        )

    def _flood(self) -> None:
        newest = self._views.tip(self._me)
        if self._stopped or newest is None:
            return
        for shard in self._led():
            self._counter += 1
            term = shard.newest.number
            lead = Lead(
                self._me, self._voice.boot, self._counter, shard.id, term, newest.seq, newest.id
            )
            self._voice.flood("lead", lead.pack())

    def _led(self) -> list[Shard]:
        """The shards that this site leads; one that cannot be looked at silences no other."""
        found = []
        for shard in self._facts.councils():
            try:
                known = self._facts.shard(shard)
            except Exception:
                _log.failure("council: looking at shard {shard} failed", shard=shard.hex()[:8])
                continue
            if known is not None and known.leads(self._me) and not known.stopped:
                found.append(known)
        return found

    # For people

    def standing(self, shard: ShardID) -> Standing | None:
        """What is under way in a shard in whose council this site sits."""
        view, delegate = self._views.view(shard), self._delegates.get(shard)
        if view is None or delegate is None:
            return None
        newest = view.shard.newest.number
        term = max((each.vote.term for each in view.votes if each.vote.term > newest), default=0)
        voted = [each.voter.site for each in view.votes if term and each.vote.term == term]
        silent_s = None if view.leads else delegate.silent_s(view, self._reactor.seconds())
        return Standing(term, voted, silent_s)


def _tell(record: Record) -> None:
    """One line for each change of state."""
    if isinstance(record, Vote | Open):
        _log.info(
            "council: shard {shard}: {what} term {term}",
            shard=record.shard.hex()[:8],
            what="opening" if isinstance(record, Open) else "voting in",
            term=record.term,
        )
    elif isinstance(record, SeatClose):
        _log.info(
            "council: shard {shard}: closing the seat of {site}",
            shard=record.shard.hex()[:8],
            site=record.site.hex()[:8],
        )


def _pulse(conn: apsw.Connection) -> None:
    """Something to commit, so that the disk shows that it still takes what is written."""
    conn.execute("INSERT INTO pulse VALUES (1, 1) ON CONFLICT DO UPDATE SET count = count + 1")
