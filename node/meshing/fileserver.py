"""Answers other sites that ask for pieces of files which are kept here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import apsw
from twisted.internet.defer import Deferred

from federation.errors import PeerError, RemoteRefused
from federation.ids import EntryRef, SiteID
from federation.ports import Requests
from federation.records import Results, decode, digest_cells
from node.meshing.filenames import (
    PIECE_BYTES_MAX,
    SMALL_BYTES_MAX,
    FileName,
    OfDataset,
    Piece,
    read_many,
    read_piece,
    write_answer,
    write_contents,
)
from node.model.outputs import output_list
from node.services.questions import Reader
from node.store import tasks
from node.store.database import StoreError
from node.store.feeds import Feeds

KIND: Final = "file"
KIND_MANY: Final = "files"
NAMES_KEPT: Final = 1024  # files by name, so that the pieces of one are looked up once


class Blobs(Protocol):
    """The part of the blob store that is read here, in threads; see node/store/blobs.py."""

    def get(self, digest: bytes) -> bytes: ...
    def size(self, digest: bytes) -> int: ...
    def read(self, digest: bytes, offset: int = 0, length: int = -1) -> bytes: ...


class FileServer:
    """Gives a member what the names in its questions open, and nothing else."""

    def __init__(
        self, read: Reader, blobs: Blobs, in_thread: Callable[[Callable[[], Any]], Deferred[Any]]
    ) -> None:
        """in_thread: keeps the reactor free of the blobs' disk."""
        self._read = read
        self._blobs = blobs
        self._in_thread = in_thread
        self._opened: OrderedDict[FileName, frozenset[bytes]] = OrderedDict()

    def serve(self, requests: Requests) -> None:
        """Answer from now on."""
        requests.serve(KIND, self.answer)
        requests.serve(KIND_MANY, self.answer_many)

    async def answer(self, asking: SiteID, body: bytes) -> bytes:
        """Handle a request of KIND. Raises RemoteRefused."""
        try:
            piece = read_piece(body)
        except PeerError as error:
            raise RemoteRefused(str(error)) from None
        if piece.digest not in await self._files_of(piece.name):
            raise RemoteRefused("that name opens no such file here")
        found: bytes = await self._in_thread(lambda: self._piece(piece.digest, piece.offset))
        return found

    async def answer_many(self, asking: SiteID, body: bytes) -> bytes:
        """Handle a request of KIND_MANY: as many small files as one answer holds."""
        try:
            pieces = read_many(body)
        except PeerError as error:
            raise RemoteRefused(str(error)) from None
        good = [await self._opens(piece) for piece in pieces]
        found: bytes = await self._in_thread(lambda: self._contents(pieces, good))
        return found

    async def _opens(self, piece: Piece) -> bool:
        try:
            return piece.digest in await self._files_of(piece.name)
        except RemoteRefused:
            return False

    def _contents(self, pieces: Sequence[Piece], good: Sequence[bool]) -> bytes:
        room = PIECE_BYTES_MAX
        contents: list[bytes | None] = []
        for piece, opened in zip(pieces, good, strict=True):
            content = self._small(piece.digest) if opened else None
            if content is not None and len(content) > room:
                content = None
            room -= len(content or b"")
            contents.append(content)
        return write_contents(contents)

    def _small(self, digest: bytes) -> bytes | None:
        try:
            if self._blobs.size(digest) > SMALL_BYTES_MAX:
                return None
            return self._blobs.read(digest)
        except StoreError:
            return None

    async def _files_of(self, name: FileName) -> frozenset[bytes]:
        """Digests of the files that a name opens."""
        found = self._opened.get(name)
        if found is None:
            named: _Named = await self._read(lambda conn: _named(conn, name))
            found, whole = await self._in_thread(lambda: self._with_outputs(named))
            if whole:  # else a list may come yet, as a second copy or when the unit runs again
                self._opened[name] = found
            while len(self._opened) > NAMES_KEPT:
                self._opened.popitem(last=False)
        return found

    def _with_outputs(self, named: _Named) -> tuple[frozenset[bytes], bool]:
        """What a name opens, with the files in lists of outputs; whether all of these are here."""
        found, whole = set(named.files), True
        for digest in named.lists:
            try:
                files = output_list(self._blobs.get(digest))
            except StoreError:
                whole = False
            except ValueError:
                continue  # what its pilot sent as a list is none
            else:
                found |= {bytes.fromhex(file["digest"]) for file in files}
        return frozenset(found), whole

    def _piece(self, digest: bytes, offset: int) -> bytes:
        try:
            size = self._blobs.size(digest)
            return write_answer(size, self._blobs.read(digest, offset, PIECE_BYTES_MAX))
        except StoreError as error:
            raise RemoteRefused(str(error)) from None


class _Named(NamedTuple):
    """Digests that a name stands for. lists: those that are of lists of outputs."""

    files: frozenset[bytes]
    lists: frozenset[bytes] = frozenset()


def _named(conn: apsw.Connection, name: FileName) -> _Named:
    """What the log says of a name. Raises RemoteRefused where it is not here yet."""
    if isinstance(name, OfDataset):
        no = tasks.number(conn, name.dataset)
        if no is None:
            raise RemoteRefused("that dataset is not known here yet")
        spec = tasks.spec(conn, no)
        table = () if spec.foreach is None else (spec.foreach.digest,)
        return _Named(frozenset((*(file.digest for file in spec.files), *table)))
    return _of_attempts(conn, name.entry, name.dataset, name.task, name.job)


def _of_attempts(
    conn: apsw.Connection, ref: EntryRef, dataset: bytes, task: int, job: int
) -> _Named:
    """Log and output list of every attempt of a unit in one results entry."""
    entry = Feeds(conn).entry(ref)
    if entry is None or entry.body is None:
        raise RemoteRefused("that results entry is not here")
    lists: set[bytes] = set()
    logs: set[bytes] = set()
    for record in decode(entry.body):
        if isinstance(record, Results) and record.dataset == dataset and record.task == task:
            rows = [row for row, each in enumerate(record.jobs) if each == job]
            for column, found in ((record.outputs, lists), (record.log, logs)):
                cells = digest_cells(column, len(record.jobs))
                found.update(cells[row] for row in rows)
    lists, logs = lists - {b""}, logs - {b""}
    return _Named(frozenset(lists | logs), frozenset(lists))
