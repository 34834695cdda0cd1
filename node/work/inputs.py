"""Which files a unit gets from other units, and its row of a foreach file. Reads run in threads.

Files that other sites made are brought here before a unit that reads them goes out.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import apsw
from twisted.logger import Logger

from federation.ids import DatasetID
from federation.records import DigestColumn, Results, decode, digest_cells
from node.changes import Change, DatasetChanged
from node.fold import reproducing
from node.meshing.filenames import OfAttempt
from node.meshing.files import Wanted
from node.model.inputs import read_digest
from node.model.outputs import output_list
from node.model.pilotspec import row_of, task_spec
from node.model.rows import RowFile
from node.ranges import jobs_of
from node.services.questions import Reader
from node.store import openwork
from node.store.blobs import BlobMissing
from node.store.database import StoreError
from node.store.feeds import Feeds
from node.unitstate import TaskState
from node.work.ports import Input, Known, Resolved
from pilot.expand import ExpandError, JobNames, Tree

_log = Logger()

RECENT_MAX = 200_000  # output digests of units that succeeded lately, over all tasks
LISTS_MAX = 20_000  # parsed output lists
ROW_FILES_MAX = 64
WHY_CHARS_MAX = 400
ROUNDS_MAX = 3  # of asking and bringing: lists of outputs, then the files in them
Listing = Mapping[str, Sequence[Any]]  # path: [digest (hex), size, mode]


class Blobs(Protocol):
    """The part of the blob store that is read here; see node/store/blobs.py."""

    def get(self, digest: bytes) -> bytes: ...

    def path_of(self, digest: bytes) -> Path: ...

    def missing(self, digests: Sequence[bytes]) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class _Found:
    """One round's answer. wanted: files of other sites, without which `lacking` cannot go on."""

    resolved: Resolved
    wanted: Sequence[Wanted] = ()
    lacking: Mapping[int, bytes] = field(default_factory=dict)  # job: digest


Bring = Callable[[Sequence[Wanted]], Awaitable[Mapping[bytes, str]]]
"""Has files here that other sites keep; what could not be brought, and why."""


class MissingInput(Exception):
    """An input file that should be there is not; the message names it."""


