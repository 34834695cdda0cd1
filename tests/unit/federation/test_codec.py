"""msgpack within bounds."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import codec
from federation.errors import LocalError, PeerError

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.binary(max_size=300),
        st.text(st.characters(codec="utf-8"), max_size=100),
    ),
    lambda inner: st.lists(inner, max_size=20),
    max_leaves=30,
)


@given(values)
def test_unpack_inverts_pack(value: object) -> None:
    assert codec.unpack(codec.pack(value), bytes_max=1_000_000, depth_max=100) == value


@given(st.lists(values, max_size=20))
def test_a_split_array_gives_back_its_items(items: list[object]) -> None:
    packed = [codec.pack(item) for item in items]
    whole = codec.pack_array(packed)
    assert whole == codec.pack(items)
    assert codec.split_array(whole, bytes_max=len(whole)) == packed


@given(st.binary(max_size=300))
def test_noise_is_a_peer_error_or_a_value(data: bytes) -> None:
    for read in (codec.unpack, codec.split_array):
        try:
            read(data, bytes_max=300)
        except PeerError:
            continue


def nested(depth: int) -> bytes:
    """Lists within each other: depth 0 is a plain value."""
    return b"\x91" * depth + b"\x07"


def test_depth_is_counted_through_lists_and_maps() -> None:
    assert codec.unpack(nested(3), bytes_max=10, depth_max=3) == [[[7]]]
    with pytest.raises(PeerError, match="deeper"):
        codec.unpack(nested(4), bytes_max=10, depth_max=3)
    mapped = msgpack.packb({"a": [{"b": 1}]})
    assert codec.unpack(mapped, bytes_max=100, depth_max=3)
    with pytest.raises(PeerError, match="deeper"):
        codec.unpack(mapped, bytes_max=100, depth_max=2)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", nested(5000), b"\x01\x02", b"\x92\x01", b"\xa1\xff", b"\x81\x90\x01"],
)
def test_broken_bytes_are_a_peer_error(data: bytes) -> None:
    with pytest.raises(PeerError):
        codec.unpack(data, bytes_max=10_000, depth_max=10_000)


def test_lengths_that_promise_more_than_there_is_take_no_memory() -> None:
    for promise in (b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"):
        with pytest.raises(PeerError):
            codec.unpack(promise, bytes_max=100)
        with pytest.raises(PeerError):
            codec.split_array(promise, bytes_max=100)


def test_too_many_bytes_are_refused_before_they_are_read() -> None:
    with pytest.raises(PeerError, match="at most 3"):
        codec.unpack(b"\x07" * 4, bytes_max=3)
    with pytest.raises(PeerError, match="at most 3"):
        codec.split_array(b"\x07" * 4, bytes_max=3)


def test_an_array_followed_by_more_is_refused() -> None:
    with pytest.raises(PeerError, match="follow"):
        codec.split_array(b"\x91\x07\x07", bytes_max=10)


@pytest.mark.parametrize("value", [object(), 2**64, "\ud800", [set()]])
def test_what_has_no_form_on_the_wire_is_our_error(value: object) -> None:
    with pytest.raises(LocalError):
        codec.pack(value)
