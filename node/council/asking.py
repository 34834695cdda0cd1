"""Canvasses: ask all other voters of a shard at once, and wait no longer than need be."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from federation.canvass import CANVASS, Answer, Question, read_answer
from federation.election import Pace, enough
from federation.ids import FeedID, Lane, ShardID
from federation.voting import Reply, View
from node.council.ports import Voice

_log = Logger()

Replies = Sequence[tuple[FeedID, Answer]]


class _Canvass:
    """One question to many."""

    def __init__(self, view: View, waiting: int) -> None:
        self.done: Deferred[Replies] = Deferred()
        self._view = view
        self._waiting = waiting
        self._replies: list[tuple[FeedID, Answer]] = []

    def replied(self, reply: tuple[FeedID, Answer] | None) -> None:
        """One answered; None for one who did not."""
        self._waiting -= 1
        if reply is not None:
            self._replies.append(reply)
        agreed = [seat for seat, answer in self._replies if answer.reply is Reply.AGREED]
        if not self._waiting or enough(self._view, agreed):
            self.finish()

    def finish(self) -> None:
        if not self.done.called:
            self.done.callback(tuple(self._replies))


class Asking:
    """One canvass a shard at a time."""

    def __init__(self, reactor: IReactorTime, me: FeedID, voice: Voice, pace: Pace) -> None:
        self._reactor = reactor
        self._me = me
        self._voice = voice
        self._pace = pace
        self._under_way: dict[ShardID, _Canvass] = {}

    def ask(self, shard: ShardID, view: View) -> Deferred[Replies] | None:
        """Ask whether the others would vote for this site; None while that is under way.

        Fires with what was answered when a majority agreed, all have answered, or a round is over.
        """
        if shard in self._under_way:
            return None
        others = [seat for seat in view.shard.voters(view.shard.newest) if seat != self._me]
        canvass = self._under_way[shard] = _Canvass(view, len(others))
        body = Question(shard, self._me.generation).pack()
        over = self._reactor.callLater(self._pace.round_s, canvass.finish)

        def finished(replies: Replies) -> Replies:
            self._under_way.pop(shard, None)
            if over.active():
                over.cancel()
            return replies

        canvass.done.addCallback(finished)
        done = canvass.done
        for seat in others:
            self._ask_one(seat, body, canvass)
        if not others:
            canvass.finish()
        return done

    def stop(self) -> None:
        for canvass in list(self._under_way.values()):
            canvass.finish()

    def _ask_one(self, seat: FeedID, body: bytes, canvass: _Canvass) -> None:
        def answered(answer: bytes) -> None:
            said = read_answer(answer)
            canvass.replied((FeedID(seat.site, said.generation, Lane.CONTROL), said))

        def failed(failure: Failure) -> None:
            _log.debug("council: no answer of {site}: {why}", site=seat.site.hex()[:8],
                       why=str(failure.value))  # fmt: skip
            canvass.replied(None)

        self._voice.request(seat.site, CANVASS, body).addCallback(answered).addErrback(failed)
