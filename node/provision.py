"""How many pilots there should be on this machine, and starting them.

A look every few seconds, and at once when units wait that no pilot takes: count the pilots that
live, bury those that ended (their units are free at once), start what is missing. A pilot that dies
young without a result is a strike; after three in a row nothing is started for a while, and `floe
status` says so with the end of the pilot's log.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from node.config import LocalConfig
from node.dispatch import Room
from node.home import make_private_folder, write_private
from node.store import pilots as store
from node.store.pilots import PilotRow
from node.work import Work
from node.work.sessions import Session
from schedulers import texts
from schedulers.base import JobName, JobState, PilotSpec, SchedulerError

_log = Logger()

LOOK_S = 2.0
SUBMIT_S = 0.5  # at most one submission in so long
STRANDED_S = 60.0  # after a restart of ours, for a pilot that retries every few seconds
STRIKES_MAX = 3
BREAK_S_MIN = 30.0
BREAK_S_MAX = 3600.0
LOG_TAIL_BYTES = 2000
FOLDERS_KEPT = 20  # of ended pilots, for their logs


class Launcher(Protocol):
    """Starts processes that outlive us; see schedulers/local.py."""

    name: str

    def submit(self, spec: PilotSpec) -> list[JobName]: ...

    def states(self, jobs: Sequence[JobName]) -> dict[JobName, JobState]: ...

    def find(self, word: str) -> JobName | None: ...

    def cancel(self, jobs: Sequence[JobName]) -> None: ...


@dataclass(frozen=True, slots=True)
class PilotHome:
    """Where pilots live and how they find the node."""

    folder: Path  # one folder a pilot below it: settings, scratch, log
    program: Sequence[str]  # argv before the settings file
    urls: Sequence[str]
    fingerprint: str  # of the API's certificate
    hide: Sequence[str]  # what payloads must not see


@dataclass(slots=True)
class Own:
    """A pilot that was submitted here and has not ended."""

    no: int
    tag: str
    job: str
    row: PilotRow
    ended_s: float = float("-inf")  # when it was told to end


@dataclass(slots=True, eq=False)
class Breaker:
    """Stops submissions when pilots die young."""

    strikes: int = 0
    until_s: float = float("-inf")
    why: str = ""

    def failed(self, now_s: float, why: str) -> None:
        """A pilot was started and ended without having been of use."""
        self.strikes += 1
        self.why = why
        if self.strikes >= STRIKES_MAX:
            doubled = BREAK_S_MIN * 2.0 ** min(self.strikes - STRIKES_MAX, 20)
            self.until_s = now_s + min(BREAK_S_MAX, doubled)

    def worked(self) -> None:
        self.strikes, self.until_s, self.why = 0, float("-inf"), ""

    def open_for_s(self, now_s: float) -> float:
        """Seconds until the next try; not above 0: go on."""
        return self.until_s - now_s


class Provision:
    """Keeps local pilots between a minimum and a maximum."""

    def __init__(
        self,
        reactor: IReactorTime,
        work: Work,
        launcher: Launcher,
        settings: LocalConfig,
        home: PilotHome,
    ) -> None:
        self._reactor = reactor
        self._work = work
        self._launcher = launcher
        self.settings = settings
        self._home = home
        self._own: dict[int, Own] = {}
        self._breaker = Breaker()
        self._look_call: IDelayedCall | None = None
        self._looking = False
        self._stopped = False
        self._submitted_s = float("-inf")

    # -- start and stop

    def start(self, rows: Iterable[PilotRow]) -> None:
        """rows: pilots that had not ended when the node stopped. Begins to look."""
        for row in rows:
            if row.scheduler == self._launcher.name:
                # Killed before its name was written down: looked for; "" if it is not there.
                job = row.job or self._launcher.find(str(self._settings_file(row.tag))) or ""
                self._own[row.no] = Own(row.no, row.tag, job, row)
        self._work.leases.on_ready = self.wanted
        self._schedule(0.0)

    def stop(self, *, end_idle: bool = True) -> None:
        """Look no more. Pilots with units go on without us; idle ones have no reason to."""
        self._stopped = True
        if self._look_call is not None and self._look_call.active():
            self._look_call.cancel()
        self._look_call = None
        if end_idle:
            idle = [own for own in self._own.values() if not self._busy(own)]
            self._launcher.cancel([JobName(own.job) for own in idle if own.job])

    def end_all(self) -> None:
        """End every pilot, busy ones too; what they run is reported as evicted and runs again."""
        self._launcher.cancel([JobName(own.job) for own in self._own.values() if own.job])

    def _busy(self, own: Own) -> bool:
        session = self._work.sessions.by_pilot.get(own.no)
        return session is not None and bool(session.leases)

    def wanted(self) -> None:
        """Units wait and no pilot takes them: look soon."""
        if len(self._own) < self.settings.pilots_max:
            self._schedule(max(0.0, self._submitted_s + SUBMIT_S - self._reactor.seconds()))

    @property
    def living(self) -> int:
        """Pilots that were started here and have not ended."""
        return len(self._own)

    @property
    def trouble(self) -> str:
        """Why no pilots are started, for people; "" if nothing is wrong."""
        left_s = self._breaker.open_for_s(self._reactor.seconds())
        if left_s <= 0:
            return ""
        return (
            f"{self._breaker.strikes} pilots in a row ended without a result; the next is tried in "
            f"{left_s:.0f} s. {self._breaker.why}"
        )

    @property
    def starting(self) -> int:
        """Pilots that were submitted and have not announced themselves."""
        sessions = self._work.sessions.by_pilot
        return sum(1 for no in self._own if no not in sessions)

    def more(self) -> tuple[Room, int]:
        """What each pilot that is not started yet would have, and how many of them there may be."""
        mine = self.settings
        left = max(0, mine.pilots_max - len(self._own))
        if self._breaker.open_for_s(self._reactor.seconds()) > 0:
            left = 0
        share = max(1, mine.pilots_max)
        memory = mine.memory_bytes or _machine_memory_bytes() // share
        disk = mine.disk_bytes or shutil.disk_usage(self._home.folder).free // share
        return Room(mine.slots, mine.gpus, memory, disk), left

    # -- looking

    def _schedule(self, delay_s: float) -> None:
        if self._stopped or self._looking:
            return
        at_s = self._reactor.seconds() + delay_s
        if self._look_call is not None and self._look_call.active():
            if self._look_call.getTime() <= at_s:
                return
            self._look_call.cancel()
        self._look_call = self._reactor.callLater(delay_s, self._begin)

    def _begin(self) -> None:
        self._look_call = None
        self._looking = True
        done = Deferred.fromCoroutine(self.look())
        done.addErrback(lambda failure: _log.failure("provision: a look failed", failure))
        done.addBoth(lambda _: self._rest())

    def _rest(self) -> None:
        self._looking = False
        self._schedule(LOOK_S)

    async def look(self) -> None:
        """Bury what ended, start what is missing."""
        await self._bury()
        now_s = self._reactor.seconds()
        while (
            not self._stopped
            and self._missing()
            and self._breaker.open_for_s(now_s) <= 0
            and now_s - self._submitted_s >= SUBMIT_S
        ):
            self._submitted_s = now_s
            await self._submit()

    def _missing(self) -> bool:
        """Whether one more pilot should be started."""
        if len(self._own) >= self.settings.pilots_max:
            return False
        if self._work.leases.draining:
            return False  # one that came up would be sent away at once
        if len(self._own) < self.settings.pilots_min:
            return True
        if not self._work.dispatch.ready.active or self.starting:
            return False
        return not any(_has_room(session) for session in self._work.sessions)

    def _end_stranded(self) -> None:
        """A process on our own machine that does not find back to us never will."""
        now_s = self._reactor.seconds()
        for own in self._own.values():
            session = self._work.sessions.by_pilot.get(own.no)
            if (
                own.job
                and session is not None
                and session.stale
                and now_s - max(session.seen_s, own.ended_s) > STRANDED_S
            ):
                _log.warn("pilot {tag} does not come back: ending it", tag=own.tag)
                own.ended_s = now_s
                self._launcher.cancel([JobName(own.job)])

    async def _bury(self) -> None:
        self._end_stranded()
        named = [own for own in self._own.values() if own.job]
        states = self._launcher.states([JobName(own.job) for own in named])
        for own in named:
            if states.get(JobName(own.job)) is JobState.ENDED:
                await self._ended(own)
        for own in [own for own in self._own.values() if not own.job]:
            await self._ended(own)

    async def _ended(self, own: Own) -> None:
        del self._own[own.no]
        said = _last_lines(self._folder(own.tag) / "pilot.log")
        session = self._work.sessions.by_pilot.get(own.no)
        if own.no in self._work.arrivals.left_well or (session is not None and session.reported):
            self._breaker.worked()
        elif own.job:
            self._breaker.failed(self._reactor.seconds(), f"The last one said: {said or 'nothing'}")
        self._work.arrivals.left_well.discard(own.no)
        if session is not None:
            await self._work.arrivals.end(session, "its process ended")
        elif own.row.token in self._work.arrivals.expected:
            await self._work.arrivals.never_came(own.row, "it ended before it announced itself")
        self._tidy()

    # -- starting

    async def _submit(self) -> None:
        tag = f"local-{secrets.token_hex(4)}"
        token = secrets.token_urlsafe(32)
        row = await self._work.arrivals.expect(tag, token, 1, self._launcher.name)
        own = self._own[row.no] = Own(row.no, tag, "", row)
        folder = self._folder(tag)
        try:
            make_private_folder(folder)
            settings = self._settings_file(tag)
            write_private(settings, json.dumps(self._settings_of(tag, token, folder)).encode())
            spec = PilotSpec(
                name=tag,
                argv=[*self._home.program, str(settings)],
                log=str(folder / "pilot.log"),
                cpu=self.settings.slots,
            )
            own.job = self._launcher.submit(spec)[0]
        except (SchedulerError, OSError) as error:
            del self._own[row.no]
            self._breaker.failed(self._reactor.seconds(), str(error))
            await self._work.arrivals.never_came(row, f"could not be started: {error}")
            return
        _log.info("started pilot {tag} as {job}", tag=tag, job=own.job)
        await self._work.write(partial(store.submitted, pilot=row.no, job=own.job))

    def _settings_of(self, tag: str, token: str, folder: Path) -> Mapping[str, Any]:
        mine = self.settings
        found: dict[str, Any] = {
            "urls": list(self._home.urls),
            "fingerprint": self._home.fingerprint,
            "token": token,
            "tag": tag,
            "work_dir": str(folder / "work"),
            "hide": list(self._home.hide),
            "slots": mine.slots,
            "gpus": [str(number) for number in range(mine.gpus)],
            "idle_s": mine.idle_s if not mine.pilots_min else None,
        }
        # A pilot that is alone finds out by itself what there is.
        memory, disk = mine.memory_bytes, mine.disk_bytes
        if mine.pilots_max > 1:
            memory = memory or _machine_memory_bytes() // mine.pilots_max
            disk = disk or shutil.disk_usage(folder).free // mine.pilots_max
        if memory:
            found["memory_bytes"] = memory
        if disk:
            found["disk_bytes"] = disk
        return found

    def _settings_file(self, tag: str) -> Path:
        return self._folder(tag) / "settings.json"

    def _folder(self, tag: str) -> Path:
        return self._home.folder / tag

    def _tidy(self) -> None:
        """Remove folders of pilots that ended long ago; their scratch is gone already."""
        living = {own.tag for own in self._own.values()}
        try:
            folders = [
                (entry.stat().st_mtime, entry)
                for entry in self._home.folder.glob("local-*")
                if entry.name not in living
            ]
        except OSError:
            return
        for _, folder in sorted(folders)[:-FOLDERS_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)


def _has_room(session: Session) -> bool:
    """Whether this pilot will ask for units soon, so that another is of no use."""
    if session.stale or session.draining or session.rests:
        return False
    return session.idle_slots > 0


def _machine_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _last_lines(path: Path) -> str:
    """The end of a pilot's log, on one line."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [texts.harmless(line) for line in text.splitlines() if line.strip()]
    return texts.harmless(" / ".join(lines[-3:]), 500)
