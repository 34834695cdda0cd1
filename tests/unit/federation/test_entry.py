"""Entries: sealed by us, opened by others, refused when one bit differs."""

from __future__ import annotations

from dataclasses import replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import limits
from federation.entry import Entry, Header, open_entry, read_entry, seal, seal_encoded, verify_entry
from federation.errors import BadEntry, LocalError
from federation.ids import FeedID, Lane
from federation.records import Refused, Site, encode
from keys.signing import Purpose, digest
from tests.unit.federation.builders import (
    CONTROL,
    KEY,
    OTHER_KEY,
    OTHER_SITE,
    RESULTS,
    SITE,
    chain,
    one_of_each,
    results,
)


def sealed() -> Entry:
    return seal(KEY, CONTROL, 1, b"", 5 << 16, one_of_each())


def test_what_is_sealed_opens_to_the_same() -> None:
    entry = sealed()
    opened = open_entry(entry.header_bytes, entry.signature, entry.body)
    assert opened == entry
    assert opened.records() == one_of_each()
    assert opened.header.feed == CONTROL
    assert opened.ref.id == digest(Purpose.ENTRY, entry.header_bytes)


def test_sealing_is_deterministic() -> None:
    assert sealed() == sealed()


def test_an_entry_opens_without_its_body() -> None:
    entry = sealed()
    bare = open_entry(entry.header_bytes, entry.signature, None)
    assert bare.id == entry.id
    with pytest.raises(LocalError):
        bare.records()


def test_records_encoded_before_seal_to_the_same_entry() -> None:
    encoded = [encode(record) for record in one_of_each()]
    assert seal_encoded(KEY, CONTROL, 1, b"", 5 << 16, encoded) == sealed()


@given(st.data())
def test_one_flipped_bit_anywhere_is_noticed(data: st.DataObject) -> None:
    entry = sealed()
    assert entry.body is not None
    parts = [bytearray(entry.header_bytes), bytearray(entry.signature), bytearray(entry.body)]
    part = data.draw(st.sampled_from(parts))
    at = data.draw(st.integers(0, len(part) * 8 - 1))
    part[at // 8] ^= 1 << at % 8
    with pytest.raises(BadEntry):
        open_entry(*map(bytes, parts))


def test_the_signature_of_another_site_is_refused() -> None:
    entry = sealed()
    forged = replace(entry, signature=OTHER_KEY.sign(Purpose.ENTRY, entry.header_bytes))
    with pytest.raises(BadEntry):
        verify_entry(forged)


def test_a_signature_for_another_purpose_is_refused() -> None:
    entry = sealed()
    with pytest.raises(BadEntry):
        open_entry(entry.header_bytes, KEY.sign(Purpose.BEACON, entry.header_bytes), entry.body)


def test_read_entry_checks_the_body_but_not_the_signature() -> None:
    entry = sealed()
    assert read_entry(entry.header_bytes, bytes(64), entry.body).id == entry.id
    with pytest.raises(BadEntry):
        read_entry(entry.header_bytes, entry.signature, b"\x90")
    with pytest.raises(BadEntry):
        read_entry(entry.header_bytes, entry.signature[:-1], entry.body)


def test_a_body_with_another_number_of_records_is_refused_by_every_reader_alike() -> None:
    body = sealed().body
    assert body is not None
    header = replace(sealed().header, count=1)
    entry = open_entry(header.pack(), KEY.sign(Purpose.ENTRY, header.pack()), body)
    assert isinstance(entry.records()[0], Refused)


BAD_HEADERS: list[tuple[str, object]] = [
    ("version", 2),
    ("version", True),
    ("site", SITE[:-1]),
    ("site", None),
    ("generation", 0),
    ("generation", 2**32),
    ("lane", 2),
    ("lane", "0"),
    ("seq", 0),
    ("seq", limits.SEQ_MAX + 1),
    ("seq", 2),  # without a prev
    ("prev", b"x" * 32),  # before the first
    ("prev", b"x"),
    ("hlc", 2**63),
    ("hlc", -1),
    ("hlc", 1.5),
    ("count", 0),
    ("count", limits.ENTRY_RECORDS_MAX + 1),
    ("body_hash", b""),
    ("body_len", 0),
    ("body_len", limits.ENTRY_BODY_BYTES_MAX + 1),
]
NAMES = ["version", "site", "generation", "lane", "seq", "prev", "hlc", "count"]
NAMES += ["body_hash", "body_len"]


@pytest.mark.parametrize(("name", "wrong"), BAD_HEADERS)
def test_a_header_out_of_bounds_is_refused_even_when_signed(name: str, wrong: object) -> None:
    values = msgpack.unpackb(sealed().header_bytes)
    values[NAMES.index(name)] = wrong
    header_bytes = msgpack.packb(values)
    with pytest.raises(BadEntry):
        open_entry(header_bytes, KEY.sign(Purpose.ENTRY, header_bytes), sealed().body)


def test_a_header_not_in_its_shortest_form_is_refused() -> None:
    short = sealed().header_bytes
    long = b"\xdc\x00\x0a" + short[1:]  # array of ten, with a length in 16 bits
    assert msgpack.unpackb(long) == msgpack.unpackb(short)
    with pytest.raises(BadEntry, match="shortest"):
        Header.unpack(long)


@given(st.binary(max_size=200))
def test_noise_is_no_header(data: bytes) -> None:
    with pytest.raises(BadEntry):
        Header.unpack(data)


def test_the_largest_header_fits_its_bound() -> None:
    largest = Header(
        1,
        SITE,
        limits.GENERATION_MAX,
        Lane.RESULTS,
        limits.SEQ_MAX,
        bytes(32),
        limits.HLC_MAX,
        limits.ENTRY_RECORDS_MAX,
        bytes(32),
        limits.ENTRY_BODY_BYTES_MAX,
    )
    assert Header.unpack(largest.pack()) == largest
    assert len(largest.pack()) <= limits.HEADER_BYTES_MAX


def test_what_others_would_refuse_is_never_sealed() -> None:
    with pytest.raises(LocalError):
        seal(KEY, FeedID(OTHER_SITE, 1, Lane.CONTROL), 1, b"", 0, [Site("a", "1")])
    with pytest.raises(LocalError):
        seal(KEY, CONTROL, 1, b"", 0, [])
    with pytest.raises(LocalError):
        seal(KEY, CONTROL, 2, b"", 0, [Site("a", "1")])
    with pytest.raises(LocalError):
        seal(KEY, RESULTS, 1, b"", 0, [results(1000), results(1000)])


def test_chained_entries_name_the_one_before() -> None:
    first, second = chain(2)
    assert first.header.prev == b""
    assert second.header.prev == first.id
