"""Sizes and times as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.model.units import parse_size, parse_time, show_size, show_time


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2_000_000_000),
        ("2GiB", 2 << 30),
        ("2 GB", 2_000_000_000),
        ("500MB", 500_000_000),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("1.5GiB", 3 << 29),
        ("7B", 7),
        ("0.5B", 1),
        ("1TB", 10**12),
    ],
)
def test_a_size_reads_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["2", "2 gigs", "GB", "-2GB", "2gb", "2GB ", "1e3MB", "2,5GB", "", "2Gi", "2kiB", "9999PB"],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no size|more than"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("4h", 14_400), ("2d", 172_800), ("1.5h", 5400), ("0s", 0)],
)
def test_a_time_reads_as_seconds(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["90", "1h30m", "h", "-1h", "1H", "1 hour", "", "9999d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time|more than"):
        parse_time(text)


def test_sizes_are_shown_in_the_units_that_people_use() -> None:
    shown = [show_size(n) for n in (0, 7, 999, 2100, 2 << 30, 2_000_000_000, 1_234_567)]
    assert shown == ["0 B", "7 B", "999 B", "2.1 kB", "2 GiB", "2 GB", "1.2 MB"]


@given(st.integers(0, 10**8))
def test_a_shown_time_reads_back(seconds: int) -> None:
    assert parse_time(show_time(seconds)) == seconds
