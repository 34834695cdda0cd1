"""Records: encode and decode are inverse, and whatever is wrong is refused, never raised."""

from __future__ import annotations

import time
from array import array
from dataclasses import fields, replace
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import codec, limits
from federation.errors import LocalError
from federation.records import (
    Accept,
    Found,
    Grant,
    Outcome,
    Record,
    Refused,
    Release,
    Results,
    Site,
    Unknown,
    UserAdd,
    cells,
    compact,
    cut_tail,
    decode,
    digest_cells,
    encode,
    split,
)
from tests.unit.federation.builders import DATASET, PERSON, SHARD, SITE, one_of_each, results


def body(*records: Record) -> bytes:
    return codec.pack_array([encode(record) for record in records])


def raw_body(*items: object) -> bytes:
    return bytes(msgpack.packb(list(items)))


def fields_of(record: Record) -> list[Any]:
    return msgpack.unpackb(encode(record))


def test_every_kind_comes_back_as_it_was() -> None:
    assert decode(body(*one_of_each())) == one_of_each()


def test_kinds_are_all_different_and_in_the_examples() -> None:
    kinds = [record.kind for record in one_of_each()]
    assert sorted(set(kinds)) == [*range(1, 7), *range(9, 26), 30, 40, 41]


@pytest.mark.parametrize("record", one_of_each(), ids=lambda record: type(record).__name__)
def test_a_wrong_type_in_any_field_is_refused_with_the_field_named(record: Record) -> None:
    for place, field in enumerate(fields(record), start=1):
        for wrong in (None, 1.5, {}, [[[]]], "\ud7ff" * 400, -(2**40)):
            item = fields_of(record)
            item[place] = wrong
            [refused] = decode(raw_body(item))
            assert isinstance(refused, Refused), (field.name, wrong)
            assert refused.kind_number == record.kind
            assert refused.why.startswith(f"{field.name}: ")


@pytest.mark.parametrize("record", one_of_each(), ids=lambda record: type(record).__name__)
def test_a_field_too_few_or_too_many_is_refused(record: Record) -> None:
    item = fields_of(record)
    assert isinstance(decode(raw_body(item[:-1]))[0], Refused)
    assert isinstance(decode(raw_body([*item, 0]))[0], Refused)


def test_a_refused_record_leaves_its_neighbours_alone() -> None:
    good = one_of_each()[0]
    broken = [Site.kind, 7, 7]
    assert decode(raw_body(fields_of(good), broken, fields_of(good))) == [
        good,
        Refused(1, "name: not text of 1 to 128 bytes"),
        good,
    ]


def test_an_unknown_kind_keeps_its_bytes_and_encodes_to_them() -> None:
    strange = msgpack.packb([999, {"deep": [1, [2, b"\x00"]]}, msgpack.ExtType(5, b"x")])
    mixed = codec.pack_array([encode(one_of_each()[0]), strange, encode(one_of_each()[1])])
    first, unknown, last = decode(mixed)
    assert unknown == Unknown(999, strange)
    assert (first, last) == (one_of_each()[0], one_of_each()[1])
    assert encode(unknown) == strange


@pytest.mark.parametrize("item", [[], None, 7, "text", ["1"], [True], [0], [-1], [65_536], [[1]]])
def test_a_record_without_a_kind_is_refused(item: object) -> None:
    assert isinstance(decode(raw_body(item))[0], Refused)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x07",
        raw_body([1, "a", "b"])[:-1],
        raw_body([1, "a", "b"]) + b"\x00",
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
        b"\x91\x93\x01\xa1\xff\xa0",  # text that is not UTF-8
        raw_body(*[[1, "a", "b"]] * (limits.ENTRY_RECORDS_MAX + 1)),
        bytes(limits.ENTRY_BODY_BYTES_MAX + 1),
    ],
)
def test_a_body_that_is_none_is_refused_whole(data: bytes) -> None:
    [refused] = decode(data)
    assert isinstance(refused, Refused)
    assert refused.kind_number == 0


def test_a_body_with_another_count_than_signed_is_refused_whole() -> None:
    many = one_of_each()
    assert decode(body(*many), 2) == [Refused(0, f"a body of {len(many)} records")]
    assert len(decode(body(*many), len(many))) == len(many)


