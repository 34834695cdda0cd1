"""Write the test vectors: `python -m tests.vectors.make`. Run it only when the protocol changes.

Everything is made from fixed seeds, so that the files change only together with the protocol.
tests/unit/federation/test_vectors.py reads them back without our code where that is possible.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgpack

from federation import hlc, joining
from federation.entry import Entry, seal
from federation.feed import prove_fork
from federation.ids import FeedID, Lane, SiteID, UserKey
from federation.joining import JoinAnswer, JoinRequest, Verdict
from federation.records import (
    Force,
    MemberAdd,
    MemberRemove,
    Policy,
    Record,
    Site,
    Unknown,
    encode,
)
from federation.shard import shard_id
from federation.wire import encode as encode_message
from keys import signing
from keys.certificate import fingerprint, site_certificate
from keys.identity import SiteKey, show
from keys.signing import Purpose, digest
from keys.sshsig import PublicKey, armor
from node.model import member
from node.model.force import ForceOrder, write_force
from node.model.token import write_token
from tests.unit.federation.builders import KEY, NONCE, OTHER_KEY, SHARD, one_of_each, results
from tests.unit.federation.messages import broken_frames, one_message_of_each
from tests.vectors import council, requests

HERE = Path(__file__).parent
PERSON_SEED = bytes(range(100, 132))
DOCUMENT = b'{"dataset":"00","floe":1,"kind":"command"}'


def main() -> None:
    for name, vectors in all_vectors().items():
        HERE.joinpath(name).write_text(written(vectors), encoding="utf-8")


def written(vectors: object) -> str:
    return json.dumps(vectors, indent=1, ensure_ascii=False) + "\n"


def all_vectors() -> dict[str, Any]:
    return {
        "signatures.json": signatures(),
        "sshsig.json": ssh_signatures(),
        "records.json": records(),
        "entries.json": entries(),
        "force.json": forced(),
        "council.json": council.vectors(),
        "messages.json": messages(),
        "members.json": members(),
        "requests.json": asked(),
    }


def messages() -> dict[str, Any]:
    return {
        "taken": [
            {
                "name": type(message).__name__,
                "kind": message.kind,
                "fields": msgpack_shown(encode_message(message)),
                "frame": encode_message(message).hex(),
            }
            for message in one_message_of_each()
        ],
        "refused": {why: msgpack.packb(plain).hex() for why, plain in broken_frames().items()},
    }


def asked() -> dict[str, Any]:
    beacon = requests.bodies()["beacon"]
    return {
        "bodies": {
            name: {"fields": shown(msgpack.unpackb(body)), "bytes": body.hex()}
            for name, body in requests.bodies().items()
        },
        "beacon_signature": KEY.sign(Purpose.BEACON, beacon).hex(),
    }


def msgpack_shown(frame: bytes) -> Any:
    """The fields in a frame, behind its length and its kind."""
    return shown(msgpack.unpackb(frame[4:])[1:])


def signatures() -> dict[str, Any]:
    data = b"a message"
    return {
        "seed": KEY.seed.hex(),
        "site": KEY.site.hex(),
        "shown": show(KEY.site),
        "certificate_sha256": fingerprint(site_certificate(KEY)),
        "data": data.hex(),
        "purposes": {
            purpose.name: {
                "prefix": purpose.value.hex(),
                "digest": digest(purpose, data).hex(),
                "signature": KEY.sign(purpose, data).hex(),
            }
            for purpose in Purpose
        },
        "shard": {
            "founder": KEY.site.hex(),
            "nonce": NONCE.hex(),
            "id": shard_id(SiteID(KEY.site), NONCE).hex(),
        },
        "hlc": [
            {"last": last, "wall_ms": wall_ms, "now": hlc.tick(last, wall_ms)}
            for last, wall_ms in [(0, 1), (65_536, 1), (65_536, 0), (131_071, 1), (70_000, 2)]
        ],
    }


def ssh_signatures() -> dict[str, Any]:
    public, secret = signing.keypair(PERSON_SEED)
    good = {name: ssh_blob(secret, public, hash_name=name) for name in ("sha256", "sha512")}
    bad = {
        "another namespace": ssh_blob(secret, public, namespace=b"file"),
        "reserved not empty": ssh_blob(secret, public, reserved=b"x"),
        "another key type": ssh_blob(secret, public, kind=b"ssh-rsa"),
        "another message": ssh_blob(secret, public, message=b"other"),
        "ends too early": good["sha512"][:-1],
        "more follows": good["sha512"] + b"\0",
    }
    key = PublicKey(public, "ana@example.org")
    return {
        "key": {"raw": public.hex(), "line": key.line(), "fingerprint": key.fingerprint()},
        "namespace": "icefloe",
        "message": DOCUMENT.decode(),
        "good": {name: {"blob": blob.hex(), "armored": armor(blob)} for name, blob in good.items()},
        "bad": {why: blob.hex() for why, blob in bad.items()},
    }


def ssh_blob(
    secret: bytes,
    public: bytes,
    *,
    message: bytes = DOCUMENT,
    namespace: bytes = b"icefloe",
    reserved: bytes = b"",
    hash_name: str = "sha512",
    kind: bytes = b"ssh-ed25519",
) -> bytes:
    """A signature as OpenSSH's PROTOCOL.sshsig describes it, or wrong in one point."""

    def string(data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + data

    hashed = hashlib.new(hash_name, message).digest()
    inner = string(namespace) + string(reserved) + string(hash_name.encode())
    signature = signing.sign_raw(secret, b"SSHSIG" + inner + string(hashed))
    key = string(kind) + string(public)
    head = b"SSHSIG" + struct.pack(">I", 1) + string(key) + inner
    return head + string(string(kind) + string(signature))


def records() -> dict[str, Any]:
    unknown = Unknown(999, msgpack.packb([999, {"a": [1, b"\x02"]}]))
    refused = {
        "a field too few": [1, "desy"],
        "text where an integer belongs": [15, *[b"x" * 32] * 2, "1", 1, b"x" * 32],
        "ranges out of order": [14, *[b"x" * 32] * 2, [0], [5, 4], b"x" * 32],
        "a council with a site twice": [10, b"x" * 32, bytes(16), [b"y" * 32] * 2],
        "a column of another length": _changed("wall_ms", [1, 2]),
        "a digest of 31 bytes": _changed("outputs", b"x" * 31),
        "a first error class that is not empty": _changed("errors", ["exit"]),
        "kind 0": [0],
        "kind true": [True, "desy", "1"],
        "no array": {"kind": 1},
    }
    return {
        "taken": [
            {
                "kind": record.kind,
                "name": type(record).__name__,
                "fields": shown(asdict(record)),
                "bytes": encode(record).hex(),
            }
            for record in one_of_each()
        ],
        "parked": {"kind": unknown.kind_number, "bytes": unknown.raw.hex()},
        "refused": {why: msgpack.packb(item).hex() for why, item in refused.items()},
    }


def _changed(name: str, value: object) -> list[Any]:
    """The wire form of a results record with one field changed."""
    fields = asdict(results())
    fields[name] = value
    return [40, *fields.values()]


def entries() -> dict[str, Any]:
    control = FeedID(SiteID(KEY.site), 1, Lane.CONTROL)
    bulk = FeedID(SiteID(KEY.site), 1, Lane.RESULTS)
    plain: list[Record] = [record for record in one_of_each() if record.kind != 40]
    first = seal(KEY, control, 1, b"", hlc.from_ms(1_790_000_000_000), plain[:4])
    second = seal(KEY, control, 2, first.id, hlc.tick(first.header.hlc, 0), plain[4:])
    branch = seal(KEY, control, 2, first.id, hlc.tick(first.header.hlc, 0), [Site("desy", "9")])
    other = seal(SiteKey(KEY.seed), bulk, 1, b"", hlc.from_ms(1_790_000_000_001), [results()])
    fork = prove_fork(second, branch)
    return {
        "seed": KEY.seed.hex(),
        "feeds": [[entry(first), entry(second)], [entry(other)]],
        "fork": shown(asdict(fork)),
    }


def forced() -> dict[str, Any]:
    """A shard put back from a copy and forced on, and documents that force nothing."""
    public, secret = signing.keypair(PERSON_SEED)
    old, new = (FeedID(SiteID(KEY.site), generation, Lane.CONTROL) for generation in (1, 2))
    first = seal(KEY, old, 1, b"", hlc.from_ms(1_790_000_000_000), [one_of_each()[3]])
    order = ForceOrder(SHARD, 2, new, first.ref, NONCE)
    document = write_force(order)
    signature = ssh_blob(secret, public, message=document)
    record = Force(SHARD, 2, first.ref.seq, first.id, document, signature, UserKey(public))
    text = document.decode()
    return {
        "document": text,
        "key": public.hex(),
        "signature": signature.hex(),
        "record": encode(record).hex(),
        "cut": entry(first),
        "refused": {
            "no cut": text.replace('"seq":1', '"seq":0'),
            "term 0": text.replace('"term":2', '"term":0'),
            "another kind": text.replace("shard.force", "shard.close"),
            "an unknown key": text.replace('{"cut"', '{"council":[],"cut"'),
            "not canonical": text.replace(":", ": ", 1),
        },
    }


SECRET = bytes(range(200, 232))
ADDRESSES = ("desy.example.org:7421", "[2001:db8::1]:7421")


def members() -> dict[str, Any]:
    """Documents about members with their records, an invitation's token, and its redemption."""
    public, secret = signing.keypair(PERSON_SEED)
    by, other = SiteID(KEY.site), SiteID(OTHER_KEY.site)
    until_ms = 1_790_000_000_000
    orders: dict[str, member.Order] = {
        "add": member.Add(by, other, "desy", ADDRESSES, NONCE),
        "invite": member.Invite(
            by, "madison", ADDRESSES, member.hash_secret(SECRET), until_ms, NONCE
        ),
        "remove": member.Remove(by, other, ((1, 7), (3, 2)), NONCE),
        "policy": member.Policy(by, 2, (by, other), "icecube", NONCE),
    }
    documents = {name: member.write(order) for name, order in orders.items()}
    signed = {
        name: (document, ssh_blob(secret, public, message=document), UserKey(public))
        for name, document in documents.items()
    }
    records: dict[str, Record] = {
        "add": MemberAdd(other, "desy", list(ADDRESSES), *signed["add"], b""),
        "invite": MemberAdd(other, "desy", list(ADDRESSES), *signed["invite"], SECRET),
        "remove": MemberRemove(other, *signed["remove"]),
        "policy": Policy(*signed["policy"]),
    }
    token = write_token(SECRET, *signed["invite"][:2])
    request = JoinRequest("desy", ADDRESSES, SECRET, *signed["invite"][:2])
    answer = JoinAnswer(Verdict.USED, "nersc joined with it", until_ms, 1, 2)
    return {
        "site": KEY.site.hex(),
        "admin": public.hex(),
        "documents": {
            name: {
                "document": document.decode(),
                "id": member.document_id(document).hex(),
                "signature": signed[name][1].hex(),
                "record": encode(records[name]).hex(),
            }
            for name, document in documents.items()
        },
        "secret": {"bytes": SECRET.hex(), "hash": member.hash_secret(SECRET).hex()},
        "token": token,
        "refused": broken_tokens(token, documents["add"], signed["invite"]),
        "request": joining.write_request(request).hex(),
        "answer": joining.write_answer(answer).hex(),
    }


def broken_tokens(
    token: str, other: bytes, invitation: tuple[bytes, bytes, UserKey]
) -> dict[str, str]:
    """Tokens that must be refused, each by what is wrong with it."""
    document, signature, _ = invitation
    changed = "A" if token[100] != "A" else "B"
    return {
        "empty": "",
        "another text": "ssh-ed25519 AAAA",
        "a later version": "floe2" + token[5:],
        "cut off": token[:-7],
        "too long": token + "AAAA",
        "a character changed": token[:100] + changed + token[101:],
        "not base64": token[:-1] + "!",
        "nothing in it": "floe1.0.",
        "another document": write_token(SECRET, other, signature),
        "another secret": write_token(bytes(32), document, signature),
        "a short secret": write_token(SECRET[:16], document, signature),
        "another signature": write_token(SECRET, document, signature[:-1] + b"x"),
        "no document": write_token(SECRET, b"{}", signature),
    }


def entry(made: Entry) -> dict[str, Any]:
    assert made.body is not None
    return {
        "header": shown(asdict(made.header)),
        "header_bytes": made.header_bytes.hex(),
        "signature": made.signature.hex(),
        "body": made.body.hex(),
        "id": made.id.hex(),
    }


def shown(value: Any) -> Any:
    """The same in JSON: bytes as {"hex": …}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: shown(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [shown(inner) for inner in value]
    return value


if __name__ == "__main__":
    main()
