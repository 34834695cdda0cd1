"""One submission: written down, shipped, made, and its jobs' names written down.

The node may be killed between any two of these. Before the row is on disk nothing was done; after
that the tag finds whatever was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import apsw

from node.provisioning.jobs import Submission
from node.provisioning.plan import Order
from node.provisioning.ports import House, Tools
from node.provisioning.rows import submission_of
from node.provisioning.settings import Factory, SystemConfig
from node.provisioning.shapes import Shape
from node.store import submissions as store
from node.store.pilots import PilotRow
from node.store.submissions import SubmissionRow
from schedulers.base import JobName, PilotSpec, Refused, SchedulerError
from schedulers.runner import Lost, NotReached, NotRun

PROGRAM = "pilot.pyz"
SETTINGS = "settings.json"
LOG = "log"
_SITE_CHARS_MAX = 16


class NotMade(Exception):
    """There is no submission, for certain; the message says why.

    refused: by the batch system, with what it said. away: its host could not be reached, so it was
    not even asked.
    """

    def __init__(self, why: str, *, refused: Refused | None = None, away: bool = False) -> None:
        super().__init__(why)
        self.refused = refused
        self.away = away


class Doubtful(Exception):
    """There may be one; refused: the batch system itself said no."""

    def __init__(self, why: str, *, refused: bool) -> None:
        super().__init__(why)
        self.refused = refused


def tag_of(system: str, random: str) -> str:
    """The name of a submission in its batch system, and of its pilots."""
    site = re.sub(r"[^a-z0-9]", "", system)[:_SITE_CHARS_MAX].ljust(2, "0")
    return f"floe-{site}-{random}"


def whole_tag(tag: str, known: Container[str]) -> str | None:
    """Of its submission: each pilot but the last one has a number after that."""
    if tag in known:
        return tag
    whole = tag.rpartition("-")[0]
    return whole if whole in known else None


def folder_of(settings: SystemConfig, folder: str) -> str:
    """Where pilots' files are on the submit host. folder: for what a section does not say."""
    return settings.folder or f"{folder}/{settings.name}"


def spec_of(
    tag: str, shape: Shape, factory: Factory, count: int, program: str, folder: str
) -> PilotSpec:
    """What the batch system is asked for. folder: of this submission."""
    settings = f"{folder}/{SETTINGS}"
    return PilotSpec(
        name=tag,
        argv=(program, settings),
        log=f"{folder}/{LOG}",
        folder=folder,
        files=(program, settings),
        cpu=shape.cpu,
        gpu=shape.gpu,
        memory_bytes=shape.memory_bytes,
        disk_bytes=shape.disk_bytes,
        time_s=shape.time_s,
        count=count,
        queue=factory.queue,
        account=factory.account,
        options=factory.options,
        lines=factory.lines,
    )


def log_of(submission: Submission) -> str:
    """To which each pilot's number is added by the batch system."""
    return f"{submission.folder}/{LOG}"


class Submitter:
    """Makes submissions to one batch system."""

    def __init__(self, house: House, settings: SystemConfig, tools: Tools) -> None:
        self._house = house
        self._settings = settings
        self._tools = tools
        self._shipped = False  # the pilot's program is where it should be
        self.rows: dict[str, PilotRow] = {}  # of tokens, by tag

    def change(self, settings: SystemConfig) -> None:
        """Other settings from now on; the program goes to another folder then, too."""
        self._settings = settings
        self._shipped = False

    def ship_again(self) -> None:
        """Pilots died: the program may be gone, as from a scratch disk that is swept."""
        self._shipped = False

    def folder(self) -> str:
        """Of all pilots of this batch system, on the submit host."""
        return folder_of(self._settings, self._house.folder)

    async def intend(self, order: Order, no: int) -> tuple[Submission, str]:
        """Write a submission down, before anything is done about it; and its token."""
        tag = tag_of(self._settings.name, self._house.name())
        token = self._house.token()
        made: list[SubmissionRow] = []

        def also(pilot: PilotRow) -> Callable[[apsw.Connection], None]:
            row = SubmissionRow(
                no, tag, self._settings.name, order.shape.dump(), order.count, pilot.no,
                self._house.wall_ms(), folder=f"{self.folder()}/{tag}",
            )  # fmt: skip
            made.append(row)
            return partial(store.intend, row=row)

        expect = self._house.work.arrivals.expect
        self.rows[tag] = await expect(tag, token, order.count, self._settings.name, also)
        return submission_of(made[0], self._house.reactor.seconds()), token

    async def ship(
        self, submission: Submission, order: Order, token: str, avoid: Sequence[str] = ()
    ) -> PilotSpec:
        """Put the pilot and its settings where the batch system finds them. Raises NotMade.

        avoid: hosts, by the names of the batch system.
        """
        program = f"{self.folder()}/{PROGRAM}"
        folder = submission.folder
        content = json.dumps(self._settings_of(submission, token)).encode()
        try:
            if not self._shipped:
                await self._tools.runner.put(program, self._house.program, 0o700)
                self._shipped = True
            await self._tools.runner.put(f"{folder}/{SETTINGS}", content, 0o600)
        except SchedulerError as error:
            self._shipped = False
            away = isinstance(error, NotReached | Lost)
            raise NotMade(f"cannot put the pilot there: {error}", away=away) from None
        made = spec_of(
            submission.tag, submission.shape, order.factory, submission.count, program, folder
        )
        return replace(made, avoid=avoid)

    def _settings_of(self, submission: Submission, token: str) -> dict[str, Any]:
        shape, mine = submission.shape, self._settings
        return {
            "urls": [self._tools.url] if self._tools.url else list(self._house.urls),
            "fingerprint": self._house.fingerprint,
            "token": token,
            "tag": submission.tag,
            "system": mine.kind,
            "work_dir": "",  # where the batch system wants it
            "hide": [*self._house.hide, self.folder()],  # other pilots' tokens are there
            "slots": shape.cpu,
            "memory_bytes": shape.room().memory_bytes,
            "disk_bytes": shape.disk_bytes,
            "lifetime_s": shape.time_s,
            "idle_s": mine.idle_s if not mine.pilots_min else None,
        }

    async def submit(self, spec: PilotSpec) -> list[JobName]:
        """The one command. Raises NotMade or Doubtful."""
        try:
            command = self._tools.scheduler.submit(spec)
        except SchedulerError as error:
            raise NotMade(str(error)) from None
        try:
            done = await self._tools.runner.run(command)
        except NotRun as error:
            raise NotMade(str(error), away=isinstance(error, NotReached)) from None
        except SchedulerError as error:
            raise Doubtful(str(error), refused=False) from None
        try:
            return self._tools.scheduler.submitted(done, spec)
        except Refused as error:
            raise NotMade(str(error), refused=error) from None
        except SchedulerError as error:
            raise Doubtful(str(error), refused=True) from None
