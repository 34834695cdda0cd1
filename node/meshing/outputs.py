"""Outputs of other sites' units, brought here whole, and the record that says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from federation.ids import EntryRef, SiteID
from federation.records import Holds
from node.meshing.filenames import OfAttempt
from node.meshing.files import RemoteFiles, Wanted
from node.meshing.second import Made
from node.model.outputs import output_list
from node.store.database import StoreError

_log = Logger()


class Blobs(Protocol):
    """The part of the blob store that is read here, in threads."""

    def get(self, digest: bytes) -> bytes: ...


class Outputs:
    """Brings what units put out: their lists, then the files in them."""

    def __init__(
        self,
        blobs: Blobs,
        files: RemoteFiles,
        in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
    ) -> None:
        self._blobs = blobs
        self._files = files
        self._in_thread = in_thread

    async def hold(
        self, entry: EntryRef, made: Made, sites: Sequence[SiteID]
    ) -> list[Holds] | None:
        """What is here of these units now; None if a site that may have them is away.

        entry: the results that tell of them. sites: that may have them, the likeliest first.
        """
        lists = {
            digest: OfAttempt(made.dataset, made.task, job, entry)
            for job, digest in zip(made.jobs, made.lists, strict=True)
        }
        lacking = await self._files.fetch(
            Wanted(digest, name, sites) for digest, name in lists.items()
        )
        if any(error.away for error in lacking.values()):
            return None
        files = await self._in_thread(lambda: self._files_in(set(lists) - set(lacking)))
        lost = await self._files.fetch(
            Wanted(digest, lists[listing], sites)
            for listing, digests in files.items()
            for digest in digests
        )
        if any(error.away for error in lost.values()):
            return None
        whole = {listing for listing, digests in files.items() if lost.keys().isdisjoint(digests)}
        rows = [row for row, listing in enumerate(made.lists) if listing in whole]
        if len(rows) < len(made.jobs):
            _log.warn(
                "copies: outputs of {n} units of one entry are no longer kept where they should be",
                n=len(made.jobs) - len(rows),
            )
        if not rows:
            return []
        jobs = [made.jobs[row] for row in rows]
        return [Holds(made.dataset, made.task, jobs, [made.lists[row] for row in rows])]

    def _files_in(self, lists: set[bytes]) -> dict[bytes, set[bytes]]:
        """Digests of the files in each list; a list that is none holds nothing to keep."""
        found: dict[bytes, set[bytes]] = {}
        for digest in lists:
            try:
                files = output_list(self._blobs.get(digest))
            except (StoreError, ValueError):
                continue
            found[digest] = {bytes.fromhex(file["digest"]) for file in files}
        return found