class NotHere(MissingInput):
    """A file that another site made has not been brought here yet."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        super().__init__(f"the file {digest.hex()[:12]} is not here yet")


class Inputs:
    """Implements `work.ports.Resolver`."""

    def __init__(
        self, blobs: Blobs, read: Reader, folder: Path, bring: Bring | None = None
    ) -> None:
        """folder: for small foreach tables, which need a file to be read from.

        bring: None for a site that is alone: nobody else could have what is missing here.
        """
        self._blobs = blobs
        self._read = read
        self._folder = folder
        self._bring = bring
        self._recent: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lists: OrderedDict[bytes, Listing] = OrderedDict()
        self._row_files: OrderedDict[bytes, RowFile] = OrderedDict()
        self._guard = threading.Lock()

    def note(self, task: TaskState, jobs: Sequence[int], outputs: DigestColumn) -> None:
        """Keep what these units put out, for those that wait for them.

        What a unit put out first stays: that success is the one which the log will take.
        """
        if not task.children or outputs == b"":
            return
        recent = self._recent
        with self._guard:
            for job, digest in zip(jobs, digest_cells(outputs, len(jobs)), strict=True):
                if digest:
                    recent.setdefault((task.no, job), digest)
            while len(recent) > RECENT_MAX:
                recent.popitem(last=False)

    def changed(self, changes: Iterable[Change]) -> None:
        """The journal's subscriber: of units that run again, another success may count."""
        for change in changes:
            if isinstance(change, DatasetChanged) and change.verb == reproducing.VERB:
                forget = partial(self._forget_again, dataset=change.dataset)
                self._read(forget).addErrback(
                    lambda failure: _log.failure("inputs: forgetting failed", failure)
                )

    def _forget_again(self, conn: apsw.Connection, dataset: int) -> None:
        again = [
            (task, job)
            for task, *_ in openwork.tasks(conn, dataset)
            for job in jobs_of(openwork.reproducing(conn, task))
        ]
        with self._guard:
            for unit in again:
                self._recent.pop(unit, None)

    async def resolve(self, known: Known, task: TaskState, jobs: Sequence[int]) -> Resolved:
        failed: Mapping[bytes, str] = {}
        for _ in range(ROUNDS_MAX):
            found = await self._read(lambda conn: self._resolve(conn, known, task.index, jobs))
            if self._bring is None or failed or not found.wanted:
                break
            failed = await self._bring(found.wanted)
        missing = dict(found.resolved.missing)
        for job, digest in found.lacking.items():
            why = failed.get(digest, f"the file {digest.hex()[:12]} is not here yet")
            missing[job] = why[:WHY_CHARS_MAX]
        return replace(found.resolved, missing=missing)

    # -- in a thread

    def _resolve(
        self,
        conn: apsw.Connection,
        known: Known,
        index: int,
        jobs: Sequence[int],
    ) -> _Found:
        spec = task_spec(known.spec, index)
        try:
            rows = self._rows(known, jobs)
        except (StoreError, OSError) as error:
            why = f"the foreach table: {error}"[:WHY_CHARS_MAX]
            return _Found(Resolved(missing=dict.fromkeys(jobs, why)))
        made = [entry for entry in spec["inputs"] if "task" in entry]
        if not made:
            return _Found(Resolved(rows=rows))
        finder = _Finder(self, conn, known, index)
        names = JobNames(spec)
        trees = [(entry, Tree(entry["local"]), Tree(entry["path"])) for entry in made]
        finder.prepare(made, jobs)
        inputs: dict[int, list[Input]] = {}
        missing: dict[int, str] = {}
        lacking: dict[int, bytes] = {}
        for job in jobs:
            got: list[Input] = []
            try:
                values = names(job, rows.get(job))
                for entry, local, path in trees:
                    try:
                        got += finder.files(
                            entry, job, str(local.value(values)), str(path.value(values))
                        )
                    except NotHere as error:
                        lacking[job] = error.digest
            except MissingInput as error:
                missing[job] = str(error)
            except ExpandError:
                inputs[job] = []  # the pilot comes to the same, and reports it as a failure
            else:
                if job not in lacking:
                    inputs[job] = got
        if self._bring is not None:
            lacking.update(finder.take_lacking(inputs))
        read = finder.read(inputs)
        return _Found(Resolved(inputs, rows, missing, read), finder.wanted(), lacking)

    def _rows(self, known: Known, jobs: Sequence[int]) -> Mapping[int, Mapping[str, Any]]:
        if known.spec.foreach is None:
            return {}
        table = self._row_file(known)
        return {job: table.row(row_of(known.spec, job)) for job in jobs}

    def _row_file(self, known: Known) -> RowFile:
        assert known.spec.foreach is not None
        digest = known.spec.foreach.digest
        with self._guard:
            found = self._row_files.get(digest)
        if found is not None:
            return found
        path = self._blobs.path_of(digest)
        if not path.exists():
            path = self._spool(digest)
        table = known.spec.document["foreach"]
        made = RowFile(path, table["format"], table["columns"])
        with self._guard:
            self._row_files[digest] = made
            while len(self._row_files) > ROW_FILES_MAX:
                self._row_files.popitem(last=False)
        return made

    def _spool(self, digest: bytes) -> Path:
        """A small blob as a file."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / digest.hex()
        handle, name = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "wb") as file:
            file.write(self._blobs.get(digest))
        os.replace(name, path)
        return path

    def recent(self, task: int, job: int) -> bytes | None:
        with self._guard:
            return self._recent.get((task, job))

    def missing(self, digests: Sequence[bytes]) -> list[bytes]:
        """Those that are not kept here."""
        return self._blobs.missing(digests)

    def listing(self, digest: bytes) -> Listing:
        """A unit's output list, by path. Raises MissingInput."""
        with self._guard:
            found = self._lists.get(digest)
        if found is not None:
            return found
        try:
            files = output_list(self._blobs.get(digest))
        except BlobMissing as error:
            if self._bring is not None:
                raise NotHere(digest) from None
            raise MissingInput(f"the list of outputs {digest.hex()[:12]}: {error}") from None
        except (StoreError, ValueError) as error:
            raise MissingInput(f"the list of outputs {digest.hex()[:12]}: {error}") from None
        listing = {each["path"]: [each["digest"], each["size"], each["mode"]] for each in files}
        with self._guard:
            self._lists[digest] = listing
            while len(self._lists) > LISTS_MAX:
                self._lists.popitem(last=False)
        return listing


class _Finder:
    """Looks outputs up for one request: recent ones in memory, others in the results entries."""

    def __init__(self, inputs: Inputs, conn: apsw.Connection, known: Known, index: int) -> None:
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
