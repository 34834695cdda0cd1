"""Files of people: stored by content, opened for those who may read them; off the reactor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO, Any, BinaryIO, cast

from twisted.internet.defer import Deferred

from node.services.refusal import Refusal
from node.store.blobs import BlobMismatch, BlobMissing, Blobs
from node.store.database import DiskFull

InThread = Callable[[Callable[[], Any]], "Deferred[Any]"]


class BlobService:
    """The blob store with Deferreds and refusals."""

    def __init__(self, blobs: Blobs, in_thread: InThread) -> None:
        self._blobs = blobs
        self._in_thread = in_thread

    def missing(self, digests: Sequence[bytes]) -> Deferred[list[bytes]]:
        return self._in_thread(lambda: self._blobs.missing(digests))

    async def put(self, content: IO[bytes], digest: bytes) -> int:
        """Store what a client sent under its announced digest; its size. Raises Refusal."""
        try:
            stored = await self._in_thread(
                lambda: self._blobs.put_stream(cast(BinaryIO, content), digest=digest)
            )
        except BlobMismatch:
            raise Refusal(
                "bad-request", "the content is not what its digest says", "send it again"
            ) from None
        except DiskFull as error:
            raise Refusal("disk-full", str(error)) from None
        return int(stored[1])

    async def open(self, digest: bytes) -> tuple[IO[bytes], int]:
        """A blob's file and size. Raises Refusal."""

        def opened() -> tuple[IO[bytes], int]:
            return self._blobs.open(digest), self._blobs.size(digest)

        try:
            found: tuple[IO[bytes], int] = await self._in_thread(opened)
        except BlobMissing:
            raise Refusal(
                "not-found", "this file is no longer kept here", "floe set retry makes it again"
            ) from None
        return found
