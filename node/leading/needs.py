"""Outputs that people asked for and no site gave: their leader hears of them.

Nobody reads the last outputs of a dataset but people. So a node that cannot bring what one asks for
tells the leader of the dataset, who has it made again if it is lost (`reproducing`). Hints: they
are forgotten after an hour, and whoever still wants the file asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Final

import apsw
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from federation import codec, limits
from federation.errors import PeerError, RemoteRefused
from federation.ids import DatasetID, SiteID
from federation.ports import Requests
from keys.signing import DIGEST_BYTES
from node.meshing.filenames import OfAttempt
from node.ranges import Flat, JobRanges, ranges_of
from node.store import ledgers, openwork

_log = Logger()

KIND: Final = "need"
KEPT_S: Final = 3600.0
TASKS_MAX: Final = 1024  # of which something is remembered
RANGES_MAX: Final = 1024  # numbers in one question; what is left out is asked for again
ASK_BYTES_MAX: Final = 16 * 1024

Task = tuple[DatasetID, int]  # and its index


class Needs:
    """What people asked for. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        site: SiteID,
        conn: apsw.Connection,
        requests: Requests,
        noted: Callable[[], None],
    ) -> None:
        """conn: reads in this thread: short questions only. noted: told of something new."""
        self._reactor = reactor
        self._site = site
        self._conn = conn
        self._requests = requests
        self._noted = noted
        self._kept: dict[Task, tuple[JobRanges, float]] = {}
        requests.serve(KIND, self.asked)

    def current(self) -> Mapping[Task, Flat]:
        """What was asked for lately, of datasets that are led here or were."""
        now_s = self._reactor.seconds()
        self._kept = {
            task: (jobs, at_s) for task, (jobs, at_s) in self._kept.items() if now_s - at_s < KEPT_S
        }
        return {task: jobs.flat for task, (jobs, _) in self._kept.items()}

    def tell(self, names: Iterable[OfAttempt]) -> None:
        """Units whose outputs were not to be had, to their leaders."""
        jobs: dict[Task, set[int]] = {}
        for name in names:
            jobs.setdefault((name.dataset, name.task), set()).add(name.job)
        for task, wanted in jobs.items():
            self._tell(task, ranges_of(wanted)[:RANGES_MAX])

    def _tell(self, task: Task, ranges: Flat) -> None:
        no = openwork.number(self._conn, task[0])
        place = None if no is None else ledgers.place(self._conn, no)
        if place is None:
            return
        if place[2] == self._site:
            self._note(task, ranges)
            return
        body = codec.pack([task[0], task[1], list(ranges)])
        self._requests.request(place[2], KIND, body).addErrback(
            lambda failure: _log.info("need: its leader was not told: {why}", why=failure.value)
        )

    async def asked(self, asking: SiteID, body: bytes) -> bytes:
        """Another site could not bring something. Raises RemoteRefused."""
        try:
            fields = codec.unpack(body, bytes_max=ASK_BYTES_MAX, depth_max=2)
        except PeerError as error:
            raise RemoteRefused(str(error)) from None
        if type(fields) is not list or len(fields) != 3:
            raise RemoteRefused("what is needed is [dataset, task, ranges]")
        dataset, task, ranges = fields
        if type(dataset) is not bytes or len(dataset) != DIGEST_BYTES:
            raise RemoteRefused("a dataset has an id of 32 bytes")
        if type(task) is not int or not 0 <= task < limits.TASKS_MAX:
            raise RemoteRefused(f"a task from 0 to {limits.TASKS_MAX - 1}")
        if not _are_ranges(ranges):
            raise RemoteRefused(f"up to {RANGES_MAX} bounds of jobs, ascending, in pairs")
        self._note((DatasetID(dataset), task), ranges)
        return b""

    def _note(self, task: Task, ranges: Flat) -> None:
        if task not in self._kept and len(self._kept) >= TASKS_MAX:
            return  # whoever wants it asks again
        jobs, _ = self._kept.get(task, (JobRanges(), 0.0))
        jobs.add_all(ranges)
        self._kept[task] = jobs, self._reactor.seconds()
        self._noted()


def _are_ranges(value: object) -> bool:
    return (
        type(value) is list
        and 0 < len(value) <= RANGES_MAX
        and len(value) % 2 == 0
        and all(type(each) is int and 0 <= each <= limits.JOBS_MAX for each in value)
        and all(low < high for low, high in pairwise(value))
    )
