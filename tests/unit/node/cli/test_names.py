"""Names of units and selections of jobs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.cli.names import Name, jobs_text, parse_jobs, parse_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nugen-26", Name("nugen-26")),
        ("nugen-26/417", Name("nugen-26", 417)),
        ("nugen-26/417/reco", Name("nugen-26", 417, "reco")),
        ("ana@desy:nugen-26/1_000/reco#2", Name("ana@desy:nugen-26", 1000, "reco", 2)),
        ("last/0/main", Name("last", 0, "main")),
    ],
)
def test_names_of_datasets_units_and_attempts(text: str, name: Name) -> None:
    assert parse_name(text) == name


@pytest.mark.parametrize(
    "text", ["", "a//b", "a/x/b", "a/1/b/c", "a#2", "a/1#2", "a/1/b#0", "a/-1"]
)
def test_other_texts_are_no_names(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|number"):
        parse_name(text)


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("7", [7, 8]),
        ("1-10", [1, 11]),
        ("1-5:2", [1, 2, 3, 4, 5, 6]),
        ("8-9,5", [5, 6, 8, 10]),
        ("0-4,3-7,8", [0, 9]),
        ("1_000_000", [1_000_000, 1_000_001]),
        ("all", []),
    ],
)
def test_selections_of_jobs(text: str, ranges: list[int]) -> None:
    assert parse_jobs(text) == ranges


@pytest.mark.parametrize("text", ["x", "3-1", "1-5:0", "-", "1,,2", "9" * 13, "0-999999999:2", "¹"])
def test_other_texts_select_nothing(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|pieces"):
        parse_jobs(text)


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=60))
def test_text_of_a_selection_selects_the_same(jobs: list[int]) -> None:
    ranges = parse_jobs(",".join(map(str, jobs)))
    chosen = {job for at in range(0, len(ranges), 2) for job in range(ranges[at], ranges[at + 1])}
    assert chosen == set(jobs)
    assert parse_jobs(jobs_text(ranges)) == ranges
