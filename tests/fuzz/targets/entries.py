"""Entries: headers, bodies of every kind, whole entries, proofs of forks."""

from __future__ import annotations

from typing import Any

from federation import codec, limits
from federation.entry import Entry, Header, open_entry, seal
from federation.errors import BadEntry, PeerError
from federation.feed import ForkProof, check_fork, prove_fork
from federation.records import Record, Refused, Site, Unknown, decode, encode
from tests.fuzz.forms import MSGPACK
from tests.fuzz.target import Target
from tests.unit.federation.builders import CONTROL, KEY, chain, one_of_each, results


def read_whole(data: bytes) -> Entry:
    """`[header, signature, body]`, as a link brings it."""
    return open_entry(*_parts(data, 3))


def write_whole(entry: Entry) -> bytes:
    return codec.pack([entry.header_bytes, entry.signature, entry.body])


def read_proof(data: bytes) -> ForkProof:
    proof = ForkProof(*_parts(data, 4))
    check_fork(proof)
    return proof


def write_proof(proof: ForkProof) -> bytes:
    return codec.pack([proof.first, proof.first_signature, proof.second, proof.second_signature])


def write_body(records: list[Record | Refused]) -> bytes | None:
    """The body again; None if anything in it was refused."""
    taken = [record for record in records if not isinstance(record, Refused)]
    return codec.pack_array(list(map(encode, taken))) if len(taken) == len(records) else None


def _parts(data: bytes, count: int) -> list[Any]:
    parts = codec.unpack(data, bytes_max=limits.FRAME_BYTES_MAX, depth_max=1)
    if type(parts) is not list or [type(part) for part in parts] != [bytes] * count:
        raise PeerError("not so many bytes")
    return parts


def _headers() -> dict[str, bytes]:
    return {f"entry {entry.header.seq}": entry.header_bytes for entry in chain(3)}


def _bodies() -> dict[str, bytes]:
    made = {
        f"{type(record).__name__} {number}": codec.pack_array([encode(record)])
        for number, record in enumerate(one_of_each())
    }
    made["unknown"] = codec.pack_array([encode(Unknown(999, codec.pack([999, "later", [1]])))])
    made["several"] = codec.pack_array([encode(record) for record in one_of_each()[:5]])
    made["many rows"] = codec.pack_array([encode(results(300))])
    return made


def _proofs() -> dict[str, bytes]:
    first = chain(1)[0]
    other = seal(KEY, CONTROL, 1, b"", 9, [Site("desy", "2")])
    return {"a fork": write_proof(prove_fork(first, other))}


TARGETS = (
    Target("header", Header.unpack, (BadEntry,), _headers, MSGPACK, Header.pack, strict=True),
    Target(
        "entry",
        read_whole,
        (PeerError,),
        lambda: {f"entry {entry.header.seq}": write_whole(entry) for entry in chain(3)},
        MSGPACK,
        write_whole,
    ),
    # `decode` never raises: what is wrong comes back as Refused.
    Target("body", decode, (), _bodies, MSGPACK, write_body, bytes_max=limits.ENTRY_BODY_BYTES_MAX),
    Target("fork-proof", read_proof, (PeerError,), _proofs, MSGPACK, write_proof),
)
