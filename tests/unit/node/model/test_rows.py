"""The rows of a foreach file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.model.pilotspec import row_of
from node.model.rows import STEP, BadRows, RowFile, scan
from tests.unit.node.model.drafts import built, problems, small, with_module


def table(folder: Path, content: str | bytes, name: str = "runs.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_csv_cells_are_text_or_integers(tmp_path: Path) -> None:
    found = scan(table(tmp_path, 'run,seed,note\na,7,\nb,007,"x,y"\nc,-3,1.5\n'))
    assert (found.format, found.columns, found.rows) == ("csv", ("run", "seed", "note"), 3)
    assert found.first == {"run": "a", "seed": 7, "note": ""}
    assert found.last == {"run": "c", "seed": -3, "note": "1.5"}
    rows = RowFile(tmp_path / "runs.csv", "csv", found.columns)
    assert rows.row(1) == {"run": "b", "seed": "007", "note": "x,y"}


def test_an_integer_cell_prints_as_it_was_written(tmp_path: Path) -> None:
    for cell in ("0", "-0", "+1", "1e3", "00", " 1", "9" * 38, "9" * 39):
        (row,) = RowFile(table(tmp_path, f"a,b\n{cell},x\n"), "csv", ["a", "b"]).range(0, 1)
        assert str(row["a"]) == cell


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    lines = '{"run": 1, "f": 2.5, "l": [1]}\n\n{"l": {"a": 1}, "run": "x", "f": true}\n'
    found = scan(table(tmp_path, lines, "runs.jsonl"))
    assert (found.format, found.rows, found.columns) == ("jsonl", 2, ("run", "f", "l"))
    assert found.last == {"l": {"a": 1}, "run": "x", "f": True}


def test_the_format_follows_the_name_and_then_the_content(tmp_path: Path) -> None:
    assert scan(table(tmp_path, '{"a": 1}\n', "runs.txt")).format == "jsonl"
    assert scan(table(tmp_path, "a\n1\n", "runs.txt")).format == "csv"


def test_line_ends_blank_lines_and_marks_do_not_matter(tmp_path: Path) -> None:
    found = scan(table(tmp_path, b"\xef\xbb\xbfa,b\r\n\r\n1,x\r\n\n2,y"))
    assert (found.columns, found.rows) == (("a", "b"), 2)
    rows = RowFile(tmp_path / "runs.csv", "csv", found.columns)
    assert rows.range(0, 2) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no rows"),
        ("a,b\n", "no rows"),
        ("a,b\n1\n", "line 2 has 1 cells, the header 2"),
        ("a,b\n1,2,3\n", "line 2 has 3 cells"),
        ("a b\n1\n", 'column "a b" cannot be used in braces'),
        ("a,a\n1,2\n", "two columns have one name"),
        (",\n1,2\n", "cannot be used in braces"),
        ('a\n"x\ny"\n', "line 2 is no CSV"),
        (b"a\n\xff\n", "line 2 is no UTF-8"),
        ("a\nx\0\n", "NUL"),
        ("a\n" + "x" * (1 << 20) + "\n", "line 2 is longer than 1 MiB"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(BadRows) as caught:
        scan(table(tmp_path, content))
    assert said in caught.value.args[0]
    assert caught.value.args[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]\n", "line 1 is no object"),
        ('{"a": 1}\n{"b": 1}\n', "line 2 has other keys"),
        ('{"a": 1}\n{"a": null}\n', "line 2: a null cannot stand here"),
        ('{"a": 1}\nx\n', "line 2 is no JSON"),
        ('{"a": ' + "[" * 9000 + "]" * 9000 + "}\n", "line 1"),
        ('{"a": NaN}\n', "line 1: a"),
        ("{}\n", "line 1: 0 columns"),
    ],
)
def test_bad_json_lines_are_refused_with_their_line(
    tmp_path: Path, content: str, said: str
) -> None:
    with pytest.raises(BadRows) as caught:
        scan(table(tmp_path, content, "runs.jsonl"))
    assert said in caught.value.args[0]


def test_a_bad_table_is_a_problem_of_the_description(tmp_path: Path) -> None:
    table(tmp_path, "a,b\n1\n")
    found = problems(small(foreach={"file": "runs.csv"}), tmp_path)
    assert '"runs.csv" line 2 has 1 cells' in found["foreach.file"]


def test_rows_of_a_file_and_rows_in_place_give_the_same_jobs(tmp_path: Path) -> None:
    table(tmp_path, "run,w\n" + "".join(f"{n},x{n}\n" for n in range(5)))
    axes = {"matrix": {"g": [1, 2]}, "jobs": 3}
    in_file = built(small(foreach={"file": "runs.csv"}, **axes), tmp_path)
    rows = [{"run": n, "w": f"x{n}"} for n in range(5)]
    in_place = built(small(foreach={"rows": rows}, **axes))
    assert in_file.jobs == in_place.jobs == 30
    assert [row_of(in_file.spec, job) for job in range(12)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 0]
    blob = in_file.document and in_file.spec.foreach
    assert blob is not None
    assert in_file.blobs[blob.digest] == tmp_path / "runs.csv"


def test_columns_are_tried_with_the_first_and_the_last_row(tmp_path: Path) -> None:
    table(tmp_path, "n\n1\n0\n")
    bad = with_module(run=["{6 // n}"]) | {"foreach": {"file": "runs.csv"}}
    assert "job 1: {6 // n}: division by zero" in problems(bad, tmp_path)["task.sim.module[0].run"]


def test_text_from_a_row_is_never_scanned(tmp_path: Path) -> None:
    table(tmp_path, 'n\n"{job} ${job} }"\n')
    good = with_module(run=["{n}"]) | {"foreach": {"file": "runs.csv"}}
    assert problems(good, tmp_path) == {}


def test_any_row_is_found_by_its_number(tmp_path: Path) -> None:
    count = 3 * STEP + 5
    path = table(
        tmp_path, "n\n" + "".join(f"{n}\n\n" if n % 7 == 0 else f"{n}\n" for n in range(count))
    )
    rows = RowFile(path, "csv", ["n"])
    assert rows.rows == count
    for number in (0, 1, STEP - 1, STEP, 2 * STEP + 3, count - 1):
        assert rows.row(number) == {"n": number}
    assert [row["n"] for row in rows.range(STEP - 2, STEP + 2)] == list(range(STEP - 2, STEP + 2))
    assert rows.range(5, 5) == []
    for bad in (-1, count):
        with pytest.raises(IndexError):
            rows.row(bad)


CELLS = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029\x85"
    ),
    max_size=8,
)


@given(st.lists(st.tuples(CELLS, CELLS, st.integers()), min_size=1, max_size=5))
def test_what_csv_writers_write_reads_back(tmp_path_factory: Any, rows: Any) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([("a", "b", "c"), *(("x" + a, b, c) for a, b, c in rows)])
    path = table(tmp_path_factory.mktemp("rows"), text.getvalue())
    assert scan(path).rows == len(rows)
    read = RowFile(path, "csv", ["a", "b", "c"]).range(0, len(rows))
    assert [(r["a"], str(r["b"]), str(r["c"])) for r in read] == [
        ("x" + a, b, str(c)) for a, b, c in rows
    ]


@given(st.lists(st.dictionaries(st.just("a"), st.text() | st.booleans(), min_size=1), min_size=1))
def test_what_json_writers_write_reads_back(tmp_path_factory: Any, rows: Any) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path = table(tmp_path_factory.mktemp("rows"), text, "r.jsonl")
    if any("\0" in str(row["a"]) or "\ud800" <= str(row["a"])[:1] <= "\udfff" for row in rows):
        return
    try:
        found = scan(path)
    except BadRows:
        return
    assert RowFile(path, "jsonl", found.columns).range(0, len(rows)) == rows
