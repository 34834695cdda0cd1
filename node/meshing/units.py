"""Units that other sites own: whether they run now, what they print, why they wait."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import apsw

from federation import codec, limits
from federation.errors import PeerError, RemoteRefused, Unreachable
from federation.ids import DatasetID, SiteID
from federation.ports import Requests
from keys.signing import DIGEST_BYTES
from node.services.questions import Reader
from node.services.refusal import Refusal
from node.store import openwork, tasks

LIVE: Final = "unit.live"
TAIL: Final = "unit.tail"
WHY: Final = "unit.why"
ASK_BYTES_MAX: Final = 128
ANSWER_BYTES_MAX: Final = 64 * 1024  # of JSON
TAIL_BYTES_MAX: Final = 512 * 1024
OFFSET_MAX: Final = 1 << 40
TASKS_A_DATASET: Final = 64


@dataclass(frozen=True, slots=True)
class UnitName:
    """A unit as all sites know it."""

    dataset: DatasetID
    task: int
    job: int


class Work(Protocol):
    """The part of the work service that answers for this site's units."""

    def live(self, task: int, job: int) -> dict[str, Any] | None: ...

    async def tail(self, task: int, job: int, offset: int) -> tuple[int, bytes] | None: ...


def write_ask(unit: UnitName, offset: int = 0) -> bytes:
    return codec.pack([unit.dataset, unit.task, unit.job, offset])


def read_ask(data: bytes) -> tuple[UnitName, int]:
    """(unit, offset). Raises RemoteRefused."""
    try:
        fields = codec.unpack(data, bytes_max=ASK_BYTES_MAX, depth_max=1)
    except PeerError as error:
        raise RemoteRefused(str(error)) from None
    if type(fields) is not list or len(fields) != 4:
        raise RemoteRefused("a question about a unit is [dataset, task, job, offset]")
    dataset, task, job, offset = fields
    if type(dataset) is not bytes or len(dataset) != DIGEST_BYTES:
        raise RemoteRefused("a dataset has an id of 32 bytes")
    for value, most in ((task, limits.TASKS_MAX - 1), (job, limits.JOBS_MAX - 1)):
        if type(value) is not int or not 0 <= value <= most:
            raise RemoteRefused(f"a task or job from 0 to {most}")
    if type(offset) is not int or not 0 <= offset <= OFFSET_MAX:
        raise RemoteRefused(f"an offset from 0 to {OFFSET_MAX}")
    return UnitName(DatasetID(dataset), task, job), offset


class UnitServer:
    """Answers members about units that are out here."""

    def __init__(
        self, read: Reader, work: Work, why: Callable[[UnitName], Awaitable[dict[str, Any]]]
    ) -> None:
        """why: explains a unit of this site, as `floe why` does. Raises Refusal."""
        self._read = read
        self._work = work
        self._why = why

    def serve(self, requests: Requests) -> None:
        """Answer from now on."""
        requests.serve(LIVE, self.live)
        requests.serve(TAIL, self.tail)
        requests.serve(WHY, self.why)

    async def live(self, asking: SiteID, body: bytes) -> bytes:
        unit, _ = read_ask(body)
        return _json(self._work.live(await self._task(unit), unit.job))

    async def tail(self, asking: SiteID, body: bytes) -> bytes:
        unit, offset = read_ask(body)
        found = await self._work.tail(await self._task(unit), unit.job, offset)
        began_ms, part = found or (-1, b"")
        return codec.pack([began_ms, part[:TAIL_BYTES_MAX]])

    async def why(self, asking: SiteID, body: bytes) -> bytes:
        unit, _ = read_ask(body)
        try:
            return _json(await self._why(unit))
        except Refusal as refusal:
            raise RemoteRefused(refusal.message) from None

    async def _task(self, unit: UnitName) -> int:
        """The local number of a unit's task. Raises RemoteRefused."""
        no: int | None = await self._read(lambda conn: openwork.number(conn, unit.dataset))
        if no is None:
            raise RemoteRefused("that dataset is not known here yet")
        return no * TASKS_A_DATASET + unit.task


