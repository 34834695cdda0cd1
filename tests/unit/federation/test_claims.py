"""Claims, answers and recalls as bytes: what is written is read again, what is wrong is refused."""

import contextlib
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import codec, limits
from federation.claims import (
    Answer,
    Claim,
    Held,
    Recall,
    Recalled,
    Verdict,
    read_answer,
    read_claim,
    read_recall,
    read_recalled,
    write_answer,
    write_claim,
    write_recall,
    write_recalled,
)
from federation.errors import LocalError, PeerError
from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.shapes import Shape, Workers

UNITS = st.integers(0, limits.UNITS_MAX)
CORES = st.integers(0, limits.CORES_MAX)
MIB = st.integers(0, limits.SHAPE_MIB_MAX)
SECONDS = st.integers(0, limits.SHAPE_TIME_S_MAX)
SHAPES = st.builds(Shape, CORES, CORES, MIB, MIB, SECONDS)
WORKERS = st.lists(
    st.builds(Workers, CORES, CORES, MIB, MIB, SECONDS, UNITS, UNITS),
    max_size=limits.WORKER_KINDS_MAX,
).map(tuple)
LABELS = st.binary(min_size=limits.LABEL_BYTES, max_size=limits.LABEL_BYTES)
CLAIMS = st.builds(
    Claim,
    SHAPES,
    UNITS,
    UNITS,
    st.integers(0, limits.PER_DAY_MAX),
    WORKERS,
    st.lists(st.builds(Held, LABELS, UNITS), max_size=limits.HELD_MAX).map(tuple),
)
DIGESTS = st.binary(min_size=32, max_size=32)
FEEDS = st.builds(
    FeedID,
    DIGESTS.map(SiteID),
    st.integers(limits.GENERATION_MIN, limits.GENERATION_MAX),
    st.just(Lane.CONTROL),
)
ENTRIES = st.builds(EntryRef, FEEDS, st.integers(1, limits.SEQ_MAX), DIGESTS.map(EntryID))
ANSWERS = st.builds(
    Answer,
    st.sampled_from(Verdict),
    st.lists(ENTRIES, max_size=limits.ANSWER_ENTRIES_MAX).map(tuple),
    UNITS,
    st.integers(0, limits.RETRY_S_MAX),
)
TASKS = st.sets(st.integers(0, limits.TASKS_MAX - 1), min_size=1).map(sorted)
RECALLS = TASKS.flatmap(
    lambda tasks: st.builds(
        Recall,
        DIGESTS.map(ShardID),
        DIGESTS.map(DatasetID),
        st.sampled_from(tasks),
        st.just(tuple(tasks)),
        st.integers(1, limits.UNITS_MAX),
    )
)


@given(CLAIMS)
def test_a_claim_is_read_as_it_was_written_and_stays_small(claim: Claim) -> None:
    body = write_claim(claim)
    assert read_claim(body) == claim
    assert len(body) <= limits.CLAIM_BYTES_MAX


@given(ANSWERS)
def test_an_answer_is_read_as_it_was_written_and_stays_small(answer: Answer) -> None:
    body = write_answer(answer)
    assert read_answer(body) == answer
    assert len(body) <= limits.CLAIM_BYTES_MAX


@given(RECALLS)
def test_a_recall_is_read_as_it_was_written(recall: Recall) -> None:
    assert read_recall(write_recall(recall)) == recall


@given(UNITS)
def test_the_answer_to_a_recall_is_read_as_it_was_written(units: int) -> None:
    assert read_recalled(write_recalled(Recalled(units))) == Recalled(units)


@given(st.binary(max_size=200))
@pytest.mark.parametrize("read", [read_claim, read_answer, read_recall, read_recalled])
def test_bytes_from_outside_raise_nothing_but_the_peers_mistake(
    read: Callable[[bytes], Any], body: bytes
) -> None:
    with contextlib.suppress(PeerError):
        read(body)


SHAPE = [1, 0, 1000, 1000, 3600]


@pytest.mark.parametrize(
    "fields",
    [
        [2, SHAPE, 5, 1, 0, [], []],  # a version of later
        [1, SHAPE, 5, 1, 0, []],  # a field less
        [1, SHAPE[:4], 5, 1, 0, [], []],
        [1, [1, 0, 1000, 1000, -1], 5, 1, 0, [], []],
        [1, SHAPE, -5, 1, 0, [], []],
        [1, SHAPE, 5, True, 0, [], []],
        [1, SHAPE, 5, 1, 0, [[1] * 6], []],
        [1, SHAPE, 5, 1, 0, [[1] * 7] * (limits.WORKER_KINDS_MAX + 1), []],
        [1, SHAPE, 5, 1, 0, [], [[b"short", 1]]],
        [1, SHAPE, 5, 1, 0, [], [[b"8 bytes.", 1]] * (limits.HELD_MAX + 1)],
        "a claim",
        [],
    ],
)
def test_a_claim_out_of_its_bounds_is_refused(fields: Any) -> None:
    with pytest.raises(PeerError):
        read_claim(codec.pack(fields))


@pytest.mark.parametrize("version", [1.0, True, "1"])
def test_a_version_is_a_whole_number(version: object) -> None:
    with pytest.raises(PeerError, match="version"):
        read_claim(msgpack.packb([version, SHAPE, 5, 1, 0, [], []]))


def test_a_claim_larger_than_any_may_be_is_not_even_unpacked() -> None:
    with pytest.raises(PeerError, match="at most"):
        read_claim(bytes(limits.CLAIM_BYTES_MAX + 1))


def test_a_recall_without_its_own_task_among_those_beside_it_is_refused() -> None:
    with pytest.raises(PeerError, match="beside"):
        read_recall(codec.pack([1, b"h" * 32, b"d" * 32, 1, [0, 2], 5]))


def test_what_others_would_refuse_is_not_sent() -> None:
    with pytest.raises(LocalError, match="units"):
        write_claim(Claim(Shape(1, 0, 1, 1, 1), -1, 1, 0, (), ()))
    with pytest.raises(LocalError, match="task"):
        write_recall(Recall(ShardID(b"h" * 32), DatasetID(b"d" * 32), 64, (64,), 1))
