"""Submissions: a signed document becomes a record, once, however often it is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from federation.ids import DatasetID, ShardID, UserKey
from federation.records import Dataset
from keys.signing import Purpose, digest
from node.model.dataset import CPU_MAX, GPU_MAX, DatasetSpec, Needs, TaskSpec
from node.model.description import STORED_BYTES_MAX
from node.model.problems import Invalid
from node.model.validate import pack_document
from node.ports import Control
from node.services.people import Person
from node.services.recovery import COMMAND as RECOVER
from node.services.recovery import NOBODY_LEADS
from node.services.refusal import Refusal
from node.services.signed import signer_of
from node.services.writing import write

MISSING_SHOWN_MAX = 1000
SITES_MAX = 1000  # that a user may want a dataset to be stored on


@dataclass(frozen=True, slots=True)
class Known:
    """A dataset that the log has already."""

    id: bytes
    name: str
    jobs: int
    tasks: int
    shard: ShardID | None = None  # whose log it is in
    led: bool = True  # by this site
    still: bool = False  # nobody leads it


@dataclass(frozen=True, slots=True)
class Shape:
    """The largest worker that a site of the mesh may offer; None: as much as one likes."""

    site: str
    cpu: int
    gpu: int
    memory_bytes: int | None
    disk_bytes: int | None

    def fits(self, needs: Needs) -> bool:
        return (
            needs.cpu <= self.cpu
            and needs.gpu <= self.gpu
            and (self.memory_bytes is None or needs.memory_bytes <= self.memory_bytes)
            and (self.disk_bytes is None or needs.disk_bytes <= self.disk_bytes)
        )

    def shown(self) -> str:
        words = [f"{self.cpu} CPU"] if self.cpu < CPU_MAX else []
        words += [f"{self.gpu} GPU"] if self.gpu < GPU_MAX else []
        for value, name in ((self.memory_bytes, "memory"), (self.disk_bytes, "disk")):
            if value is not None:
                words.append(f"{value / 1e9:.1f} GB {name}")
        if not words:
            return f"how large the workers of {self.site} are, nobody says"
        return f"{self.site} has at most {', '.join(words)} a worker"


def offers(shapes: Iterable[Shape]) -> list[str]:
    """What these are, for people; those that look alike are told once."""
    return list(dict.fromkeys(shape.shown() for shape in shapes))


class Ports(Protocol):
    """What submitting needs of the rest of the node."""

    def known(self, dataset: bytes) -> Known | None: ...
    def read(self, document: bytes) -> DatasetSpec:
        """Raises Invalid."""

    def missing(self, digests: Sequence[bytes]) -> Deferred[list[bytes]]: ...
    def shapes(self) -> Iterable[Shape]: ...


StoredOn = Callable[[DatasetID, ShardID, int | None], Awaitable[list[str]]]
"""Has other sites keep a dataset, as many as are wanted; the names of all that do."""


class Submissions:
    """Takes datasets in.

    shard: the newest that this site leads, or a new one. stored: None for a site that is alone.
    """

    def __init__(
        self,
        site_name: str,
        journal: Control,
        shard: Callable[[], Awaitable[ShardID]],
        ports: Ports,
        stored: StoredOn | None = None,
    ) -> None:
        self._site_name = site_name
        self._stored = stored
        self._journal = journal
        self._shard = shard
        self._ports = ports

    async def submit(
        self,
        document: bytes,
        signature: bytes,
        asking: Person,
        wait_stored: int | None = None,
    ) -> dict[str, Any]:
        """Store a dataset durably; what `floe submit --json` prints. The same document sent
        again gets the same answer and changes nothing.

        wait_stored: on how many sites, as far as so many answer within a minute.
        Raises Refusal.
        """
        if wait_stored is not None and not 1 <= wait_stored <= SITES_MAX:
            raise Refusal("bad-request", '"wait_stored" is no number of sites', f"1 to {SITES_MAX}")
        signer = signer_of(document, signature, asking)
        dataset = digest(Purpose.DATASET, document)
        known = self._ports.known(dataset)
        if known is not None:
            return await self._answer(known, wait_stored, [])
        spec = self._checked(document, asking)
        home = self._home_of(spec)
        await self._need_blobs(spec)
        if home is None:
            home = await self._shard()
        # Between the check and here another copy of the request may have come: the fold takes the
        # first of two equal records, and both callers get the same answer.
        record = Dataset(home, _packed(document), signature, UserKey(signer))
        await write(self._journal, record)
        if self._ports.known(dataset) is None:
            raise Refusal("unavailable", "the dataset was stored but not taken", "floe doctor")
        stored = Known(dataset, spec.name, spec.jobs, len(spec.tasks), home)
        return await self._answer(stored, wait_stored, self.warnings(spec))

    def warnings(self, spec: DatasetSpec) -> list[dict[str, str]]:
        """What will keep units from running, though it is no error."""
        shapes = list(self._ports.shapes())
        return [_unmet(task, shapes) for task in spec.tasks if not _any_fits(task, shapes)]

    def _checked(self, document: bytes, asking: Person) -> DatasetSpec:
        try:
            spec = self._ports.read(document)
        except Invalid as invalid:
            problems = [problem.json() for problem in invalid.errors]
            raise Refusal("invalid", str(invalid), problems=problems) from None
        if spec.group and spec.group not in asking.groups:
            groups = ", ".join(asking.groups) or "none"
            raise Refusal(
                "denied",
                f"{asking.name} is not in group {spec.group!r}",
                f"groups of {asking.name}: {groups}",
            )
        return spec

    def _home_of(self, spec: DatasetSpec) -> ShardID | None:
        """The shard led here of all the datasets that one waits for, so that nothing has to be
        imported; None: the newest will do. Raises Refusal."""
        homes: set[ShardID | None] = set()
        for task in spec.tasks:
            homes |= self._check_foreign(task)
        return homes.pop() if len(homes) == 1 else None

    def _check_foreign(self, task: TaskSpec) -> set[ShardID | None]:
        """The shards of what a task waits for; None for those that others lead. Raises Refusal."""
        homes: set[ShardID | None] = set()
        for after in task.after:
            if after.dataset is None:
                continue
            other = self._ports.known(after.dataset)
            if other is None:
                raise Refusal(
                    "not-found",
                    f"task {task.name} waits for {after.text}, which is not known at this site",
                    "submit the other dataset first",
                )
            if after.task >= other.tasks or (not after.all_jobs and other.jobs < 1):
                raise Refusal("invalid", f"task {task.name}: {after.text} has no such task")
            if other.still:
                raise Refusal(
                    "conflict",
                    f"task {task.name} waits for {after.text}, which stands still: {NOBODY_LEADS}",
                    f"an admin: {RECOVER}",
                )
            homes.add(other.shard if other.led else None)
        return homes

    async def _need_blobs(self, spec: DatasetSpec) -> None:
        wanted = [file.digest for file in spec.files]
        if spec.foreach is not None:
            wanted.append(spec.foreach.digest)
        missing = await self._ports.missing(wanted) if wanted else []
        if missing:
            raise Refusal(
                "missing-blobs",
                f"{len(missing)} of the dataset's files were not sent",
                "PUT them to /v1/blobs/ first",
                missing=[one.hex() for one in missing[:MISSING_SHOWN_MAX]],
            )

    async def _answer(
        self, known: Known, wait_stored: int | None, warnings: list[dict[str, str]]
    ) -> dict[str, Any]:
        stored_on = [self._site_name]
        if self._stored is not None and known.shard is not None:
            stored_on = await self._stored(DatasetID(known.id), known.shard, wait_stored)
        return {
            "dataset": {"id": known.id.hex(), "name": known.name},
            "units": known.jobs * known.tasks,
            "jobs": known.jobs,
            "tasks": known.tasks,
            "stored_on": stored_on,
            "warnings": warnings,
        }


def _packed(document: bytes) -> bytes:
    packed = pack_document(document)
    if len(packed) > STORED_BYTES_MAX:
        raise Refusal(
            "too-large",
            f"the description has {len(packed):,} bytes compressed; at most {STORED_BYTES_MAX:,}",
            "put large tables into a foreach file",
        )
    return packed


def _any_fits(task: TaskSpec, shapes: Sequence[Shape]) -> bool:
    return any(shape.fits(task.needs) for shape in shapes)


def _unmet(task: TaskSpec, shapes: Sequence[Shape]) -> dict[str, str]:
    return {
        "where": f"task.{task.name}.needs",
        "what": "no site could ever run it",
        "right": "; ".join(offers(shapes)) or "no site has workers",
    }
