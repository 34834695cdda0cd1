"""The messages with which a stranger asks to be taken in."""

from __future__ import annotations

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import codec, limits
from federation.errors import LocalError, PeerError
from federation.joining import (
    JoinAnswer,
    JoinRequest,
    OtherVersion,
    Verdict,
    read_answer,
    read_request,
    write_answer,
    write_request,
)

REQUEST = JoinRequest("desy", ("desy.example:7421",), b"s" * 32, b"{}", b"signature")
ANSWER = JoinAnswer(Verdict.USED, "nersc joined with it", 1_790_000_000_000, 1, 2)


def test_what_is_written_is_read_back() -> None:
    assert read_request(write_request(REQUEST)) == REQUEST
    assert read_answer(write_answer(ANSWER)) == ANSWER


def test_the_largest_messages_fit() -> None:
    addresses = tuple(f"{n}{'x' * 299}" for n in range(limits.ADDRESSES_MAX))
    largest = JoinRequest(
        "n" * limits.NAME_BYTES_MAX,
        addresses,
        b"s" * 32,
        bytes(limits.INVITE_DOC_BYTES_MAX),
        bytes(limits.SIGNATURE_BYTES_MAX),
    )
    assert read_request(write_request(largest)) == largest


def test_words_that_are_too_long_are_cut_between_characters() -> None:
    answer = read_answer(write_answer(JoinAnswer(Verdict.BUSY, "é" * 400, 0)))
    assert answer.words == "é" * 256


def test_a_verdict_of_a_later_version_is_kept_as_it_is() -> None:
    assert read_answer(codec.pack([1, "later", "", 0, 0, 0])).verdict == "later"


@pytest.mark.parametrize(
    "fields",
    [
        [1],
        [1, "desy", [], b"s" * 31, b"{}", b"x"],
        [1, "", [], b"s" * 32, b"{}", b"x"],
        [1, "desy", ["a:1", "a:1"], b"s" * 32, b"{}", b"x"],
        [1, "desy", [[]], b"s" * 32, b"{}", b"x"],
        [1, "desy", ["a:1"] * 9, b"s" * 32, b"{}", b"x"],
        [1, "desy", [], b"s" * 32, b"", b"x"],
        [1, "desy", [], b"s" * 32, b"{}", b"x", b"more"],
        {1: 2},
        [],
        ["1", "desy"],
        [True, "desy", [], b"s" * 32, b"{}", b"x"],
    ],
)
def test_what_is_no_request_is_refused(fields: object) -> None:
    with pytest.raises(PeerError):
        read_request(msgpack.packb(fields))


def test_another_version_is_told_from_garbage() -> None:
    for read in (read_request, read_answer):
        with pytest.raises(OtherVersion):
            read(codec.pack([2, "x"]))


def test_we_send_nothing_that_others_would_refuse() -> None:
    with pytest.raises(LocalError):
        write_request(JoinRequest("desy", (), b"short", b"{}", b"x"))
    with pytest.raises(LocalError):
        write_answer(JoinAnswer("", "", 0))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_request, read_answer):
        try:
            read(data)
        except PeerError:
            continue


@given(at=st.integers(0, 100), value=st.integers(0, 255))
def test_one_changed_byte_is_read_or_refused(at: int, value: int) -> None:
    data = bytearray(write_request(REQUEST))
    data[at % len(data)] = value
    try:
        read_request(bytes(data))
    except PeerError:
        return
