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

from federation.records import DigestColumn, digest_cells
from node.changes import Change, DatasetChanged, OutputsChanged
from node.fold import reproducing
from node.meshing.files import Wanted
from node.model.outputs import output_list
from node.model.pilotspec import row_of, task_spec
from node.model.rows import RowFile
from node.ranges import jobs_of
from node.services.questions import Reader
from node.store import openwork
from node.store.blobs import BlobMissing
from node.store.database import StoreError
from node.unitstate import TaskState
from node.work.finder import WHY_CHARS_MAX, Finder, Listing, MissingInput, NotHere
from node.work.ports import Input, Known, Resolved
from pilot.expand import ExpandError, JobNames, Tree

_log = Logger()

RECENT_MAX = 200_000  # output digests of units that succeeded lately, over all tasks
LISTS_MAX = 20_000  # parsed output lists
ROW_FILES_MAX = 64
ROUNDS_MAX = 3  # of asking and bringing: lists of outputs, then the files in them


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
            if isinstance(change, OutputsChanged):
                self._forget(change.task, change.jobs)
            if isinstance(change, DatasetChanged) and change.verb == reproducing.VERB:
                forget = partial(self._forget_again, dataset=change.dataset)
                self._read(forget).addErrback(
                    lambda failure: _log.failure("inputs: forgetting failed", failure)
                )

    def _forget(self, task: int, jobs: Iterable[int]) -> None:
        with self._guard:
            for job in jobs:
                self._recent.pop((task, job), None)

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
        finder = Finder(self, conn, known, index)
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
