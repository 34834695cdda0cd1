"""Blobs between pilot and node: a cache of inputs, uploads of outputs and logs.

`POST /pilot/v1/blobs`: 4 bytes length (big endian), JSON `[[digest, size], ...]`, then the bytes
back to back: many small blobs at once. `PUT /pilot/v1/blob/<digest>`: one large one;
`HEAD` tells how much of it the node has, `Content-Range` sends the rest. `GET
/pilot/v1/blob/<digest>` with `Range` brings one here. All names are BLAKE2b-256, hex.
"""

import errno
import hashlib
import json
import os
import struct
from typing import Dict, List, NamedTuple, Optional, Sequence, Set

from pilot.client import Connection, Unreachable, parse_answer

BATCH_BYTES_MAX = 16 << 20
PART_BYTES = 8 << 20
TRANSFER_S_MAX = 300.0

Upload = NamedTuple(
    "Upload", [("digest", str), ("size", int), ("data", Optional[bytes]), ("path", str)]
)


class Missing(Exception):
    """The node has no such blob, or does not let us have it."""


class Damaged(Exception):
    """What arrived is not what its name says."""


class Cache:
    """Input blobs on disk, by digest; the oldest unused ones go when there is too much."""

    def __init__(self, folder: str, bytes_max: int) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._folder = folder
        self._bytes_max = bytes_max
        self._sizes: Dict[str, int] = {}  # in order of arrival

    def have(self, digest: str) -> bool:
        return digest in self._sizes

    def make_room(self, needed: Set[str]) -> None:
        """Drop blobs that nothing here needs, oldest first, until the rest fits."""
        total = sum(self._sizes.values())
        for digest in list(self._sizes):
            if total <= self._bytes_max:
                return
            if digest not in needed:
                total -= self._sizes.pop(digest)
                os.unlink(os.path.join(self._folder, digest))

    def took(self, digest: str, size: int) -> None:
        """A blob arrived (see download)."""
        self._sizes[digest] = size

    def path(self, digest: str) -> str:
        return os.path.join(self._folder, digest)


def download(connection: Connection, session: str, digest: str, path: str) -> int:
    """Bring a blob here, going on where an earlier try broke off; its size.

    Raises Missing, Damaged, Unreachable, Refused; OSError when the disk is full.
    """
    partial = path + ".part"
    with open(partial, "ab") as file:
        while True:
            have = file.tell()
            headers = {
                "Authorization": "Bearer " + session,
                "Range": "bytes=%d-%d" % (have, have + PART_BYTES - 1),
            }
            status, answer_headers, data = connection.request(
                "GET", "/pilot/v1/blob/" + digest, None, headers, TRANSFER_S_MAX
            )
            if status in (403, 404):
                raise Missing("the site does not have it")
            if status == 416 and have:  # nothing beyond what we have
                break
            if status not in (200, 206):
                parse_answer(status, data)
                raise Unreachable("status %d for a blob" % status)
            if status == 200:
                file.truncate(0)
                file.seek(0)
            file.write(data)
            if status == 200 or _complete(answer_headers.get("content-range", ""), file.tell()):
                break
    size = _verified(partial, digest)
    os.chmod(partial, 0o400)
    os.rename(partial, path)
    return size


def _complete(content_range: str, have: int) -> bool:
    total = content_range.rpartition("/")[2]
    return not total.isdigit() or have >= int(total)


def _verified(path: str, digest: str) -> int:
    state = hashlib.blake2b(digest_size=32)
    size = 0
    with open(path, "rb") as file:
        for data in iter(lambda: file.read(1 << 20), b""):
            state.update(data)
            size += len(data)
    if state.hexdigest() != digest:
        os.unlink(path)
        raise Damaged("blob %s arrived damaged" % digest[:12])
    return size


def upload(connection: Connection, session: str, blobs: Sequence[Upload]) -> None:
    """Store blobs at the node; they are durable there on return. Raises Unreachable, Refused."""
    small: List[Upload] = []
    size = 0
    for blob in blobs:
        if blob.data is None:
            _upload_large(connection, session, blob)
            continue
        if small and size + blob.size > BATCH_BYTES_MAX:
            _upload_small(connection, session, small)
            small, size = [], 0
        small.append(blob)
        size += blob.size
    if small:
        _upload_small(connection, session, small)


def _upload_small(connection: Connection, session: str, blobs: Sequence[Upload]) -> None:
    header = json.dumps([[blob.digest, blob.size] for blob in blobs], separators=(",", ":"))
    parts = [struct.pack(">I", len(header)), header.encode()]
    parts.extend(blob.data or b"" for blob in blobs)
    _send(connection, session, "POST", "/pilot/v1/blobs", b"".join(parts), {})


def _upload_large(connection: Connection, session: str, blob: Upload) -> None:
    path = "/pilot/v1/blob/" + blob.digest
    at = _stored(connection, session, path)
    with open(blob.path, "rb") as file:
        while at < blob.size or blob.size == 0:
            file.seek(at)
            data = file.read(min(PART_BYTES, blob.size - at))
            if not data:
                raise OSError(errno.EIO, "%s became shorter" % blob.path)
            span = "bytes %d-%d/%d" % (at, at + len(data) - 1, blob.size)
            _send(connection, session, "PUT", path, data, {"Content-Range": span})
            at += len(data)


def _stored(connection: Connection, session: str, path: str) -> int:
    """How much of a blob the node already has."""
    headers = {"Authorization": "Bearer " + session}
    status, answer_headers, _ = connection.request("HEAD", path, None, headers)
    if status == 404:
        return 0
    length = answer_headers.get("x-floe-have", answer_headers.get("content-length", "0"))
    return int(length) if status == 200 and length.isdigit() else 0


def _send(
    connection: Connection,
    session: str,
    method: str,
    path: str,
    body: bytes,
    headers: Dict[str, str],
) -> None:
    sent = dict(headers, Authorization="Bearer " + session)
    sent["Content-Type"] = "application/octet-stream"
    status, _, answer = connection.request(method, path, body, sent, TRANSFER_S_MAX)
    parse_answer(status, answer)