BAD_RESULTS: list[tuple[str, object]] = [
    ("jobs", []),
    ("jobs", [1, -2, 3]),
    ("jobs", [1, 2**32, 3]),
    ("jobs", [1, 2.0, 3]),
    ("jobs", [1, "2", 3]),
    ("jobs", list(range(limits.RESULTS_ROWS_MAX + 1))),
    ("outcome", 5),
    ("outcome", -1),
    ("outcome", [0, 1]),
    ("outcome", [0, 1, 5]),
    ("task", limits.TASKS_MAX),
    ("start_ms", 2**47),
    ("wall_ms", [1, 2]),
    ("wall_ms", [1, 2, -3]),
    ("wall_ms", [1, 2, limits.MEASURE_MAX + 1]),
    ("wall_ms", [2**41, 2, "3"]),
    ("wall_ms", [-1, 2, None]),
    ("wall_ms", [1, 2, 2**64 - 1]),
    ("cpu_ms", [1, 2, None]),
    ("memory_kib", -1),
    ("hosts", []),
    ("hosts", ["x" * 256]),
    ("host", 1),
    ("host", [0, 0, 1]),
    ("errors", []),
    ("errors", ["exit"]),
    ("error", 1),
    ("error", [0, 0, 1]),
    ("exit", 256),
    ("exit", [0, 0, -128]),
    ("exit", [0, 0]),
    ("outputs", b"x"),
    ("outputs", [b"x" * 32] * 2),
    ("outputs", [b"x" * 31, b"x" * 33, b"x" * 32]),
    ("outputs", [b"x" * 32, b"", b"x"]),
    ("outputs", ["x" * 32] * 3),
    ("inputs", [[b"x" * 32]] * 3),
    ("log", [1, 2, 3]),
    ("factors", [1000]),
    ("factors", [0, 1000]),
    ("tails", [[3, "late"]]),
    ("tails", [[1, "a"], [0, "b"]]),
    ("tails", [[0, "a"], [0, "b"]]),
    ("tails", [[0, "ä" * 257]]),
    ("tails", [[0, "a", "b"]]),
    ("tails", [[0]]),
    ("tails", [["0", "a"]]),
    ("tails", [7]),
    ("tails", [[0, "a"]] * 4),
]


@pytest.mark.parametrize(("name", "wrong"), BAD_RESULTS)
def test_results_out_of_bounds_are_refused_when_read_and_when_written(
    name: str, wrong: object
) -> None:
    place = [field.name for field in fields(Results)].index(name) + 1
    item = fields_of(results())
    item[place] = wrong
    [refused] = decode(raw_body(item))
    assert isinstance(refused, Refused)
    assert refused.why.startswith(f"{name}: ")
    with pytest.raises(LocalError, match=name):
        encode(replace(results(), **{name: wrong}))


def test_digests_may_be_missing_in_single_rows() -> None:
    record = results(outputs=[b"", b"x" * 32, b""], inputs=b"y" * 32)
    assert decode(body(record)) == [record]


def test_columns_may_be_written_as_arrays_tuples_and_enums() -> None:
    plain = results(outcome=[0, 4, 1])
    as_written = replace(
        plain,
        jobs=array("q", plain.jobs),
        wall_ms=tuple(cells(plain.wall_ms, 3)),
        outcome=[Outcome.SUCCESS, Outcome.STOPPED, Outcome.PAYLOAD],
        tails=((1, "why"),),
    )
    assert encode(as_written) == encode(replace(plain, tails=[[1, "why"]]))
    assert decode(body(as_written)) == [replace(plain, tails=[[1, "why"]])]


BAD_RANGES = [[], [1], [1, 1], [2, 1], [0, 5, 4, 6], [0, 2, 1, 3, 9], [0, 2**32 + 1], [-1, 2]]


@pytest.mark.parametrize("ranges", BAD_RANGES)
def test_ranges_out_of_order_are_refused(ranges: list[int]) -> None:
    item = [Grant.kind, SHARD, DATASET, [0], ranges, SITE]
    assert isinstance(decode(raw_body(item))[0], Refused)
    item = [Release.kind, SHARD, DATASET, [0], ranges, "why"]
    assert isinstance(decode(raw_body(item))[0], Refused)


def test_touching_ranges_are_ranges() -> None:
    grant = Grant(SHARD, DATASET, [0], [0, 5, 5, 6], SITE)
    assert decode(body(grant)) == [grant]


@pytest.mark.parametrize("tasks", [[], [1, 1], [1, 0], [64], ["0"]])
def test_task_lists_ascend_below_the_bound(tasks: list[int]) -> None:
    assert isinstance(
        decode(raw_body([Grant.kind, SHARD, DATASET, tasks, [0, 1], SITE]))[0], Refused
    )


def test_a_site_sits_once_in_a_council_and_a_group_is_named_once() -> None:
    with pytest.raises(LocalError, match="council: items that are there twice"):
        encode(Found(SHARD, bytes(16), [SITE, SITE]))
    with pytest.raises(LocalError, match="groups: items that are there twice"):
        encode(UserAdd(PERSON, "ana", ["a", "a"], [], b"{}", b"s", PERSON))


def test_an_accept_names_one_entry() -> None:
    with pytest.raises(LocalError, match="entry"):
        encode(Accept(SHARD, SITE, 1, 1, b""))  # type: ignore[arg-type]


def test_a_record_that_no_entry_can_hold_is_our_error() -> None:
    rows = limits.RESULTS_ROWS_MAX
    with pytest.raises(LocalError, match="an entry holds"):
        encode(results(rows, outputs=[b"x" * 32] * rows))


