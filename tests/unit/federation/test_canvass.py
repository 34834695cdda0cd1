"""Questions of candidates and words of leaders, as bytes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import codec, limits
from federation.canvass import Answer, Lead, Question, read_answer, read_lead, read_question
from federation.errors import PeerError
from federation.ids import EntryID, ShardID
from federation.voting import Reply
from tests.unit.federation.seats import seat

SHARD = ShardID(b"s" * 32)
QUESTION = Question(SHARD, 3)
ANSWER = Answer(Reply.LEADER_HEARD, 7, 2)
LEAD = Lead(seat(1), 5, 6, SHARD, 7, 8, EntryID(b"e" * 32))


def test_what_was_packed_is_read_back() -> None:
    assert read_question(QUESTION.pack()) == QUESTION
    assert read_answer(ANSWER.pack()) == ANSWER
    assert read_lead(LEAD.pack()) == LEAD


def test_a_lead_begins_as_every_flood_does() -> None:
    head = codec.unpack(LEAD.pack(), bytes_max=limits.FLOOD_BYTES_MAX)[:5]
    assert head == [seat(1).site, 1, 5, 6, SHARD]


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\xc1",
        codec.pack("text"),
        codec.pack([]),
        codec.pack([SHARD]),
        codec.pack([SHARD, 3, 4, 5]),
        codec.pack([b"short", 3]),
        codec.pack([SHARD, 0]),
        codec.pack([SHARD, "3"]),
        codec.pack([9, 7, 2]),
        codec.pack([[[[]]], 7, 2]),
        codec.pack([b"x" * limits.FLOOD_BYTES_MAX, 7]),
    ],
)
def test_wrong_bytes_are_refused(wrong: bytes) -> None:
    for read in (read_question, read_answer, read_lead):
        with pytest.raises(PeerError):
            read(wrong)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for read in (read_question, read_answer, read_lead):
        with suppress(PeerError):
            read(body)
