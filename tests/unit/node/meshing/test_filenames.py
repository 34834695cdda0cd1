"""Questions for pieces of files: written and read alike, and checked where they come in."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import codec
from federation.errors import PeerError
from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, SiteID
from node.meshing.filenames import (
    PIECE_BYTES_MAX,
    OfAttempt,
    OfDataset,
    Piece,
    read_answer,
    read_piece,
    write_answer,
    write_piece,
)

DATASET = DatasetID(b"d" * 32)
ENTRY = EntryRef(FeedID(SiteID(b"s" * 32), 3, Lane.RESULTS), 7, EntryID(b"e" * 32))
ATTEMPT = Piece(OfAttempt(DATASET, 1, 417, ENTRY), b"f" * 32, 9)


@pytest.mark.parametrize("piece", [ATTEMPT, Piece(OfDataset(DATASET), b"f" * 32, 0)])
def test_a_question_is_read_as_it_was_written(piece: Piece) -> None:
    assert read_piece(write_piece(piece)) == piece


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (0, 2), (1, b"short"), (2, "text"), (3, -1), (3, 1.5), (4, 64), (5, 2**32),
        (6, b""), (7, 0), (8, 0), (8, 2**63), (9, None),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused(place: int, wrong: object) -> None:
    fields = codec.unpack(write_piece(ATTEMPT), bytes_max=512)
    fields[place] = wrong
    with pytest.raises(PeerError):
        read_piece(msgpack.packb(fields))


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_piece, read_answer):
        try:
            read(data)
        except PeerError:
            continue


def test_an_answer_says_how_long_the_whole_file_is() -> None:
    assert read_answer(write_answer(10, b"12345")) == (10, b"12345")
    with pytest.raises(PeerError):
        read_answer(codec.pack([10, bytes(PIECE_BYTES_MAX + 1)]))