def test_split_keeps_all_rows_in_order_and_each_piece_fits() -> None:
    rows = 5000
    record = results(
        rows,
        outcome=[row % 5 for row in range(rows)],
        tails=[[row, f"tail {row}"] for row in range(0, rows, 97)],
    )
    pieces = split(record)
    assert len(pieces) > 1
    assert all(len(encode(piece)) <= limits.RECORD_BYTES_MAX for piece in pieces)
    assert [job for piece in pieces for job in piece.jobs] == list(record.jobs)
    for name in ("outcome", "wall_ms"):
        rejoined = [
            cell for piece in pieces for cell in cells(getattr(piece, name), len(piece.jobs))
        ]
        assert rejoined == getattr(record, name)
    outputs = [cell for piece in pieces for cell in digest_cells(piece.outputs, len(piece.jobs))]
    assert outputs == record.outputs
    said = {piece.jobs[int(row)]: text for piece in pieces for row, text in piece.tails}
    assert said == {record.jobs[int(row)]: text for row, text in record.tails}


def test_split_leaves_small_records_whole_and_gives_up_on_one_row() -> None:
    assert split(results()) == [results()]
    with pytest.raises(LocalError, match="one row"):
        split(results(2, hosts=["x" * 250] * 400))


@given(st.text(st.characters(), max_size=700))
def test_a_cut_tail_is_always_writable_and_keeps_the_end(said: str) -> None:
    cut = cut_tail(said)
    assert len(cut.encode("utf-8")) <= limits.TAIL_BYTES_MAX
    encode(results(tails=[[0, cut]]))
    clean = said.encode("utf-8", "replace").decode("utf-8")
    assert clean.endswith(cut)


def test_compact_makes_one_value_of_equal_ones() -> None:
    assert compact([3, 3, 3]) == 3
    assert compact(array("q", [3, 3])) == 3
    assert compact([3, 4]) == [3, 4]


def test_text_that_no_reader_could_decode_is_our_error() -> None:
    with pytest.raises(LocalError):
        encode(Site("\ud800", "1"))


measures = st.integers(0, limits.MEASURE_MAX)
digests = st.one_of(st.just(b""), st.binary(min_size=32, max_size=32))


@st.composite
def result_records(draw: st.DrawFn) -> Results:
    rows = draw(st.integers(1, 12))

    def column(cell: st.SearchStrategy[Any]) -> Any:
        return draw(st.one_of(cell, st.lists(cell, min_size=rows, max_size=rows)))

    hosts = draw(
        st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=3)
    )
    errors = ["", *draw(st.lists(st.sampled_from(["exit", "signal", "time"]), max_size=3))]
    tail_rows = sorted(draw(st.sets(st.integers(0, rows - 1))))
    return Results(
        DATASET,
        draw(st.integers(0, 63)),
        draw(st.lists(st.integers(0, 2**32 - 1), min_size=rows, max_size=rows)),
        column(st.integers(0, 4)),
        draw(st.integers(0, 2**47 - 1)),
        *(column(measures) for _ in range(6)),
        hosts,
        column(st.integers(0, len(hosts) - 1)),
        column(st.integers(-127, 255)),
        errors,
        column(st.integers(0, len(errors) - 1)),
        *(column(digests) for _ in range(3)),
        draw(st.lists(st.integers(1, 10**9), min_size=2, max_size=2)),
        [[row, draw(st.text(st.characters(codec="utf-8"), max_size=100))] for row in tail_rows],
    )


@given(st.lists(result_records(), min_size=1, max_size=3))
def test_decode_inverts_encode(records: list[Results]) -> None:
    assert decode(body(*records), len(records)) == records


@given(st.binary(max_size=200))
def test_decode_never_raises_on_noise(data: bytes) -> None:
    decode(data)


@settings(max_examples=300)
@given(st.data())
def test_decode_never_raises_on_damaged_bodies_and_keeps_what_it_takes(data: st.DataObject) -> None:
    whole = bytearray(body(*one_of_each()))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    taken = [record for record in decode(bytes(whole)) if not isinstance(record, Refused)]
    for record in taken:
        if not isinstance(record, Unknown):
            encode(record)  # what is taken from others is what we could write ourselves


json_like = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False),
        st.binary(max_size=40),
        st.text(st.characters(codec="utf-8"), max_size=10),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


@settings(max_examples=300)
@given(st.data())
def test_decode_never_raises_on_strange_fields(data: st.DataObject) -> None:
    item = fields_of(data.draw(st.sampled_from(one_of_each())))
    item[data.draw(st.integers(0, len(item) - 1))] = data.draw(json_like)
    assert len(decode(raw_body(item))) == 1


def test_a_thousand_rows_decode_within_their_budget() -> None:
    """150 us beside msgpack on a quiet core; ten times that here, so that only a slip fails."""
    rows = 1000
    encoded = body(results(rows, memory_kib=[4096 + row for row in range(rows)]))
    best_s = min(_timed(encoded) for _ in range(20))
    assert best_s < 0.0015


def _timed(encoded: bytes) -> float:
    began = time.process_time()
    decode(encoded)
    return time.process_time() - began
