"""Checks of single record fields: type, size, range. Pure.

Each maker returns a check: a function that takes a decoded value and raises BadField. Columns
are checked by a few passes in C, never by a Python step per row. Within columns true and false
stand for 1 and 0, as everywhere in Python: to tell them apart costs more than all other checks.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from federation import limits
from keys.signing import DIGEST_BYTES

Check = Callable[[Any], None]

_INT: Final = frozenset([int, bool])
_UINT_MAX: Final = 2**32 - 1
_DIGEST_SIZES: Final = frozenset([0, DIGEST_BYTES])


class BadField(ValueError):
    """A field's value is not what its record's definition allows."""


def integer(low: int, high: int) -> Check:
    def check(value: Any) -> None:
        if type(value) is not int or not low <= value <= high:
            raise BadField(f"not an integer from {low} to {high}")

    return check


def blob(size_min: int, size_max: int) -> Check:
    def check(value: Any) -> None:
        if type(value) is not bytes or not size_min <= len(value) <= size_max:
            raise BadField(f"not {size_min} to {size_max} bytes")

    return check


def exact(size: int) -> Check:
    return blob(size, size)


def text(bytes_max: int, bytes_min: int = 0) -> Check:
    """UTF-8 text; its content is made harmless where it is shown, not here."""

    def check(value: Any) -> None:
        if type(value) is not str or not bytes_min <= text_bytes(value) <= bytes_max:
            raise BadField(f"not text of {bytes_min} to {bytes_max} bytes")

    return check


def text_bytes(value: str) -> int:
    """Length in UTF-8, counting lone surrogates too: msgpack refuses to write those."""
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


def items(check_item: Check, count_min: int, count_max: int) -> Check:
    def check(value: Any) -> None:
        if type(value) is not list or not count_min <= len(value) <= count_max:
            raise BadField(f"not a list of {count_min} to {count_max} items")
        for item in value:
            check_item(item)

    return check


def integers(high: int, count_min: int, count_max: int) -> Check:
    """A list of integers from 0 to `high`, in any order, repeats allowed."""

    def check(value: Any) -> None:
        _check_integers(value, count_min, count_max, high)

    return check


def increasing(high: int, count_max: int) -> Check:
    """A list of 1 to count_max integers from 0 to `high`, each larger than the one before."""

    def check(value: Any) -> None:
        _check_integers(value, 1, count_max, high)
        if any(left >= right for left, right in pairwise(value)):
            raise BadField("not in increasing order")

    return check


def distinct(check_item: Check, count_min: int, count_max: int) -> Check:
    check_items = items(check_item, count_min, count_max)

    def check(value: Any) -> None:
        check_items(value)
        if len(set(value)) != len(value):
            raise BadField("items that are there twice")

    return check


def check_ranges(value: Any) -> None:
    """Flat half-open pairs of job indices, ascending, disjoint, none empty."""
    _check_integers(value, 2, limits.RANGES_MAX, limits.JOBS_MAX)
    if len(value) % 2:
        raise BadField("ranges come in pairs")
    if any(low >= high for low, high in zip(value[::2], value[1::2], strict=True)):
        raise BadField("an empty or reversed range")
    if any(high > low for high, low in zip(value[1::2], value[2::2], strict=False)):
        raise BadField("ranges that overlap or are out of order")


def check_ref(value: Any) -> None:
    """An entry of a control feed: [site, generation, seq, id]."""
    if type(value) is not list or len(value) != 4:
        raise BadField("not [site, generation, seq, id]")
    site, generation, seq, id_ = value
    _exact_digest(site)
    _generation(generation)
    _seq(seq)
    _exact_digest(id_)


def check_column(value: Any, rows: int, high: int) -> None:
    """One integer for all rows, or a list of one a row, each from 0 to `high`."""
    if type(value) is int:
        if not 0 <= value <= high:
            raise BadField(f"not from 0 to {high}")
        return
    _check_integers(value, rows, rows, high)


def check_signed_column(value: Any, rows: int, low: int, high: int) -> None:
    """`check_column` for small ranges that start below zero."""
    values = [value] if type(value) is int else value
    if type(values) is not list or (values is value and len(values) != rows):
        raise BadField("neither one integer nor one a row")
    if not set(map(type, values)) <= _INT:
        raise BadField("not integers")
    if min(values) < low or max(values) > high:
        raise BadField(f"not from {low} to {high}")


def check_digest_column(value: Any, rows: int) -> None:
    """One digest (or b"" for none) for all rows, or a list of one a row."""
    if type(value) is bytes:
        if len(value) not in _DIGEST_SIZES:
            raise BadField("not a digest of 32 bytes")
        return
    if type(value) is not list or len(value) != rows:
        raise BadField("neither one digest nor one a row")
    try:
        total = len(b"".join(value))  # the cheapest way to see that all are bytes
        uniform = total == DIGEST_BYTES * rows and len(max(value, key=len)) == DIGEST_BYTES
        if not (uniform or set(map(len, value)) <= _DIGEST_SIZES):
            raise BadField("not digests of 32 bytes")
    except TypeError:
        raise BadField("not bytes") from None


def _check_integers(value: Any, count_min: int, count_max: int, high: int) -> None:
    """A list of integers from 0 to `high`."""
    if type(value) is not list or not count_min <= len(value) <= count_max:
        raise BadField(f"not a list of {count_min} to {count_max} integers")
    try:
        array("I", value)  # types and 32 bits in one pass, three times as quick as max alone
    except TypeError:
        raise BadField("not integers") from None
    except OverflowError:
        if not set(map(type, value)) <= _INT:  # array stopped at the first that was too large
            raise BadField("not integers") from None
        if min(value) < 0 or max(value) > high:
            raise BadField(f"not from 0 to {high}") from None
        return
    if high < _UINT_MAX and max(value) > high:
        raise BadField(f"not from 0 to {high}")


_exact_digest: Final = exact(DIGEST_BYTES)
_generation: Final = integer(limits.GENERATION_MIN, limits.GENERATION_MAX)
_seq: Final = integer(1, limits.SEQ_MAX)
