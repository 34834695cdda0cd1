"""The entry: a signed, hash-linked batch of records. Pure.

An entry is `[header, signature, body]`. The header's bytes are hashed and signed as received,
never re-encoded; the body hangs on the header by its hash and may be absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from federation import codec, limits
from federation.errors import BadEntry, LocalError, PeerError
from federation.ids import EntryID, EntryRef, FeedID, Lane, SiteID
from federation.records import Record, Refused, decode, encode
from keys import signing
from keys.identity import SiteKey
from keys.signing import DIGEST_BYTES, KEY_BYTES, SIGNATURE_BYTES, BadSignature, Purpose

_FIELDS = 10


@dataclass(frozen=True, slots=True)
class Header:
    """What is signed: whose entry, where in which feed, after which, with what body."""

    version: int
    site: SiteID
    generation: int
    lane: Lane
    seq: int  # from 1
    prev: bytes  # id of the entry before; b"" for the first
    hlc: int
    count: int  # records in the body
    body_hash: bytes
    body_len: int  # bytes

    @property
    def feed(self) -> FeedID:
        return FeedID(self.site, self.generation, self.lane)

    def pack(self) -> bytes:
        """The canonical bytes, over which id and signature go."""
        return codec.pack(
            [
                self.version,
                self.site,
                self.generation,
                int(self.lane),
                self.seq,
                self.prev,
                self.hlc,
                self.count,
                self.body_hash,
                self.body_len,
            ]
        )

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """Read and check received header bytes; raises BadEntry."""
        try:
            fields = codec.unpack(data, bytes_max=limits.HEADER_BYTES_MAX, depth_max=1)
        except PeerError as error:
            raise BadEntry(f"a header of {error}") from None
        header = _checked_header(fields)
        if header.pack() != data:
            raise BadEntry("a header that is not in its shortest form")
        return header


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `header_bytes` are as received; body None: known but not held."""

    header: Header
    header_bytes: bytes
    signature: bytes
    body: bytes | None
    id: EntryID

    @property
    def ref(self) -> EntryRef:
        return EntryRef(self.header.feed, self.header.seq, self.id)

    def records(self) -> list[Record | Refused]:
        """The records of the body. Raises LocalError when the body is not held."""
        if self.body is None:
            raise LocalError(f"entry {self.id.hex()[:12]} has no body here")
        return decode(self.body, self.header.count)


def seal(
    key: SiteKey,
    feed: FeedID,
    seq: int,
    prev: bytes,
    hlc: int,
    records: Sequence[Record],
) -> Entry:
    """Make and sign the entry of this site that follows `prev`. Raises LocalError."""
    return seal_encoded(key, feed, seq, prev, hlc, [encode(record) for record in records])


def seal_encoded(
    key: SiteKey,
    feed: FeedID,
    seq: int,
    prev: bytes,
    hlc: int,
    encoded: Sequence[bytes],
) -> Entry:
    """`seal` for records that went through `records.encode` already, so as to count bytes."""
    if key.site != feed.site:
        raise LocalError("an entry is signed with the key of its feed's site")
    body = codec.pack_array(encoded)
    header = Header(
        limits.ENTRY_VERSION,
        feed.site,
        feed.generation,
        feed.lane,
        seq,
        prev,
        hlc,
        len(encoded),
        signing.digest(Purpose.BODY, body),
        len(body),
    )
    header_bytes = header.pack()
    try:
        Header.unpack(header_bytes)
    except BadEntry as error:
        raise LocalError(f"not an entry that others would take: {error}") from None
    signature = key.sign(Purpose.ENTRY, header_bytes)
    return Entry(header, header_bytes, signature, body, entry_id(header_bytes))


def open_entry(header_bytes: bytes, signature: bytes, body: bytes | None) -> Entry:
    """Check what was received: header, body against its hash, signature. Raises BadEntry.

    Whether the entry fits its feed is `feed.follow`'s question; its records are not looked at.
    """
    entry = read_entry(header_bytes, signature, body)
    verify_entry(entry)
    return entry


def read_entry(header_bytes: bytes, signature: bytes, body: bytes | None) -> Entry:
    """`open_entry` without the signature: for bytes that this site verified before."""
    header = Header.unpack(header_bytes)
    if len(signature) != SIGNATURE_BYTES:
        raise BadEntry(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    if body is not None:
        if len(body) != header.body_len:
            raise BadEntry(f"a body of {len(body)} bytes where {header.body_len} are signed")
        if signing.digest(Purpose.BODY, body) != header.body_hash:
            raise BadEntry("a body that is not the signed one")
    return Entry(header, header_bytes, signature, body, entry_id(header_bytes))


def verify_entry(entry: Entry) -> None:
    """Check an entry's signature; raises BadEntry."""
    try:
        signing.verify(entry.header.site, Purpose.ENTRY, entry.header_bytes, entry.signature)
    except BadSignature as error:
        raise BadEntry(str(error)) from None


def entry_id(header_bytes: bytes) -> EntryID:
    """BLAKE2b-256 of purpose prefix and header bytes."""
    return EntryID(signing.digest(Purpose.ENTRY, header_bytes))


def _checked_header(fields: Any) -> Header:
    if type(fields) is not list or len(fields) != _FIELDS:
        raise BadEntry(f"a header is an array of {_FIELDS} fields")
    version, site, generation, lane, seq, prev, hlc, count, body_hash, body_len = fields
    if version != limits.ENTRY_VERSION or type(version) is not int:
        raise BadEntry(f"an entry of version {str(version)[:20]}; this node reads version 1")
    _check_bytes("site", site, KEY_BYTES)
    _check_int("generation", generation, limits.GENERATION_MIN, limits.GENERATION_MAX)
    _check_int("lane", lane, 0, max(Lane))
    _check_int("seq", seq, 1, limits.SEQ_MAX)
    _check_bytes("prev", prev, 0 if seq == 1 else DIGEST_BYTES)
    _check_int("hlc", hlc, 0, limits.HLC_MAX)
    _check_int("count", count, 1, limits.ENTRY_RECORDS_MAX)
    _check_bytes("body_hash", body_hash, DIGEST_BYTES)
    _check_int("body_len", body_len, 1, limits.ENTRY_BODY_BYTES_MAX)
    return Header(version, site, generation, Lane(lane), seq, prev, hlc, count, body_hash, body_len)


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise BadEntry(f"{name} is an integer from {low} to {high}")


def _check_bytes(name: str, value: object, size: int) -> None:
    if type(value) is not bytes or len(value) != size:
        raise BadEntry(f"{name} has {size} bytes")
