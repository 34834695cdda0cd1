"""Frames and messages: decode inverts encode, and takes nothing that is out of bounds."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from federation import limits
from federation.errors import LocalError, PeerError
from federation.wire import KINDS, Frames, More, Neighbours, Ping, decode, encode
from tests.unit.federation.messages import broken_frames, one_message_of_each

FRAMES = [encode(message) for message in one_message_of_each()]
DEEP = b"\x91" * 100_000


def test_there_is_a_message_of_every_kind() -> None:
    assert {type(message) for message in one_message_of_each()} == set(KINDS.values())


@pytest.mark.parametrize("message", one_message_of_each(), ids=lambda each: type(each).__name__)
def test_decode_inverts_encode(message: object) -> None:
    decoded = decode(encode(message)[4:])  # type: ignore[arg-type]
    assert decoded is not None
    assert encode(decoded) == encode(message)  # type: ignore[arg-type]
    assert type(decoded) is type(message)


@given(st.lists(st.sampled_from(FRAMES), max_size=8), st.lists(st.integers(1, 400), max_size=60))
def test_frames_come_whole_however_they_are_cut(sent: list[bytes], cuts: list[int]) -> None:
    frames, stream, came = Frames(limits.FRAME_BYTES_MAX), b"".join(sent), []
    while stream:
        size = cuts.pop() if cuts else len(stream)
        frames.add(stream[:size])
        stream = stream[size:]
        while (content := frames.next()) is not None:
            came.append(content)
    assert came == [frame[4:] for frame in sent]


@pytest.mark.parametrize("size", [0, limits.FRAME_BYTES_MAX + 1, 2**31, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused_before_anything_is_gathered(size: int) -> None:
    frames = Frames(limits.FRAME_BYTES_MAX)
    frames.add(size.to_bytes(4, "big"))
    with pytest.raises(PeerError):
        frames.next()


@given(st.binary(max_size=300))
@example(DEEP)
@example(b"\xdd\xff\xff\xff\xff" * 1000)
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x92\x0b" + DEEP)
@example(msgpack.packb([11, [[b"s" * 32, 1, 0, 2**64 - 1, b"p" * 8]], 0, 0]))
def test_any_bytes_decode_to_a_message_or_to_a_peer_error(content: bytes) -> None:
    try:
        decode(content)
    except PeerError:
        return


@given(st.sampled_from(FRAMES), st.data())
def test_a_message_with_a_few_bytes_changed_does_no_more_harm(
    frame: bytes, data: st.DataObject
) -> None:
    content = bytearray(frame[4:])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = decode(bytes(content))
    except PeerError:
        return
    assert message is not None
    encode(message)


@pytest.mark.parametrize("why", broken_frames())
def test_what_is_out_of_bounds_is_no_message(why: str) -> None:
    with pytest.raises(PeerError):
        decode(msgpack.packb(broken_frames()[why]))


def test_large_fields_are_refused() -> None:
    long_chunk = [31, 1, 0, bytes(limits.REQUEST_CHUNK_BYTES + 1)]
    many_places = [11, [[b"s" * 32, 1, 0, 1, b"p" * 8]] * (limits.VECTOR_FEEDS_MAX + 1), 0, 0]
    for plain in (long_chunk, many_places):
        with pytest.raises(PeerError):
            decode(msgpack.packb(plain))


def test_a_kind_of_a_later_protocol_is_ignored_only_from_those_who_speak_one() -> None:
    later = msgpack.packb([77, "whatever"])
    assert decode(later, newer=True) is None
    with pytest.raises(PeerError):
        decode(later, newer=False)
    with pytest.raises(PeerError):  # a kind that is known stays bound to its fields
        decode(msgpack.packb([3, 1, "more"]), newer=True)


def test_a_later_hello_may_say_more() -> None:
    hello = decode(msgpack.packb([1, 1, 9, 5, "2.0", [], {"new": [1, 2]}, 3]))
    assert hello is not None
    assert encode(hello)[4:] == msgpack.packb([1, 1, 9, 5, "2.0", []])


def test_what_others_would_refuse_is_our_own_mistake() -> None:
    for wrong in (Ping(-1), Neighbours(b"half"), More(1, 0, bytes(20_000))):
        with pytest.raises(LocalError):
            encode(wrong)
