"""A decoder under test, and what must hold of it for any bytes."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fuzz.forms import RAW, Form

SECONDS_MAX = 1.0  # of processor time for one input
WORDS_MAX = 100_000  # of an error, which may list 200 problems
MEMORY_BYTES_MAX = 16 << 20  # beyond a multiple of the input's length
MEMORY_A_BYTE = 200


class Fault(Exception):
    """A decoder did with some input what it must not do."""


@dataclass(frozen=True)
class Target:
    """One decoder.

    read: raises one of `refuses` for what it does not take, and nothing else.
    write: the inverse of read; None where there is none, or for a value that has none.
    strict: whatever is read has one form only. Others read more than they write, and then only
    what is canonical in its form comes back as it was.
    """

    name: str
    read: Callable[[bytes], Any]
    refuses: tuple[type[Exception], ...]
    seeds: Callable[[], Mapping[str, bytes]]
    form: Form = RAW
    write: Callable[[Any], bytes | None] | None = None
    strict: bool = False
    canonical: Callable[[bytes], bool] | None = None
    bytes_max: int = 128 * 1024


def check(target: Target, data: bytes, *, measure: bool = False) -> bool:
    """Whether the target takes `data`. Raises Fault. measure: its memory too, which is slow."""
    if measure:
        tracemalloc.start()
    try:
        value, seconds = _read(target, data)
        peak = tracemalloc.get_traced_memory()[1] if measure else 0
    finally:
        if measure:
            tracemalloc.stop()
    if peak > MEMORY_BYTES_MAX + MEMORY_A_BYTE * len(data):
        raise Fault(f"took {peak:,} bytes of memory for an input of {len(data):,}")
    if seconds > SECONDS_MAX and not measure:
        # The garbage of others may have been collected meanwhile: the quickest of three counts.
        seconds = min(seconds, *(_read(target, data)[1] for _ in range(2)))
        if seconds > SECONDS_MAX:
            raise Fault(f"took {seconds:.1f} s for {len(data):,} bytes")
    if value is _REFUSED:
        return False
    _check_inverse(target, data, value)
    return True


_REFUSED = object()


def _read(target: Target, data: bytes) -> tuple[Any, float]:
    begun_s = time.thread_time()
    try:
        value = target.read(data)
    except target.refuses as refusal:
        if len(str(refusal)) > WORDS_MAX:
            raise Fault(f"refused in {len(str(refusal)):,} characters") from refusal
        value = _REFUSED
    except Exception as error:
        raise Fault(f"raised {type(error).__name__}: {str(error)[:200]}") from error
    return value, time.thread_time() - begun_s


def _check_inverse(target: Target, data: bytes, value: Any) -> None:
    if target.write is None:
        return
    try:
        again = target.write(value)
    except Exception as error:
        words = f"{type(error).__name__}: {str(error)[:200]}"
        raise Fault(f"read what cannot be written: {words}") from error
    if again is None or again == data:
        return
    canonical = target.canonical or target.form.canonical
    if target.strict or canonical(data):
        raise Fault(f"came back as other bytes: {again[:60].hex()}…")
    try:
        same = target.read(again) == value
    except Exception as error:
        raise Fault(f"does not read what it wrote: {type(error).__name__}: {error}") from error
    if not same:
        raise Fault("came back as another value")
