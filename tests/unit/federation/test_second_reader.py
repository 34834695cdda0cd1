"""The page is complete: what was written from it alone reads the vectors as our code does."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from federation.ids import Lane
from federation.records import encode
from federation.settle import settled
from tests.unit.federation.test_schedules import ACTS, RARE, run
from tests.unit.federation.voters import World
from tests.vectors import second
from tests.vectors.second import Entry, Shard, Wrong

HERE = Path(second.__file__).parent


def load(name: str) -> Any:
    return json.loads((HERE / name).read_text("utf-8"))


COUNCIL = load("council.json")


def entry(made: dict[str, Any]) -> Entry:
    names = ("header_bytes", "signature", "body")
    return second.read_entry(*(bytes.fromhex(made[name]) for name in names))


def whole() -> Shard:
    shard = Shard(bytes.fromhex(COUNCIL["shard"]))
    for made in COUNCIL["story"]:
        shard.take(entry(made))
    return shard


def test_it_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(second.__file__).read_text("utf-8"))
    names = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]  # type: ignore[union-attr]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not names & {"federation", "keys", "node", "pilot", "schedulers", "tests"}
    assert {"msgpack", "nacl", "hashlib"} <= names


def test_digests_and_signatures_of_every_purpose() -> None:
    made = load("signatures.json")
    site, data = bytes.fromhex(made["site"]), bytes.fromhex(made["data"])
    for name, each in made["purposes"].items():
        assert second.digest(name.lower(), data).hex() == each["digest"]
        second.verify(site, name.lower(), data, bytes.fromhex(each["signature"]))
        with pytest.raises(Wrong):
            second.verify(site, name.lower(), data + b"x", bytes.fromhex(each["signature"]))
    shard = made["shard"]
    named = bytes.fromhex(shard["founder"] + shard["nonce"])
    assert second.digest("shard", named).hex() == shard["id"]


def test_ssh_signatures_that_hold_and_such_that_do_not() -> None:
    made = load("sshsig.json")
    message = made["message"].encode()
    for good in made["good"].values():
        assert second.verify_ssh(bytes.fromhex(good["blob"]), message).hex() == made["key"]["raw"]
    for bad in made["bad"].values():
        with pytest.raises(Wrong):
            second.verify_ssh(bytes.fromhex(bad), message)


def test_entries_their_chains_and_the_fork() -> None:
    made = load("entries.json")
    for feed in made["feeds"]:
        prev = b""
        for each in feed:
            read = entry(each)
            assert (read.id.hex(), read.prev) == (each["id"], prev)
            prev = read.id
            for name in ("header_bytes", "signature", "body"):
                spoiled = bytearray.fromhex(each[name])
                spoiled[len(spoiled) // 2] ^= 1
                with pytest.raises((Wrong, ValueError)):
                    entry({**each, name: spoiled.hex()})
    fork = made["fork"]
    names = ("first", "first_signature", "second", "second_signature")
    second.check_fork(*(bytes.fromhex(fork[name]["hex"]) for name in names))


def test_the_force_is_signed_by_the_admin_and_names_its_cut() -> None:
    made = load("force.json")
    record = msgpack.unpackb(bytes.fromhex(made["record"]))
    kind, _shard, _term, seq, cut, doc, signature, key = record
    assert kind == second.FORCE
    assert second.verify_ssh(signature, doc) == key
    read = entry(made["cut"])
    assert (read.seq, read.id) == (seq, cut)


def test_terms_and_what_is_settled_after_each_entry_of_the_story() -> None:
    shard = Shard(bytes.fromhex(COUNCIL["shard"]))
    for made in COUNCIL["story"]:
        shard.take(entry(made))
        assert shard.newest.number == made["newest_term"]
        found = shard.settled()
        assert (found and list(found)) == made["settled"]


@pytest.mark.parametrize("why", sorted(COUNCIL["opens"]["void"]))
def test_opens_that_do_not_hold(why: str) -> None:
    shard = whole()
    shard.take(entry(COUNCIL["opens"]["void"][why]))
    assert shard.newest.number == 1


def test_the_open_that_holds() -> None:
    shard = whole()
    shard.take(entry(COUNCIL["opens"]["holds"]))
    assert shard.newest.number == 2
    assert shard.newest.leader == shard.seats[1]


def ref(named: dict[str, Any]) -> second.Ref:
    return (
        bytes.fromhex(named["site"]),
        named["generation"],
        named["seq"],
        bytes.fromhex(named["id"]),
    )


def test_the_proof_that_settles_its_place_and_those_that_do_not() -> None:
    proofs, shard = COUNCIL["proofs"], whole()
    assert shard.proves(ref(proofs["place"]), list(map(ref, proofs["good"])))
    for bad in proofs["bad"].values():
        assert not shard.proves(ref(proofs["place"]), list(map(ref, bad)))


def test_a_lead_is_signed() -> None:
    document = bytes.fromhex(COUNCIL["lead"]["document"])
    signature = bytes.fromhex(COUNCIL["lead"]["signature"])
    second.verify(msgpack.unpackb(document)[0], "lead", document, signature)


def told(world: World) -> Shard:
    """What the second implementation makes of all control feeds of a made-up council."""
    shard = Shard(world.shard)
    for feed, entries in world.feeds.items():
        prev = b""
        for at, records in entries if feed.lane is Lane.CONTROL else ():
            plain = [msgpack.unpackb(encode(record)) for record in records]
            shard.take(Entry(feed.site, feed.generation, 0, at.seq, prev, at.id, plain), read=False)
            prev = at.id
    shard.read()
    return shard


@pytest.mark.parametrize("count", [3, 5])
def test_it_comes_to_the_same_as_our_code_whatever_a_council_writes(count: int) -> None:
    terms = []
    for seed in range(120):
        world = run(seed, count, acts=ACTS | RARE)
        ours, theirs = world.reader.shard, told(world)
        assert ours is not None
        found = settled(ours, world.reader.seats)
        assert theirs.newest.number == ours.newest.number, seed
        assert {term.number for term in theirs.terms} == {term.number for term in ours.terms}
        assert theirs.settled() == (found and (found[0].number, found[1])), seed
        terms.append(len(theirs.terms))
    assert max(terms) > 4
