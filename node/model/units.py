"""Sizes and times as people write them: "2GB", "1.5GiB", "90s", "4h". Bare numbers are refused."""

from __future__ import annotations

import re
from typing import Final

SIZE_RIGHT: Final = 'write "2GB" or "2GiB"'
TIME_RIGHT: Final = 'write "90s", "30m", "4h" or "2d"'
BYTES_MAX: Final = 1 << 60
SECONDS_MAX: Final = 10 * 366 * 86_400

_NUMBER = r"([0-9]{1,15})(?:\.([0-9]{1,6}))?"
_SIZE = re.compile(_NUMBER + r" ?(B|[kKMGTP]B|[KMGTP]iB)\Z")
_TIME = re.compile(_NUMBER + r" ?([smhd])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _factor(unit: str) -> int:
    if unit == "B":
        return 1
    power = "KMGTP".index(unit[0].upper()) + 1
    step = 1024 if unit.endswith("iB") else 1000
    return int(step**power)


def _scaled(match: re.Match[str], factor: int) -> int:
    """The matched decimal number times `factor`, rounded up, without floats."""
    fraction = match[2] or ""
    digits, parts = int(match[1] + fraction), int("1" + "0" * len(fraction))
    return -(-digits * factor // parts)


def parse_size(text: str) -> int:
    """Whole bytes, rounded up. Raises ValueError with a sentence for people."""
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f'"{text[:40]}" is no size')
    size = _scaled(match, _factor(match[3]))
    if size > BYTES_MAX:
        raise ValueError(f'"{text}" is more than 1 EiB')
    return size


def parse_time(text: str) -> int:
    """Whole seconds, rounded up. Raises ValueError with a sentence for people."""
    match = _TIME.match(text)
    if match is None:
        raise ValueError(f'"{text[:40]}" is no time')
    seconds = _scaled(match, _SECONDS[match[3]])
    if seconds > SECONDS_MAX:
        raise ValueError(f'"{text}" is more than ten years')
    return seconds


def show_size(size: int, *, binary: bool = True) -> str:
    """Bytes for people: "2.1 kB"; exact powers of 1024 stay binary: "4 GiB".

    binary: False where two sizes are compared, which are shown in one kind of unit.
    """
    for power, unit in enumerate(("KiB", "MiB", "GiB", "TiB") if binary else (), 1):
        step = 1024**power
        if size >= step and size % step == 0 and size // step < 1024:
            return f"{size // step} {unit}"
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.95 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value == int(value) or unit == "B" else f"{value:.1f} {unit}"


def show_time(seconds: int) -> str:
    """Seconds in the largest unit that divides them: "4h", "90s"."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"


def show_span(seconds: float) -> str:
    """About how long something takes or took: "34 s", "12 min", "1.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
