"""The test vectors of councils, read by our code and by the second reading of the protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federation.canvass import read_answer, read_lead, read_question
from federation.entry import Entry, open_entry
from federation.evidence import BadProof, check_proof
from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.ledger import Ledger
from federation.opening import as_ref
from federation.settle import settled
from federation.shard import Term
from federation.voting import Reply
from tests.simulation.terms import read_shards
from tests.vectors import make

VECTORS = json.loads((Path(make.__file__).parent / "council.json").read_text(encoding="utf-8"))
SHARD = ShardID(bytes.fromhex(VECTORS["shard"]))


def entry(made: dict[str, Any]) -> Entry:
    names = ("header_bytes", "signature", "body")
    return open_entry(*(bytes.fromhex(made[name]) for name in names))


class Reader:
    def __init__(self) -> None:
        self.here: dict[EntryRef, Entry] = {}
        self.ledger = Ledger(SHARD, self.here.__contains__)

    def take(self, made: dict[str, Any]) -> None:
        taken = entry(made)
        self.here[taken.ref] = taken
        self.ledger.take(taken.ref, taken.records())

    def feeds(self) -> dict[FeedID, list[Entry]]:
        found: dict[FeedID, list[Entry]] = {}
        for each in self.here.values():
            found.setdefault(each.header.feed, []).append(each)
        return found


def all_read() -> Reader:
    reader = Reader()
    for made in VECTORS["story"]:
        reader.take(made)
    return reader


def test_after_each_entry_the_newest_term_and_the_settled_place_are_those_of_the_vectors() -> None:
    reader = Reader()
    for made in VECTORS["story"]:
        reader.take(made)
        shard = reader.ledger.shard
        assert shard is not None
        assert shard.newest.number == made["newest_term"]
        found = settled(shard, reader.ledger.seats)
        assert (found and [found[0].number, found[1]]) == made["settled"]


def test_the_second_reading_comes_to_the_same() -> None:
    reading = read_shards(all_read().feeds())[SHARD]
    last = VECTORS["story"][-1]
    assert reading.newest.number == last["newest_term"]
    assert {term.number: seq for term, seq in reading.settled.items()}[1] == last["settled"][1]
    assert not reading.faults


@pytest.mark.parametrize("why", sorted(VECTORS["opens"]["void"]))
def test_opens_that_do_not_hold_begin_no_term(why: str) -> None:
    reader = all_read()
    reader.take(VECTORS["opens"]["void"][why])
    assert reader.ledger.shard is not None
    assert reader.ledger.shard.newest.number == 1
    assert len(reader.ledger.void) == 1
    assert read_shards(reader.feeds())[SHARD].newest.number == 1


def test_the_open_that_holds_begins_the_next_term() -> None:
    reader = all_read()
    reader.take(VECTORS["opens"]["holds"])
    assert reader.ledger.shard is not None
    assert reader.ledger.shard.newest.number == 2
    assert read_shards(reader.feeds())[SHARD].newest.number == 2


def ref(named: dict[str, Any]) -> EntryRef:
    feed = FeedID(SiteID(bytes.fromhex(named["site"])), named["generation"], Lane.CONTROL)
    return EntryRef(feed, named["seq"], EntryID(bytes.fromhex(named["id"])))


def proven(named: list[dict[str, Any]]) -> object:
    reader = all_read()
    assert reader.ledger.shard is not None
    return check_proof(
        reader.ledger.shard,
        ref(VECTORS["proofs"]["place"]),
        [as_ref(ref(each)) for each in named],
        reader.ledger.acks_in,
        reader.here.__contains__,
    )


def test_the_good_proof_settles_its_place_and_bad_ones_do_not() -> None:
    term = proven(VECTORS["proofs"]["good"])
    assert isinstance(term, Term)
    assert term.number == 1
    for bad in VECTORS["proofs"]["bad"].values():
        with pytest.raises(BadProof):
            proven(bad)


def test_canvasses_and_leads_are_arrays_in_the_order_of_the_page() -> None:
    question = bytes.fromhex(VECTORS["canvass"]["question"])
    assert msgpack.unpackb(question) == [SHARD, 1]
    assert read_question(question).shard == SHARD
    for name, answer in VECTORS["canvass"]["answers"].items():
        read = read_answer(bytes.fromhex(answer))
        assert read.reply is Reply[name.upper()]
        assert msgpack.unpackb(bytes.fromhex(answer)) == [read.reply, 1, 1]
    document = bytes.fromhex(VECTORS["lead"]["document"])
    site, generation, boot, counter, shard, term, seq, _ = msgpack.unpackb(document)
    assert (generation, boot, counter, shard, term, seq) == (1, 7, 12, SHARD, 1, 5)
    key = Ed25519PublicKey.from_public_bytes(site)
    key.verify(bytes.fromhex(VECTORS["lead"]["signature"]), b"icefloe lead 1\0" + document)
    assert read_lead(document).leader.site == site
