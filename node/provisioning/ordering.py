"""Submitting to one batch system: how often, and what becomes of a refusal."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from twisted.logger import Logger

from node.provisioning.breaker import Breaker
from node.provisioning.ending import Ending
from node.provisioning.jobs import Changes, Submission
from node.provisioning.plan import Order
from node.provisioning.ports import House, Tools
from node.provisioning.settings import SystemConfig
from node.provisioning.shapes import Shape
from node.provisioning.submitting import Doubtful, NotMade, Submitter
from node.store import submissions as store
from schedulers.base import SchedulerError

_log = Logger()

REFUSED_S_MAX: Final = 3600.0  # between two submissions, while each is refused
PROVEN_MAX: Final = 1000
FOLDERS_KEPT: Final = 20  # of ended submissions, for their logs


class Ordering(Ending, abc.ABC):
    """Makes submissions, one at a time."""

    def __init__(
        self, house: House, settings: SystemConfig, tools: Tools, numbers: Iterator[int]
    ) -> None:
        """numbers: of new submissions, shared by all batch systems of the node."""
        super().__init__(house, settings, tools)
        self._numbers = numbers
        self._submitter = Submitter(house, settings, tools)
        ended = (each.folder for each in self.book.submissions.values() if each.ended)
        self._ended = deque(folder for folder in ended if folder)  # whose files are there still

    async def _tidy(self, ended: str) -> None:
        """Remove what the oldest ended submissions left there. ended: the folder of one more."""
        self._ended.append(ended)
        if len(self._ended) <= 2 * FOLDERS_KEPT:
            return
        folders = [self._ended.popleft() for _ in range(FOLDERS_KEPT)]
        try:
            await self._tools.runner.remove(folders)
        except SchedulerError as error:
            self._ended.extendleft(reversed(folders))  # with the next one
            self._complain(f"cannot remove old logs: {error}")

    @abc.abstractmethod
    async def _apply(self, changes: Changes) -> None:
        """Write changes down, and act on them."""

    async def submit(self, order: Order) -> Submission:
        """One submission, from its intent to its jobs' names; its words say what went wrong."""
        self._pause(order.shape)
        submission, token = await self._submitter.intend(order, next(self._numbers))
        self.book.add(submission)
        self.book.forget(submission.no - store.ENDED_KEPT)
        breaker = self.breakers.setdefault(order.shape, Breaker())
        avoid = self.avoided.names(self._house.reactor.seconds())
        try:
            spec = await self._submitter.ship(submission, order, token, avoid)
            jobs = await self._submitter.submit(spec)
        except NotMade as error:
            self._refused(order, error, breaker, avoid)
            self._complain(f"nothing was submitted: {error}")
            await self._apply(self.book.not_made(submission.tag, str(error)))
            return submission
        except Doubtful as error:
            if error.refused:
                self._pause(order.shape, refused=True)
                self.avoided.refused(avoid)
                breaker.refused(self._house.reactor.seconds(), str(error))
            submission.words = str(error)
            self._complain(f"a submission is in doubt: {error}")
            return submission
        self._prove(order.shape)
        self._pause(order.shape)
        breaker.taken(self.settings.submit_max)
        _log.info(
            "site.{name}: submitted {count}, {words}, as {first}",
            name=self.settings.name,
            count="1 pilot" if len(jobs) == 1 else f"{len(jobs)} pilots",
            words=self.kind(order.shape),
            first=jobs[0],
        )
        await self._apply(self.book.named(submission.tag, jobs, self._house.reactor.seconds()))
        return submission

    def _refused(
        self, order: Order, error: NotMade, breaker: Breaker, avoid: Sequence[str]
    ) -> None:
        """What a submission that was not made means for the next ones."""
        said, now_s = error.refused, self._house.reactor.seconds()
        if said is not None and said.limit:  # nothing is wrong with what was asked for
            self._pause(order.shape)
            breaker.limited(now_s, str(error), order.count, fewer=said.fewer)
            return
        self._pause(order.shape, refused=not error.away)
        if said is not None:
            self.avoided.refused(avoid)
        if not error.away:
            breaker.refused(now_s, str(error))

    async def remove(self, submission: Submission) -> bool:
        """Remove the files of a submission that is over; False if that did not work."""
        try:
            await self._tools.runner.remove([submission.folder])
        except SchedulerError as error:
            self._complain(f"cannot remove the files of {submission.tag}: {error}")
            return False
        return True

    def _prove(self, shape: Shape) -> None:
        """It was taken. A kind that was taken before shows nothing of others that are refused."""
        if shape not in self.proven:
            self.refusals = 0
            if len(self.proven) >= PROVEN_MAX:
                del self.proven[next(iter(self.proven))]
            self.proven[shape] = None

    def _pause(self, shape: Shape, *, refused: bool = False) -> None:
        """Until the next submission: of kinds that were never taken, twice as long with each
        refusal in a row. A kind that was, and is refused now, shows that it may be all of them."""
        if refused:
            self.refusals += 1
            if shape in self.proven:
                self.proven.clear()
        now_s, wait_s = self._house.reactor.seconds(), float(self.settings.submit_s)
        self._next_submit_s = now_s + wait_s
        if not self.refusals or shape not in self.proven:
            wait_s *= 2.0 ** min(max(0, self.refusals - 1), 20)
            self._next_new_s = now_s + min(REFUSED_S_MAX, wait_s)
