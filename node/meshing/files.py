"""Files that other sites keep, brought here: in pieces, resumed, verified, each once at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, DeferredSemaphore

from federation.errors import PeerError, RemoteRefused, Unreachable
from federation.ids import SiteID
from federation.ports import Requests
from node.meshing.filenames import (
    MANY_MAX,
    SIZE_MAX,
    FileName,
    Piece,
    read_answer,
    read_contents,
    write_many,
    write_piece,
)
from node.meshing.fileserver import KIND, KIND_MANY
from node.store.blobs import BlobMismatch

FILES_AT_ONCE: Final = 8


class NotBrought(Exception):
    """No site gave the file; the message says which were asked and what each said.

    away: whether a site that may have it could not be asked: asking again may help.
    """

    def __init__(self, message: str, *, away: bool) -> None:
        self.away = away
        super().__init__(message)


class Blobs(Protocol):
    """The part of the blob store that is filled here, in threads; see node/store/blobs.py."""

    def missing(self, digests: Sequence[bytes]) -> list[bytes]: ...
    def put_many(self, contents: Sequence[bytes]) -> list[bytes]: ...
    def partial_size(self, digest: bytes) -> int: ...
    def append(self, digest: bytes, offset: int, chunk: bytes) -> int: ...
    def finish(self, digest: bytes) -> int: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file, the name that opens it, and the sites that may have it, the likeliest first."""

    digest: bytes
    name: FileName
    sites: Sequence[SiteID]


class RemoteFiles:
    """Brings files from other sites into this site's blobs."""

    def __init__(
        self,
        requests: Requests,
        blobs: Blobs,
        in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
        site_name: Callable[[SiteID], str] = lambda site: site.hex()[:8],
    ) -> None:
        """site_name: for messages."""
        self._requests = requests
        self._blobs = blobs
        self._in_thread = in_thread
        self._site_name = site_name
        self._room = DeferredSemaphore(FILES_AT_ONCE)
        self._coming: dict[bytes, list[Deferred[None]]] = {}

    async def bring(self, wanted: Iterable[Wanted]) -> dict[bytes, str]:
        """Have these files here. What could not be brought: digest, and why in words."""
        return {digest: str(error) for digest, error in (await self.fetch(wanted)).items()}

    async def fetch(self, wanted: Iterable[Wanted]) -> dict[bytes, NotBrought]:
        """`bring` for programs, which must know whether to try again."""
        asked = {each.digest: each for each in wanted}
        lacking = await self._missing(list(asked))
        if len(lacking) > 1:
            await self._bring_small([asked[digest] for digest in lacking])
            lacking = await self._missing(lacking)
        coming = [(digest, Deferred.fromCoroutine(self.have(asked[digest]))) for digest in lacking]
        failed: dict[bytes, NotBrought] = {}
        for digest, brought in coming:
            try:
                await brought
            except NotBrought as error:
                failed[digest] = error
        return failed

    async def _missing(self, digests: Sequence[bytes]) -> list[bytes]:
        found: list[bytes] = await self._in_thread(lambda: self._blobs.missing(digests))
        return found

    async def _bring_small(self, wanted: Sequence[Wanted]) -> None:
        """Bring what is small, many with one question; the rest comes one by one."""
        by_site: dict[SiteID, list[Wanted]] = {}
        for each in wanted:
            if each.sites:
                by_site.setdefault(each.sites[0], []).append(each)
        for site, some in by_site.items():
            for start in range(0, len(some), MANY_MAX):
                pieces = [
                    Piece(each.name, each.digest, 0) for each in some[start : start + MANY_MAX]
                ]
                try:
                    answer = await self._requests.request(site, KIND_MANY, write_many(pieces))
                    contents = read_contents(answer, len(pieces))
                except (Unreachable, RemoteRefused, PeerError):
                    break  # asked one by one, each may have another site to come from
                # Stored under the digest of what came: a false one just stays missing.
                came = [content for content in contents if content is not None]
                await self._in_thread(partial(self._blobs.put_many, came))

    async def have(self, wanted: Wanted) -> None:
        """Bring one file, or wait for whoever brings it already. Raises NotBrought."""
        others = self._coming.get(wanted.digest)
        if others is not None:
            mine: Deferred[None] = Deferred()
            others.append(mine)
            await mine
            return
        self._coming[wanted.digest] = []
        error: NotBrought | None = None
        try:
            await self._room.acquire()
            try:
                await self._from_any(wanted)
            finally:
                self._room.release()
        except NotBrought as found:
            error = found
            raise
        except Exception as found:
            error = NotBrought(f"{type(found).__name__}: {found}", away=False)
            raise
        finally:
            for waiting in self._coming.pop(wanted.digest):
                waiting.callback(None) if error is None else waiting.errback(error)

    async def is_kept(self, wanted: Wanted) -> bool:
        """Whether a file is here, or at one of the sites, or at one that could not be asked."""
        if not await self._missing([wanted.digest]):
            return True
        question = write_piece(Piece(wanted.name, wanted.digest, SIZE_MAX))  # none of its bytes
        for site in wanted.sites:
            try:
                read_answer(await self._requests.request(site, KIND, question))
            except (RemoteRefused, PeerError):
                continue
            except Unreachable:
                pass
            return True
        return False

    async def _from_any(self, wanted: Wanted) -> None:
        said, away = [], False
        for site in dict.fromkeys(wanted.sites):
            try:
                await self._from_one(site, wanted)
                return
            except (Unreachable, RemoteRefused, PeerError, BlobMismatch) as error:
                said.append(f"{self._site_name(site)}: {error}")
                away = away or isinstance(error, Unreachable)
        tried = "; ".join(said) or "no site is known to have it"
        raise NotBrought(f"file {wanted.digest.hex()[:12]} is not to be had ({tried})", away=away)

    async def _from_one(self, site: SiteID, wanted: Wanted) -> None:
        """Piece after piece; what came before a link broke is kept for the next try."""
        digest = wanted.digest
        here: int = await self._in_thread(lambda: self._blobs.partial_size(digest))
        size = here + 1
        while here < size:
            body = write_piece(Piece(wanted.name, digest, here))
            size, piece = read_answer(await self._requests.request(site, KIND, body))
            if here > size:
                here, piece = 0, b""  # what lies here is no beginning of this file
            elif here + len(piece) > size or (not piece and here < size):
                raise PeerError(f"a piece that ends at {here + len(piece)} of {size} bytes")
            here = await self._in_thread(partial(self._blobs.append, digest, here, piece))
        await self._in_thread(partial(self._blobs.finish, digest))
