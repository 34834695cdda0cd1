"""Are the settings of a batch system good? Asked of the batch system itself; nothing is submitted.

What it refuses now it would refuse later, with every submission. What may be otherwise in a moment
(a daemon that is away, a partition that is closed, nodes that are down) is told apart from that:
such a site starts, and its pilots follow when they can.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, TimeoutError

from node.model.dataset import Needs
from node.model.units import show_time
from node.provisioning.asking import Asking
from node.provisioning.findings import ALL_S_MAX, Finding, Verdict
from node.provisioning.ports import Reactor, Tools
from node.provisioning.settings import MAIN, TIMES_S, Factory, SystemConfig
from node.provisioning.shapes import Closed, NoFit, Shape, queue_of, shape_for
from node.provisioning.submitting import PROGRAM, SETTINGS, folder_of, spec_of, tag_of
from schedulers.base import Command, Queue, Refused, SchedulerError
from schedulers.runner import Lost, NotRun

COMMAND_S_MAX: Final = 20.0  # for one of its commands
REMOVE_S_MAX: Final = 10.0  # for the removal of what was put there
NAMES_SHOWN_MAX: Final = 12  # of queues
SMALLEST: Final = Needs(1, 0, 0, 0, 0)
_LOOK_FOR = 'for each; do command -v -- "$each" >/dev/null || printf "%s\\n" "$each"; done'


class _Stop(Exception):
    """No later step makes sense."""


async def check(
    reactor: Reactor, tools: Tools, settings: SystemConfig, folder: str, random: str
) -> list[Finding]:
    """All that is to be said of one batch system, within ALL_S_MAX.

    folder: for pilots' files, where the section names none. random: for a tag.
    """
    found: list[Finding] = []
    work = _Check(tools, settings, folder_of(settings, folder), tag_of(settings.name, random))
    done = Deferred.fromCoroutine(work.run(found))
    try:
        await done.addTimeout(ALL_S_MAX, reactor)  # type: ignore[arg-type]
    except (TimeoutError, CancelledError):
        words = f"did not answer within {ALL_S_MAX:.0f} s"
        found.append(Finding(f"site.{settings.name}", "answers", Verdict.LATER, words))
    if work.wrote:
        removed = Deferred.fromCoroutine(work.remove())
        with suppress(TimeoutError, CancelledError):
            await removed.addTimeout(REMOVE_S_MAX, reactor)  # type: ignore[arg-type]
    return found


class _Check:
    """The steps, each with a finding."""

    def __init__(self, tools: Tools, settings: SystemConfig, folder: str, tag: str) -> None:
        self._tools = tools
        self._asking = Asking(tools)
        self._settings = settings
        self._place = f"site.{settings.name}"
        self._tag = tag
        self._folder = folder
        self._found: list[Finding] = []
        self.wrote = False  # there may be files of ours

    async def run(self, found: list[Finding]) -> None:
        """The steps, one after the other; `found` grows."""
        self._found = found
        try:
            await self._programs()
            await self._version()
            await self._put()
            queues = await self._queues()
            for factory in self._settings.factories:
                await self._factory(factory, queues)
        except _Stop:
            pass

    def _tell(
        self, step: str, verdict: Verdict, words: str, right: str = "", place: str = ""
    ) -> None:
        self._found.append(Finding(place or self._place, step, verdict, words, right))

    def _fail(
        self,
        step: str,
        error: SchedulerError,
        right: str = "",
        place: str = "",
        unless: type[SchedulerError] = SchedulerError,
    ) -> None:
        """unless: errors of other kinds last, too."""
        lasting = isinstance(error, Refused) or not isinstance(error, unless | NotRun)
        lasting = lasting or (isinstance(error, NotRun) and error.lasting)
        verdict = Verdict.REFUSED if lasting else Verdict.LATER
        self._tell(step, verdict, str(error), right if lasting else "", place)

    async def _programs(self) -> None:
        names = self._tools.scheduler.programs()
        command = Command(["/bin/sh", "-c", _LOOK_FOR, "sh", *names])
        try:
            done = await self._tools.runner.run(command, timeout_s=COMMAND_S_MAX)
        except SchedulerError as error:
            self._fail("is reached", error)
            raise _Stop from None
        missing = done.out.decode("utf-8", "replace").split("\n")
        if missing := [each for each in missing if each in names]:
            where = self._settings.host or "this machine"
            right = f"name it in {self._place}.commands, or its folder in PATH"
            words = f"no program {', '.join(missing)} on {where}"
            self._tell("commands", Verdict.REFUSED, words, right)
            raise _Stop

    async def _version(self) -> None:
        try:
            self._tell("answers", Verdict.FINE, await self._asking.version())
        except SchedulerError as error:
            self._fail("answers", error)
            raise _Stop from None

    async def _put(self) -> None:
        """What the pilots' files need, and a dry run of some systems."""
        self.wrote = True
        try:
            for name, mode in ((PROGRAM, 0o700), (SETTINGS, 0o600)):
                await self._tools.runner.put(f"{self._folder}/{self._tag}/{name}", b"", mode)
            await self._tools.runner.put(self._beside, b"", 0o600)  # where the program will be
        except SchedulerError as error:
            right = "name one that this account may write to, and nobody else"
            self._fail("folder", error, right, f"{self._place}.folder", unless=Lost)
            raise _Stop from None

    async def remove(self) -> None:
        """What was put there for the check."""
        with suppress(SchedulerError):  # the connection is gone, most likely; empty files stay
            await self._tools.runner.remove([f"{self._folder}/{self._tag}", self._beside])

    @property
    def _beside(self) -> str:
        return f"{self._folder}/{self._tag}.check"

    async def _queues(self) -> Sequence[Queue]:
        try:
            return await self._asking.queues()
        except SchedulerError as error:
            self._fail("queues", error)
            return ()

    async def _factory(self, factory: Factory, queues: Sequence[Queue]) -> None:
        """The smallest pilot that it would make."""
        place = self._place + ("" if factory.name == MAIN else f".pilot {factory.name!r}")
        found: list[Finding] = []
        shape = self._shape(factory, queues, place, found)
        if shape is not None:
            await self._rehearse(factory, shape, queues, place, found)
        self._found += found

    def _shape(
        self, factory: Factory, queues: Sequence[Queue], place: str, found: list[Finding]
    ) -> Shape | None:
        queue = queue_of(factory, queues)
        if queue is not None and queue.open and queue.words:
            words = f"queue {queue.name}: {queue.words}"
            found.append(Finding(place, "queue", Verdict.LATER, words))
        if words := _unused_times(factory, queue):
            found.append(Finding(f"{place}.times", "limits", Verdict.NOTE, words))
        try:
            return shape_for(factory, SMALLEST, queues)
        except Closed as closed:
            found.append(Finding(place, "queue", Verdict.LATER, str(closed)))
            return shape_for(factory, SMALLEST)
        except NoFit as error:
            found.append(Finding(place, "limits", Verdict.REFUSED, str(error)))
            return None

    async def _rehearse(
        self,
        factory: Factory,
        shape: Shape,
        queues: Sequence[Queue],
        place: str,
        found: list[Finding],
    ) -> None:
        folder = f"{self._folder}/{self._tag}"
        spec = spec_of(self._tag, shape, factory, 1, f"{folder}/{PROGRAM}", folder)
        right = " ".join(_unknown_queue(factory, queues))
        try:
            command = self._tools.scheduler.rehearse(spec)
        except SchedulerError as error:  # it cannot even be written
            found.append(Finding(place, "a pilot", Verdict.REFUSED, str(error)))
            return
        if command is None:
            if right:
                words = f"there is no queue {factory.queue!r}"
                found.append(Finding(f"{place}.queue", "queue", Verdict.REFUSED, words, right))
            return
        try:
            done = await self._tools.runner.run(command, timeout_s=COMMAND_S_MAX)
            words = self._tools.scheduler.rehearsed(done, spec)
        except SchedulerError as error:
            # Of a queue that is down what is said now may not be meant for good.
            down = any(each.verdict is Verdict.LATER for each in found)
            lasting = isinstance(error, Refused) and not down
            verdict = Verdict.REFUSED if lasting else Verdict.LATER
            found.append(Finding(place, "a pilot", verdict, str(error), right))
            return
        asked = f"{shape.words()}: {words}" if words else shape.words()
        verdict = Verdict.NOTE if words.startswith("WARNING") else Verdict.FINE
        found.append(Finding(place, "a pilot", verdict, asked))


def _unused_times(factory: Factory, queue: Queue | None) -> str:
    """Wall times that somebody wrote down, and that are longer than the queue allows."""
    if queue is None or queue.time_s_max is None or factory.times_s == TIMES_S:
        return ""
    most_s = queue.time_s_max
    longer = [show_time(each) for each in factory.times_s if each > most_s]
    if not longer or len(longer) == len(factory.times_s):  # none fits: that is refused
        return ""
    return f"queue {queue.name} allows {show_time(most_s)}: {', '.join(longer)} is never asked for"


def _unknown_queue(factory: Factory, queues: Sequence[Queue]) -> Iterator[str]:
    """What to write instead, if the batch system names its queues and this is none of them."""
    names = [each.name for each in queues if each.name]
    if not factory.queue or not names or queue_of(factory, queues) is not None:
        return
    close = difflib.get_close_matches(factory.queue, names, 1)
    if close:
        yield f"did you mean {close[0]!r}?"
    yield f"it has {', '.join(names[:NAMES_SHOWN_MAX])}"
