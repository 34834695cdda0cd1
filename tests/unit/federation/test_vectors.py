"""The test vectors of docs/protocol.md: our code makes them, and others' code reads them."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federation import joining
from federation.entry import open_entry
from federation.errors import PeerError
from federation.feed import FeedTip, ForkProof, check_fork, follow
from federation.records import Refused, Unknown, decode, encode
from federation.wire import decode as decode_message
from federation.wire import encode as encode_message
from keys.identity import parse
from keys.signing import BadSignature
from keys.sshsig import PublicKey, dearmor, verify
from node.model import member
from node.model.force import read_force
from node.model.problems import Invalid
from node.model.token import BadToken, read_token
from tests.vectors import make, requests

HERE = Path(make.__file__).parent


def load(name: str) -> Any:
    return json.loads((HERE / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(make.all_vectors()))
def test_the_code_still_makes_the_vectors(name: str) -> None:
    said = "the protocol changed: python -m tests.vectors.make, and docs/protocol.md"
    assert (HERE / name).read_text("utf-8") == make.written(make.all_vectors()[name]), said


def blake2b(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def test_signatures_hold_for_another_implementation() -> None:
    vectors = load("signatures.json")
    site, data = bytes.fromhex(vectors["site"]), bytes.fromhex(vectors["data"])
    assert parse(vectors["shown"]) == site
    key = Ed25519PublicKey.from_public_bytes(site)
    for made in vectors["purposes"].values():
        prefix = bytes.fromhex(made["prefix"])
        assert blake2b(prefix + data).hex() == made["digest"]
        key.verify(bytes.fromhex(made["signature"]), prefix + data)
    shard = vectors["shard"]
    named = bytes.fromhex(shard["founder"] + shard["nonce"])
    assert blake2b(b"icefloe shard 1\0" + named).hex() == shard["id"]


def test_good_ssh_signatures_verify_and_bad_ones_do_not() -> None:
    vectors = load("sshsig.json")
    message = vectors["message"].encode()
    key = PublicKey.parse(vectors["key"]["line"])
    assert key.raw.hex() == vectors["key"]["raw"]
    assert key.fingerprint() == vectors["key"]["fingerprint"]
    for good in vectors["good"].values():
        assert dearmor(good["armored"]).hex() == good["blob"]
        assert verify(message, bytes.fromhex(good["blob"])).raw == key.raw
    for bad in vectors["bad"].values():
        with pytest.raises(BadSignature):
            verify(message, bytes.fromhex(bad))


def plain(value: Any) -> Any:
    """The inverse of make.shown."""
    if isinstance(value, dict) and set(value) == {"hex"}:
        return bytes.fromhex(value["hex"])
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def test_records_are_arrays_of_kind_and_fields_in_order() -> None:
    for vector in load("records.json")["taken"]:
        encoded = bytes.fromhex(vector["bytes"])
        assert msgpack.unpackb(encoded) == [vector["kind"], *plain(vector["fields"]).values()]
        [record] = decode(b"\x91" + encoded)
        assert type(record).__name__ == vector["name"]
        assert not isinstance(record, Refused)
        assert encode(record) == encoded


def test_messages_are_frames_of_kind_and_fields_in_order() -> None:
    for vector in load("messages.json")["taken"]:
        frame = bytes.fromhex(vector["frame"])
        assert len(frame) == 4 + int.from_bytes(frame[:4], "big")
        assert msgpack.unpackb(frame[4:]) == [vector["kind"], *plain(vector["fields"])]
        message = decode_message(frame[4:])
        assert type(message).__name__ == vector["name"]
        assert message is not None
        assert encode_message(message) == frame


@pytest.mark.parametrize("why", sorted(load("messages.json")["refused"]))
def test_frames_that_are_no_message_are_refused(why: str) -> None:
    with pytest.raises(PeerError):
        decode_message(bytes.fromhex(load("messages.json")["refused"][why]))


def test_unknown_records_are_parked_and_wrong_ones_refused() -> None:
    vectors = load("records.json")
    parked = vectors["parked"]
    assert decode(b"\x91" + bytes.fromhex(parked["bytes"])) == [
        Unknown(parked["kind"], bytes.fromhex(parked["bytes"]))
    ]
    for why, wrong in vectors["refused"].items():
        [refused] = decode(b"\x91" + bytes.fromhex(wrong))
        assert isinstance(refused, Refused), why


def test_entries_chain_and_verify_for_another_implementation() -> None:
    for feed in load("entries.json")["feeds"]:
        prev = b""
        for vector in feed:
            header_bytes = bytes.fromhex(vector["header_bytes"])
            header, body = plain(vector["header"]), bytes.fromhex(vector["body"])
            assert msgpack.unpackb(header_bytes) == list(header.values())
            signed = b"icefloe entry 1\0" + header_bytes
            key = Ed25519PublicKey.from_public_bytes(header["site"])
            key.verify(bytes.fromhex(vector["signature"]), signed)
            with pytest.raises(InvalidSignature):
                key.verify(bytes.fromhex(vector["signature"]), signed + b"\0")
            assert blake2b(signed).hex() == vector["id"]
            assert header["prev"] == prev
            assert header["body_hash"] == blake2b(b"icefloe body 1\0" + body)
            assert (header["body_len"], header["count"]) == (len(body), len(msgpack.unpackb(body)))
            prev = bytes.fromhex(vector["id"])


def test_entries_open_and_follow_one_another() -> None:
    for feed in load("entries.json")["feeds"]:
        tip = None
        for vector in feed:
            entry = open_entry(
                *(bytes.fromhex(vector[name]) for name in ("header_bytes", "signature", "body"))
            )
            tip = follow(tip or FeedTip(entry.header.feed), entry)
            assert not any(isinstance(record, Refused) for record in entry.records())
        assert tip is not None
        assert tip.seq == len(feed)


def test_the_fork_proves_itself() -> None:
    proof = ForkProof(**plain(load("entries.json")["fork"]))
    assert check_fork(proof)[1] == 2


def test_the_document_that_forces_a_shard_says_what_its_record_repeats() -> None:
    vectors = load("force.json")
    kind, shard, term, seq, cut, doc, signature, key = msgpack.unpackb(
        bytes.fromhex(vectors["record"])
    )
    said = json.loads(vectors["document"])
    assert kind == 24
    assert doc == vectors["document"].encode()
    assert verify(doc, signature).raw == key == bytes.fromhex(vectors["key"])
    assert (shard.hex(), term) == (said["shard"], said["term"])
    assert (seq, cut.hex()) == (said["cut"]["seq"], said["cut"]["entry"])
    header = bytes.fromhex(vectors["cut"]["header_bytes"])
    assert blake2b(b"icefloe entry 1\0" + header) == cut
    read = read_force(doc)
    assert (read.shard, read.term, read.cut.seq, read.cut.id) == (shard, term, seq, cut)
    assert (read.leader.generation, read.cut.feed.generation) == (2, 1)


@pytest.mark.parametrize("why", sorted(load("force.json")["refused"]))
def test_documents_that_force_nothing_are_refused(why: str) -> None:
    with pytest.raises(Invalid):
        read_force(load("force.json")["refused"][why].encode())


def test_documents_about_members_are_read_and_make_their_records() -> None:
    vectors = load("members.json")
    for made in vectors["documents"].values():
        document, signature = made["document"].encode(), bytes.fromhex(made["signature"])
        assert member.write(member.read(document)) == document
        assert (
            json.dumps(json.loads(document), sort_keys=True, separators=(",", ":"))
            == (made["document"])
        )
        assert blake2b(b"icefloe member 1\0" + document).hex() == made["id"]
        assert verify(document, signature).raw.hex() == vectors["admin"]
        _kind, *fields = msgpack.unpackb(bytes.fromhex(made["record"]))
        assert document in fields
        assert signature in fields
    secret = bytes.fromhex(vectors["secret"]["bytes"])
    assert blake2b(b"icefloe invite 1\0" + secret).hex() == vectors["secret"]["hash"]
    invite = json.loads(vectors["documents"]["invite"]["document"])
    assert invite["secret"] == vectors["secret"]["hash"]


def test_a_token_is_what_the_page_says() -> None:
    vectors = load("members.json")
    word, size, data = vectors["token"].split(".")
    assert (word, int(size)) == ("floe1", len(data))
    raw = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
    check = hashlib.blake2b(raw[4:], digest_size=4, person=b"floe token").digest()
    assert raw[:4] == check
    secret, document, signature = msgpack.unpackb(raw[4:])
    invite = vectors["documents"]["invite"]
    assert document.decode() == invite["document"]
    assert signature.hex() == invite["signature"]
    assert secret.hex() == vectors["secret"]["bytes"]
    assert read_token(vectors["token"]).document == document


@pytest.mark.parametrize(("why", "token"), load("members.json")["refused"].items())
def test_tokens_that_hold_nothing_are_refused(why: str, token: str) -> None:
    with pytest.raises(BadToken):
        read_token(token)


def test_join_messages_are_read() -> None:
    vectors = load("members.json")
    request = msgpack.unpackb(bytes.fromhex(vectors["request"]))
    answer = msgpack.unpackb(bytes.fromhex(vectors["answer"]))
    assert request[:2] == [1, "desy"]
    assert answer == [1, "used", "nersc joined with it", 1_790_000_000_000, 1, 2]
    assert joining.read_request(bytes.fromhex(vectors["request"])).secret == request[3]
    assert joining.read_answer(bytes.fromhex(vectors["answer"])).verdict == "used"


@pytest.mark.parametrize("name", sorted(requests.READS))
def test_what_members_ask_is_an_array_of_fields_in_the_order_of_the_page(name: str) -> None:
    made = load("requests.json")["bodies"][name]
    body = bytes.fromhex(made["bytes"])
    assert msgpack.unpackb(body) == plain(made["fields"])
    read, write = requests.READS[name]
    assert write(read(body)) == body


def test_a_beacon_is_signed_by_its_site() -> None:
    vectors = load("requests.json")
    document = bytes.fromhex(vectors["bodies"]["beacon"]["bytes"])
    key = Ed25519PublicKey.from_public_bytes(msgpack.unpackb(document)[0])
    key.verify(bytes.fromhex(vectors["beacon_signature"]), b"icefloe beacon 1\0" + document)
