"""Frames, columns, and texts from payloads that no terminal acts on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilot.messages import (
    MESSAGE_BYTES_MAX,
    ROW,
    TAIL_BYTES_MAX,
    Deframer,
    columns,
    frame,
    group_by_lease,
    harmless,
    lost_row,
)


@given(st.lists(st.dictionaries(st.text(), st.integers())), st.integers(1, 50))
def test_frames_come_apart_however_they_arrive(messages: list[Any], size: int) -> None:
    data = b"".join(frame(message) for message in messages)
    deframer = Deframer()
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    assert [message for part in parts for message in deframer.feed(part)] == messages


def test_a_frame_beyond_the_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="message of"):
        Deframer().feed((MESSAGE_BYTES_MAX + 1).to_bytes(4, "big"))


def test_a_frame_that_nests_without_end_is_refused() -> None:
    body = 100_000 * b"["
    with pytest.raises(ValueError, match="nests without end"):
        Deframer().feed(len(body).to_bytes(4, "big") + body)


def row(job: int, **cells: Any) -> list[Any]:
    found = lost_row(job, 1000, 1000, "", "")
    for name, value in cells.items():
        found[ROW.index(name)] = value
    return found


def test_columns_that_agree_are_one_value() -> None:
    told = columns(7, "d/0/1", [row(1), row(2, start_ms=1010)])
    assert told["jobs"] == [1, 2]
    assert (told["start_ms"], told["offset_ms"]) == (1000, [0, 10])
    assert (told["outcome"], told["errors"], told["error"]) == (0, [""], 0)
    assert (told["log"], told["tails"]) == ("", [])


def test_columns_that_differ_are_lists() -> None:
    told = columns(7, "d/0/1", [row(1), row(2, error="exit", outcome=1, exit=3, tail="why")])
    assert (told["outcome"], told["exit"]) == ([0, 1], [0, 3])
    assert [told["errors"][error] for error in told["error"]] == ["", "exit"]
    assert told["tails"] == [[1, "why"]]


def test_rows_of_several_leases_become_one_message_each() -> None:
    told = group_by_lease([(1, "a/0/1", row(5)), (2, "a/0/1", row(6)), (1, "a/0/1", row(7))])
    assert [(group["lease"], group["jobs"]) for group in told] == [(1, [5, 7]), (2, [6])]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\n", "plain"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07shown", "shown"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1bPdevice\x1b\\shown", "shown"),
        (b"\x1b", ""),
        (b"a\x00b\xff\x9bc", "a\ufffdb\ufffd\ufffdc"),
        ("\u202egnp.exe".encode(), "\ufffdgnp.exe"),
        (b"one\r\ntwo\ttabbed", "one\ntwo\ttabbed"),
        (b"50%\rdone", "50%\ufffddone"),
    ],
)
def test_texts_of_payloads_are_made_harmless(data: bytes, text: str) -> None:
    assert harmless(data) == text


@given(st.binary(max_size=5000))
def test_no_bytes_whatever_give_control_characters_or_too_much(data: bytes) -> None:
    text = harmless(data)
    assert len(text.encode()) <= TAIL_BYTES_MAX
    assert not any((char < " " and char not in "\n\t") or "\x7f" <= char <= "\x9f" for char in text)
    json.dumps(text)
