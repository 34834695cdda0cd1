"""The pilot API: every address below /pilot/v1. Shapes are in pilot/messages.py."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any, BinaryIO, cast

from twisted.internet.defer import Deferred

from node.http.json import ApiError
from node.http.router import Answer, Call, Handler, Reply, Route, Stream
from node.store.blobs import BlobMismatch, BlobMissing, Blobs, digest_of
from node.store.database import DiskFull
from node.work.refusals import Refusal
from node.work.service import Work
from node.work.sessions import Session

InThread = Callable[[Callable[[], Any]], "Deferred[Any]"]
BLOBS_MAX = 50_000  # in one batch
CHUNK_BYTES = 1 << 20
_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Ask = Callable[[Session, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


def closed(why: str) -> list[Route]:
    """In place of the pilot API while the node takes nothing: pilots keep what they have."""

    async def refuse(call: Call) -> Answer:
        raise ApiError(503, why, "come again later")

    verbs = (("POST", "{verb}"), ("PUT", "blob/{digest}"), ("GET", "blob/{digest}"))
    return [Route(verb, "/pilot/v1/" + path, refuse, login=False) for verb, path in verbs]


class PilotApi:
    """Thin: who asks, what they sent, and what the work service says."""

    def __init__(self, work: Work, blobs: Blobs, in_thread: InThread) -> None:
        self._work = work
        self._blobs = blobs
        self._in_thread = in_thread

    def routes(self) -> list[Route]:
        """For a router at /pilot; pilots log in by their session tokens, not as people do."""

        def route(method: str, path: str, handler: Handler, *, long: bool = False) -> Route:
            return Route(method, "/pilot/v1" + path, handler, login=False, long=long)

        return [
            route("POST", "/announce", self._announce),
            route("POST", "/poll", self._poll, long=True),
            route("POST", "/report", self._report),
            route("POST", "/blobs", self._put_many),
            route("PUT", "/blob/{digest}", self._put),
            route("GET", "/blob/{digest}", self._get),
        ]

    async def _announce(self, call: Call) -> Answer:
        try:
            return Reply(await self._work.announce(call.body()))
        except Refusal as refusal:
            raise _as_error(refusal) from None

    async def _poll(self, call: Call) -> Answer:
        session = self._session(call)
        call.when_gone(lambda: self._work.hung_up(session))
        answer = await self._asked(self._work.poll, session, call)
        if call.request._disconnected:
            self._work.unread(session)
        return answer

    async def _report(self, call: Call) -> Answer:
        return await self._asked(self._work.report, self._session(call), call)

    async def _asked(self, ask: Ask, session: Session, call: Call) -> Answer:
        try:
            return Reply(await ask(session, call.body()))
        except Refusal as refusal:
            raise _as_error(refusal) from None

    def _session(self, call: Call) -> Session:
        """The pilot that asks. Raises ApiError(401)."""
        header = call.request.getHeader("authorization") or ""
        session = self._work.session(header.removeprefix("Bearer "))
        if session is None:
            raise ApiError(
                401, "this session is not known", "announce yourself again", code="announce"
            )
        return session

    # -- blobs

    async def _put_many(self, call: Call) -> Answer:
        """Small blobs, back to back behind their list."""
        self._session(call)
        data = call.request.content.read()
        contents = unpack_batch(data)
        await self._stored(lambda: self._blobs.put_many(contents))
        return Reply({"stored": len(contents)})

    async def _put(self, call: Call) -> Answer:
        """One large blob, or a piece of it."""
        self._session(call)
        digest = _digest(call)
        content = cast(BinaryIO, call.request.content)
        found = _RANGE.fullmatch(call.request.getHeader("content-range") or "")
        if found is None:
            await self._stored(lambda: self._blobs.put_stream(content, digest=digest))
            return Reply({"stored": 1})
        first, last, size = (int(text) for text in found.groups())
        have = await self._stored(lambda: self._append(digest, first, content, size))
        if have < min(last + 1, size):
            raise ApiError(409, f"only {have} bytes of this blob are here", "go on from there")
        return Reply({"have": have})

    def _append(self, digest: bytes, offset: int, content: IO[bytes], size: int) -> int:
        """In a thread: add a piece; the whole blob is checked and stored with its last one."""
        have = offset
        while chunk := content.read(CHUNK_BYTES):
            have = self._blobs.append(digest, have, chunk)
            if have < offset + len(chunk):
                return have
            offset = have
        return self._blobs.finish(digest) if have >= size else have

    async def _get(self, call: Call) -> Answer:
        """A blob of this pilot's units. HEAD: how much of an upload is here."""
        session = self._session(call)
        digest = _digest(call)
        if call.request.method == b"HEAD":
            return await self._head(call, digest)
        if not await self._work.may_read(session, digest):
            raise ApiError(403, "this blob belongs to no unit of this pilot")
        try:
            file, size = await self._in_thread(
                lambda: (self._blobs.open(digest), self._blobs.size(digest))
            )
        except BlobMissing as error:
            raise ApiError(404, str(error)) from None
        return Stream(file, size, digest=digest.hex())

    async def _head(self, call: Call, digest: bytes) -> Answer:
        def have() -> int:
            try:
                return self._blobs.size(digest)
            except BlobMissing:
                return self._blobs.partial_size(digest)

        size = await self._in_thread(have)
        call.request.setHeader("x-floe-have", str(size))
        return Reply({"have": size})

    async def _stored(self, put: Callable[[], Any]) -> Any:
        try:
            return await self._in_thread(put)
        except BlobMismatch as error:
            raise ApiError(400, str(error), "send it again") from None
        except BlobMissing as error:
            raise ApiError(409, str(error), "send it from its beginning") from None
        except DiskFull as error:
            raise ApiError(507, str(error), "try again later") from None


def unpack_batch(data: bytes) -> list[bytes]:
    """Contents of a batch of blobs, checked against their digests. Raises ApiError(400)."""
    try:
        (length,) = struct.unpack_from(">I", data)
        listed = json.loads(data[4 : 4 + length])
        sizes = [(bytes.fromhex(digest), int(size)) for digest, size in listed]
    except (struct.error, ValueError, TypeError, OverflowError, RecursionError):
        raise ApiError(400, "this is no batch of blobs", "see pilot/transfer.py") from None
    at = 4 + length
    if len(sizes) > BLOBS_MAX or any(size < 0 for _, size in sizes):
        raise ApiError(400, "too many blobs, or a negative size", f"at most {BLOBS_MAX:,}")
    if at + sum(size for _, size in sizes) != len(data):
        raise ApiError(400, "the sizes do not add up to the body", "send it again")
    contents = []
    for digest, size in sizes:
        content = data[at : at + size]
        at += size
        if digest_of(content) != digest:
            raise ApiError(400, f"blob {digest.hex()[:12]} arrived as another one", "send it again")
        contents.append(content)
    return contents


def _digest(call: Call) -> bytes:
    text = call.names["digest"]
    if not _DIGEST.fullmatch(text):
        raise ApiError(400, "this is no digest", "BLAKE2b-256 of the content, hex")
    return bytes.fromhex(text)


def _as_error(refusal: Refusal) -> ApiError:
    return ApiError(refusal.status, refusal.message, refusal.right, code=refusal.code)
