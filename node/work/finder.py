"""Looks up what units read: which attempt made each file, and where that says it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import apsw

from federation.ids import DatasetID
from federation.records import Results, decode, digest_cells
from node.meshing.filenames import OfAttempt
from node.meshing.files import Wanted
from node.model.inputs import read_digest
from node.store import openwork
from node.store.feeds import Feeds
from node.work.ports import Input, Known

WHY_CHARS_MAX = 400
Listing = Mapping[str, Sequence[Any]]  # path: [digest (hex), size, mode]


class MissingInput(Exception):
    """An input file that should be there is not; the message names it."""


class NotHere(MissingInput):
    """A file that another site made has not been brought here yet."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        super().__init__(f"the file {digest.hex()[:12]} is not here yet")


class Lists(Protocol):
    """What the site keeps: lists of outputs, and what was put out here just now."""

    def recent(self, task: int, job: int) -> bytes | None: ...

    def missing(self, digests: Sequence[bytes]) -> list[bytes]: ...

    def listing(self, digest: bytes) -> Listing:
        """Raises MissingInput."""


class Finder:
    """Looks outputs up for one request: recent ones in memory, others in the results entries."""

    def __init__(self, inputs: Lists, conn: apsw.Connection, known: Known, index: int) -> None:
        """index: of the task whose units get files."""
        waits = known.spec.tasks[index].after
        own = {after.task for after in waits if after.dataset is None}
        self._waits = [known.no * 64 + parent for parent in sorted(own)]
        self._inputs = inputs
        self._conn = conn
        self._known = known
        self._found: dict[tuple[int, int], bytes] = {}
        self._entries: dict[tuple[int, int], int] = {}  # (task, job): the entry that says so
        self._makers: dict[bytes, tuple[int, int]] = {}  # digest: (task, job) that made it
        self._lacking: set[bytes] = set()
        self._parents: dict[int, tuple[int, int]] = {}  # id(entry): task, jobs of "all"

    def prepare(self, made: Iterable[Mapping[str, Any]], jobs: Sequence[int]) -> None:
        """Look up in one go what all these jobs need."""
        for entry in made:
            task, count = self._parent(entry)
            self._parents[id(entry)] = task, count
            self._prepare(task, range(count) if entry["all_jobs"] else jobs)
        for task in self._waits:
            self._prepare(task, jobs)

    def _prepare(self, task: int, jobs: Iterable[int]) -> None:
        lacking = {job for job in jobs if self._look(task, job) is None}
        if lacking:
            self._from_entries(task, lacking)

    def read(self, jobs: Iterable[int]) -> dict[int, str]:
        """By job, the digest over what the units of this dataset made that it waits for."""
        if not self._waits:
            return {}
        return {
            job: read_digest([self._look(task, job) or b"" for task in self._waits]).hex()
            for job in jobs
        }

    def files(self, entry: Mapping[str, Any], job: int, local: str, path: str) -> list[Input]:
        """[local, digest, size, mode] of what one input entry means for a job."""
        task, count = self._parents[id(entry)]
        if not entry["all_jobs"]:
            return self._file(entry, task, job, local, path)
        found: list[Input] = []
        lacking: NotHere | None = None
        for each in range(count):
            try:
                found += self._file(entry, task, each, f"{local.rstrip('/')}/{each}/{path}", path)
            except NotHere as error:
                lacking = error  # go on: all that is not here is brought together
        if lacking is not None:
            raise lacking
        return found

    def _file(
        self, entry: Mapping[str, Any], task: int, job: int, local: str, path: str
    ) -> list[Input]:
        digest = self._look(task, job)
        listing = self._listing(digest, task, job) if digest else {}
        got = listing.get(path)
        if got is not None:
            if (task, job) in self._entries:  # else it was made here, just now
                self._makers[bytes.fromhex(got[0])] = task, job
            return [[local, *got]]
        if entry["optional"]:
            return []
        where = f"{entry['task_name']} of job {job}"
        raise MissingInput(f"{where} has no output {path!r}"[:WHY_CHARS_MAX])

    def _listing(self, digest: bytes, task: int, job: int) -> Listing:
        try:
            return self._inputs.listing(digest)
        except NotHere:
            self._makers[digest] = task, job
            self._lacking.add(digest)
            raise

    def take_lacking(self, inputs: dict[int, list[Input]]) -> dict[int, bytes]:
        """Take out the jobs that read a file which is not here: job, and one such file."""
        self._lacking.update(self._inputs.missing(list(self._makers)))
        found: dict[int, bytes] = {}
        for job, got in inputs.items():
            digests = (bytes.fromhex(each[1]) for each in got)
            lacks = next((digest for digest in digests if digest in self._lacking), None)
            if lacks is not None:
                found[job] = lacks
        for job in found:
            del inputs[job]
        return found

    def wanted(self) -> list[Wanted]:
        """The files that are not here, and who made them."""
        found = []
        for digest in self._lacking:
            task, job = self._makers[digest]
            if (task, job) not in self._entries:
                continue
            dataset, index = divmod(task, 64)
            ref = Feeds(self._conn).by_number(self._entries[task, job]).ref
            name = OfAttempt(
                DatasetID(openwork.dataset_id(self._conn, dataset) or b""), index, job, ref
            )
            found.append(Wanted(digest, name, [ref.feed.site]))
        return found

    def _look(self, task: int, job: int) -> bytes | None:
        found = self._found.get((task, job))
        return found if found is not None else self._inputs.recent(task, job)

    def _parent(self, entry: Mapping[str, Any]) -> tuple[int, int]:
        """Local number of the task that makes an input, and how many jobs "all" are."""
        if entry["dataset"] is None:
            return self._known.no * 64 + entry["task"], 0
        dataset_id = bytes.fromhex(entry["dataset"])
        no = openwork.number(self._conn, dataset_id)
        if no is None:
            raise MissingInput("a dataset that is not known here")
        count = next(
            after.jobs
            for task in self._known.spec.tasks
            for after in task.after
            if after.dataset == dataset_id and after.task == entry["task"]
        )
        return no * 64 + entry["task"], count

    def _from_entries(self, task: int, jobs: set[int]) -> None:
        """Read the digests of settled units out of the entries that settled them."""
        dataset, index = divmod(task, 64)
        row = openwork.dataset_id(self._conn, dataset)
        entries = sorted(
            {
                entry
                for entry, job in openwork.entries_of(self._conn, task, min(jobs), max(jobs) + 1)
                if job in jobs
            }
        )
        for no in entries:
            body = openwork.body(self._conn, no)
            for record in decode(body) if body else ():
                if isinstance(record, Results) and record.dataset == row and record.task == index:
                    self._keep(task, no, record, jobs)

    def _keep(self, task: int, no: int, record: Results, jobs: set[int]) -> None:
        rows = len(record.jobs)
        outcomes = [record.outcome] * rows if isinstance(record.outcome, int) else record.outcome
        digests = digest_cells(record.outputs, rows)
        for job, outcome, digest in zip(record.jobs, outcomes, digests, strict=True):
            # The first success is the one that counts.
            if outcome == 0 and job in jobs and (task, job) not in self._found:
                self._found[task, job] = digest
                self._entries[task, job] = no