@dataclass(frozen=True, slots=True)
class Owner:
    """The site that a unit was granted to."""

    site: SiteID
    name: str


class Elsewhere:
    """Asks the owners of units."""

    def __init__(self, requests: Requests, site: SiteID, read: Reader) -> None:
        """site: this one, which is asked without a question."""
        self._requests = requests
        self._site = site
        self._read = read

    async def owner(self, unit: UnitName) -> Owner | None:
        """Who owns a unit; None for this site, or nobody."""
        found: Owner | None = await self._read(lambda conn: _owner(conn, unit))
        return None if found is None or found.site == self._site else found

    async def live(self, owner: Owner, unit: UnitName) -> dict[str, Any] | None:
        """Where the unit is out, as `work.live` says it, with the site. None: not out at all.

        Raises Unreachable, RemoteRefused.
        """
        answer = _object(await self._requests.request(owner.site, LIVE, write_ask(unit)))
        return None if answer is None else {**answer, "site": owner.name}

    async def tail(self, owner: Owner, unit: UnitName, offset: int) -> tuple[int, bytes] | None:
        """(when the attempt began, what it printed from a byte on); None if it does not run.

        Raises Unreachable, RemoteRefused.
        """
        answer = await self._requests.request(owner.site, TAIL, write_ask(unit, offset))
        try:
            fields = codec.unpack(answer, bytes_max=TAIL_BYTES_MAX + 64, depth_max=1)
            began_ms, part = fields
        except (PeerError, TypeError, ValueError):
            raise RemoteRefused("its answer is none") from None
        if type(began_ms) is not int or type(part) is not bytes:
            raise RemoteRefused("its answer is none")
        return None if began_ms < 0 else (began_ms, part)

    async def why(self, owner: Owner, unit: UnitName) -> dict[str, Any]:
        """The owner's explanation; where the owner cannot be asked, that is the explanation."""
        try:
            answer = _object(await self._requests.request(owner.site, WHY, write_ask(unit)))
        except (Unreachable, RemoteRefused) as error:
            return _unknown(owner, str(error))
        lines = answer.get("lines") if answer is not None else None
        if answer is None or not _texts(answer.get("next")) or not _lines(lines):
            return _unknown(owner, "its answer is none")
        state, summary = str(answer.get("state"))[:40], str(answer.get("summary"))[:400]
        return {
            "state": state,
            "summary": f"at {owner.name}: {summary}",
            "lines": lines,
            "next": answer["next"],
        }


def _owner(conn: apsw.Connection, unit: UnitName) -> Owner | None:
    no = openwork.number(conn, unit.dataset)
    if no is None:
        return None
    found = tasks.owner(conn, no * TASKS_A_DATASET + unit.task, unit.job)
    return None if found is None else Owner(SiteID(found[0]), found[1])


def _unknown(owner: Owner, why: str) -> dict[str, Any]:
    return {
        "state": "unknown",
        "summary": f"it was granted to {owner.name}, which cannot be asked now",
        "lines": [{"mark": "block", "text": f"{owner.name}: {why}"}],
        "next": [f"floe mesh why {owner.name}"],
    }


def _json(value: dict[str, Any] | None) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _object(data: bytes) -> dict[str, Any] | None:
    """A JSON object, or None. Raises RemoteRefused."""
    if len(data) > ANSWER_BYTES_MAX:
        raise RemoteRefused("its answer is too long")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise RemoteRefused("its answer is none") from None
    if found is not None and type(found) is not dict:
        raise RemoteRefused("its answer is none")
    return found


def _texts(value: Any) -> bool:
    return type(value) is list and len(value) <= 20 and all(type(each) is str for each in value)


def _lines(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) <= 100
        and all(
            type(each) is dict and _texts([each.get("mark"), each.get("text")]) for each in value
        )
    )
